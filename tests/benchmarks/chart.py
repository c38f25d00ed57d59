"""Draw the ratios as a picture: plain SVG, written without a library.

Each row is a bar from nats-py's speed (1) to nasq's, on a logarithmic axis; the other peers are
marks, and the goal is a tick. Where less is better the ratio is turned around, so that further
right is better everywhere. The colours follow the reader's light or dark mode, and the picture
brings its background, so that it is readable wherever it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import Final

from .figures import ratio
from .rows import BEST_PEER, PEERS, Goal
from .verdicts import Summary

_WIDTH: Final = 860
_LEFT: Final = 176
_RIGHT: Final = 796
_TOP: Final = 98
_LINE: Final = 21
_GAP: Final = 30
# The ends of the axis, as powers of two. A mark outside is drawn at the end with its number.
_LEAST: Final = -2
_MOST: Final = 6
_GROUPS: Final = {
    "publish": "sending",
    "push_many": "sending",
    "receive": "receiving",
    "echo": "there and back",
    "request": "there and back",
    "respond": "there and back",
    "held": "memory",
    "decode": "decoding",
    "events": "decoding",
    "drip": "decoding",
    "import": "starting",
}
_LABELS: Final = 'role="img" aria-labelledby="title about"'
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_LIGHT: Final = {
    "paper": "#ffffff",
    "frame": "#d0d7de",
    "ink": "#1f2328",
    "soft": "#59636e",
    "grid": "#e6eaef",
    "bar": "#2563c9",
    "slow": "#b9532b",
    "natsio": "#c9860c",
    "core": "#12805c",
}
_DARK: Final = {
    "paper": "#0d1117",
    "frame": "#30363d",
    "ink": "#e6edf3",
    "soft": "#9198a1",
    "grid": "#21262d",
    "bar": "#4184e4",
    "slow": "#cc6b3d",
    "natsio": "#e3b341",
    "core": "#56d4a2",
}
_SHAPES: Final = """
  svg { font: 12px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif;
        font-variant-numeric: tabular-nums; }
  .title { font-size: 17px; font-weight: 600; }
  .group, .value { font-weight: 600; }
  .goal { stroke-width: 1.5; }
  .natsio, .nats-core { stroke-width: 1.5; }
"""
# The colours are repeated for each mode, since some programs that show SVG have no variables.
_COLOURS: Final = """
  .paper {{ fill: {paper}; stroke: {frame}; }}
  text {{ fill: {ink}; }} .soft {{ fill: {soft}; }}
  .grid {{ stroke: {grid}; }} .one {{ stroke: {soft}; }}
  .bar {{ fill: {bar}; }} .slow {{ fill: {slow}; }} .goal {{ stroke: {ink}; }}
  .natsio {{ fill: {natsio}; stroke: {paper}; }} .nats-core {{ fill: {core}; stroke: {paper}; }}
"""
_DARK_MODE: Final = "@media (prefers-color-scheme: dark) {"


def style() -> str:
    """The style sheet of both modes."""
    light, dark = _COLOURS.format_map(_LIGHT), _COLOURS.format_map(_DARK)
    return f"{_SHAPES}{light}  {_DARK_MODE}{dark}  }}\n"


def draw(found: Sequence[Summary], about: str) -> str:
    """Return the picture, with `about` below it."""
    shown = [
        summary
        for summary in found
        if summary.row.kind in _GROUPS and summary.speed(summary.row.main, "nats-py") is not None
    ]
    body: list[str] = []
    y = float(_TOP)
    for group, members in groupby(shown, key=lambda summary: _GROUPS[summary.row.kind]):
        body.append(_text(20, y + 4, group, "group"))
        for summary in members:
            y += _LINE
            body += _row(summary, y)
        y += _GAP
    bottom = y - _GAP + 16
    height = round(bottom + 62)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    inner = f'width="{_WIDTH - 1}" height="{height - 1}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {_LABELS}>',
            '<title id="title">How many times as fast as nats-py nasq is</title>',
            f'<desc id="about">{escape(_in_words(shown))}</desc>',
            f"<style>{style()}</style>",
            f'<rect class="paper" x=".5" y=".5" {inner} rx="8"/>',
            _text(20, 34, "nasq's speed as a multiple of nats-py's", "title"),
            *_legend(),
            *_axis(_TOP - 12, bottom),
            *body,
            _text(20, height - 18, about, "soft"),
            "</svg>\n",
        ]
    )


def _x(speed: float) -> float:
    power = min(max(math.log2(speed), _LEAST), _MOST)
    return _LEFT + (power - _LEAST) / (_MOST - _LEAST) * (_RIGHT - _LEFT)


def _axis(top: float, bottom: float) -> Iterable[str]:
    for power in range(_LEAST, _MOST + 1):
        x = _x(2.0**power)
        kind = "one" if power == 0 else "grid"
        yield f'<path class="{kind}" d="M{x:.1f} {top:.0f}V{bottom:.0f}"/>'
        label = (str(2**power) if power >= 0 else f"1/{2**-power}") + _TIMES
        yield _text(x, bottom + 16, label, "soft", "middle")


def _legend() -> Iterable[str]:
    y = 58.0
    yield f'<rect class="bar" x="20" y="{y - 9:.0f}" width="22" height="10" rx="2"/>'
    yield _text(48, y, "nasq on asyncio", "soft")
    yield _mark("natsio", 160, y - 4)
    yield _text(170, y, "natsio", "soft")
    yield _mark("nats-core", 222, y - 4)
    yield _text(232, y, "nats-core", "soft")
    yield _goal(306, y - 4)
    yield _text(314, y, "goal", "soft")
    yield _text(
        _RIGHT,
        y,
        f"right of 1{_TIMES}: faster than nats-py, or smaller; logarithmic",
        "soft",
        "end",
    )


def _row(summary: Summary, y: float) -> Iterable[str]:
    speed = summary.speed(summary.row.main, "nats-py") or 1.0
    one, end = _x(1.0), _x(speed)
    yield _text(_LEFT - 12, y + 4, summary.row.name, "", "end")
    left, width = min(one, end), max(abs(end - one), 1.0)
    kind = "bar" if speed >= 1 else "slow"
    yield (
        f'<rect class="{kind}" x="{left:.1f}" y="{y - 6:.1f}" width="{width:.1f}" height="12" '
        'rx="2"/>'
    )
    marks = [end]
    for peer in PEERS[1:]:
        at = summary.speed(peer, "nats-py")
        if at is not None:
            x = _x(at)
            yield _mark(peer, x, y)
            marks.append(x)
            if math.log2(at) < _LEAST:
                yield _text(x + 9, y + 4, _times(at), "soft")
    goal = _goal_speed(summary)
    if goal is not None:
        yield _goal(_x(goal), y)
        marks.append(_x(goal))
    # The number is to the right of the bar, and of a mark that it would cover.
    x = max(one, end)
    for mark in sorted(marks):
        if x - 6 <= mark < x + 52:
            x = mark
    yield _text(x + 8, y + 4, _times(speed), "value")


def _goal_speed(summary: Summary) -> float | None:
    """The highest of a row's goals, as a multiple of nats-py's speed."""
    speeds = [_speed_of(summary, goal) for goal in summary.row.goals]
    return max((speed for speed in speeds if speed is not None), default=None)


def _speed_of(summary: Summary, goal: Goal) -> float | None:
    against = summary.best_peer if goal.against == BEST_PEER else goal.against
    base = summary.speed(against, "nats-py") if against else None
    if base is None:
        return None
    return base / goal.bound if summary.row.less else base * goal.bound


def _times(speed: float) -> str:
    return ratio(speed) + _TIMES


def _mark(peer: str, x: float, y: float) -> str:
    """Return the mark of a peer. Peers differ in shape, not only in colour."""
    if peer == "natsio":
        return f'<path class="natsio" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>'
    return f'<circle class="{peer}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


def _goal(x: float, y: float) -> str:
    return f'<path class="goal" d="M{x:.1f} {y - 8:.1f}v16"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _in_words(shown: Sequence[Summary]) -> str:
    """Return a description for screen readers."""
    return "; ".join(
        f"{summary.row.name} {_times(summary.speed(summary.row.main, 'nats-py') or 1.0)}"
        for summary in shown
    )
