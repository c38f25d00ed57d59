"""A push/pop queue over NATS that works the same under asyncio, trio and in plain blocking code.

`NASQueue` is for asyncio and trio, `BlockingNASQueue` for everything else. Importing this package
loads no event loop: a framework is loaded when a queue is used under it.

The public names are imported in `nasq._names`, and loaded when one of them is used first. So the
command line (`nasq.cli`) prints a help page without loading the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Both modules list their public names in __all__.
    from nasq_proto.errors import *  # noqa: F403

    from ._names import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Load every public name when the first one is used."""
    if name.startswith("_") and name not in ("__all__", "__version__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _names

    public = {each: getattr(_names, each) for each in _names.__all__}
    globals().update(public, __all__=_names.__all__)
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__getattr__("__all__")})
