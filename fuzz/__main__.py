"""The command line: `python -m fuzz`. See fuzz/README.md."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from . import crash
from .corpus import CORPUS, CRASHES, inputs_in, save
from .runner import ENGINES, choose_engine, fuzz, keep_found, summary
from .targets import TARGETS, Target


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz nasq_proto.")
    add = parser.add_argument
    add("--minutes", type=float, default=2.0, help="time for all targets together (default: 2)")
    add(
        "--target",
        action="append",
        choices=list(TARGETS),
        help="only this target; repeatable",
    )
    add("--engine", choices=ENGINES, help="default: atheris if it is installed, otherwise random")
    add("--seed", type=int, help="seed of the inputs (default: a new one for each run)")
    add(
        "--save",
        action="store_true",
        help="add inputs with new coverage to the corpus",
    )
    add("--floors", action="store_true", help="fail if a rate is below its minimum")
    add("--replay", type=Path, metavar="FILE", help="run one input, and show what happens")
    add("--minimize", type=Path, metavar="FILE", help="make an input that crashes shorter")
    add("--list", action="store_true", help="list the targets")
    add(
        "--strategies",
        action="store_true",
        help="measure the speed of the strategies",
    )
    return parser.parse_args()


def _target_of(path: Path, names: list[str] | None) -> Target:
    """The target from the command line, or from the name of the input's directory."""
    name = names[0] if names else path.resolve().parent.name
    if name not in TARGETS:
        raise SystemExit(f"unknown target {name!r}: name one with --target {'|'.join(TARGETS)}")
    return TARGETS[name]


def _replay(path: Path, target: Target) -> int:
    data = path.read_bytes()
    print(f"{target.name}: {data!r}")
    try:
        behaviour = target.test_one_input(data)
    except Exception as error:  # a fault
        print(crash.report(target, data, error, keep=False))
        return 1
    print(f"no fault: {behaviour!r}")
    return 0


def _minimize(path: Path, target: Target) -> int:
    data = path.read_bytes()
    if crash.fault_of(target.test_one_input, data) is None:
        print("no fault: nothing to minimize")
        return 1
    shorter = crash.minimized(target.test_one_input, data, seconds=60.0)
    kept = save(CRASHES / target.name, shorter)
    print(f"reduced {len(data)} bytes to {len(shorter)}: {shorter!r}\n{kept}")
    return _replay(kept, target)


def _show_targets() -> None:
    for target in TARGETS.values():
        inputs = inputs_in(CORPUS / (target.corpus or target.name))
        print(f"{target.name:9} {target.what}\n{'':9} {len(inputs)} inputs in its corpus")
        for error, reason in target.allowed.items():
            print(f"{'':9} may raise {error.__name__}: {reason}")


def main() -> int:
    """Run the command.

    Returns:
        The exit status: 1 after a crash and, with `--floors`, if a rate is too low.
    """
    arguments = _arguments()
    if arguments.list:
        _show_targets()
        return 0
    if arguments.strategies:
        from .rates import show_rates

        return 0 if show_rates() or not arguments.floors else 1
    for path, act in ((arguments.replay, _replay), (arguments.minimize, _minimize)):
        if path is not None:
            return act(path, _target_of(path, arguments.target))
    targets = [TARGETS[name] for name in arguments.target or TARGETS]
    engine, why = choose_engine(arguments.engine)
    seed = random.SystemRandom().randrange(1, 1 << 31) if arguments.seed is None else arguments.seed
    started = time.monotonic()
    print(f"engine {engine} ({why}), seed {seed}, {arguments.minutes:g} minutes")
    results = fuzz(targets, engine, arguments.minutes, seed)
    if arguments.save:
        for result in results:
            keep_found(result)
    passed = summary(results, engine, started, floors=arguments.floors)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
