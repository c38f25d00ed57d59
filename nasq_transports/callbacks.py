"""Report notices to the user's `on_event` and to the log."""

from __future__ import annotations

from collections.abc import Callable

from nasq_proto import Notice

__all__ = ["OnEvent", "hand_out"]

OnEvent = Callable[[Notice], object]


def hand_out(notices: list[Notice], on_event: OnEvent | None) -> None:
    """Log each notice and call `on_event` with it. An exception that it raises is logged.

    Do not call this under a transport's lock.
    """
    import logging  # an eighth of the time that importing nasq takes

    log = logging.getLogger("nasq")
    for notice in notices:
        if notice.warns:
            log.warning("%s", notice)
        else:
            log.debug("%r", notice)
        if on_event is not None:
            try:
                on_event(notice)
            except Exception:
                log.exception("on_event raised for %r", notice)
