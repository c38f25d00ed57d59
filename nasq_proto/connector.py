"""Which server to connect to next, in which attempt, and when.

`Connector.next` returns one of three: an `Attempt` to begin now, a time to wait for, or the error
to give up with. The client reports the result of each attempt: `connected`, `failed` before that,
or `lost` after it. `pool` chooses the servers and their pace. This module adds the numbers of the
attempts, the reasons of the failures, and the time for the first connection.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from .attempt import Attempt
from .errors import AuthorizationError, ConnectFailedError, NASQError
from .events import Info
from .options import ClientOptions
from .pool import MOST_ANNOUNCED, Candidate, ServerPool
from .timers import Timer, Timers

__all__ = ["Connector"]

# A bound on `Connector.reasons`, because a server can announce new names without end.
_MOST_REASONS: Final = 2 * MOST_ANNOUNCED


class Connector:
    """Chooses the server and the time of each connect attempt of one client.

    Args:
        options: the client's.
        rng: the source of the jitter.
        timers: the client's.
        give_up: called when the time for the first connection has ended.

    Attributes:
        pool: the known servers.
        attempts: how many attempts have begun, ever.
        reasons: why each server failed, by address, the latest failure last.
    """

    def __init__(
        self,
        options: ClientOptions,
        rng: random.Random,
        timers: Timers,
        give_up: Callable[[], None],
    ) -> None:
        self.pool = ServerPool(
            options.servers,
            options.reconnect,
            rng,
            connect_timeout=options.connect_timeout,
            ignore_announced=options.ignore_discovered_servers,
        )
        self.attempts = 0
        self.reasons: dict[str, Exception] = {}
        self._options = options
        # The server whose time has not come yet.
        self._waiting_for: Candidate | None = None
        self._timers = timers
        self._give_up = give_up
        # The end of the time for the first connection; None: it ends when each server was tried.
        self._until: Timer | None = None

    def start(self, until: float | None) -> None:
        """Prepare for the first connection after `Client.open`.

        Args:
            until: when to give up; None: as soon as each server was tried once.
        """
        if until is not None:
            self._until = self._timers.at(until, self._out_of_time)
        self.reasons = {}
        self.pool.reset(patient=until is not None)
        if self._options.shuffle:
            self.pool.shuffle()

    def extend(self, until: float) -> None:
        """Try for the first connection until the later of the two times."""
        if self._until is None or until > self._until.when:
            self._forget_until()
            self._until = self._timers.at(until, self._out_of_time)
        self.pool.patient = True

    def stop(self) -> None:
        """Forget what was planned: the client is closed."""
        self._forget_until()
        self._waiting_for = None

    def next(self, now: float) -> Attempt | float | Exception:
        """Return the attempt to begin now, or when to ask again, or the error to give up with."""
        candidate = self._waiting_for or self.pool.pick(now)
        if candidate is None:
            return self.failure()
        if candidate.not_before > now:
            self._waiting_for = candidate
            return candidate.not_before
        self._waiting_for = None
        self.attempts += 1
        seconds = self.pool.begin(candidate, now)
        return Attempt(self.attempts, candidate, self._options, now=now, seconds=seconds)

    def connected(self, attempt: Attempt, now: float) -> None:
        """Record that the attempt has led to a connection."""
        attempt.connected_at = now
        self._forget_until()
        self.pool.connected(attempt.candidate)

    def failed(self, attempt: Attempt, error: Exception, now: float) -> None:
        """Record that the attempt failed before it was connected."""
        refusal = None
        if isinstance(error, AuthorizationError):
            refusal = error.text, attempt.credentials
        self.pool.failed(attempt.candidate, now, refusal)
        self.reasons.pop(attempt.server.address, None)  # keeps the latest failure last
        self.reasons[attempt.server.address] = (
            error.reasons[0][1] if isinstance(error, ConnectFailedError) else error
        )
        if len(self.reasons) > _MOST_REASONS:
            del self.reasons[next(iter(self.reasons))]

    def lost(self, attempt: Attempt, error: Exception, now: float) -> None:
        """Record that the connection of this attempt broke."""
        self.pool.lost(attempt.candidate, attempt.connected_at, now)
        if attempt.leaving:
            self.pool.leave(attempt.candidate, now)
        self.reasons = {attempt.server.address: error}

    def announce(self, attempt: Attempt, info: Info) -> None:
        """Update the pool with the servers that the attempt's server announces."""
        urls = info.ws_connect_urls if attempt.server.over_websocket else info.connect_urls
        self.pool.announce(urls, attempt.candidate, lame_duck=info.ldm)

    def timed_out(self, attempt: Attempt) -> None:
        """Record that the time for the first connection ended during this attempt."""
        address = attempt.server.address
        if address not in self.reasons:
            self.reasons[address] = attempt.too_late("in the time given")

    def failure(self) -> Exception:
        """Return why no server could be reached: the reason of the only one, or that of each."""
        if len(self.reasons) == 1:
            (only,) = self.reasons.values()
            if isinstance(only, NASQError):
                return only
        error = ConnectFailedError(list(self.reasons.items()))
        error.__cause__ = next(reversed(self.reasons.values()), None)  # the latest
        return error

    def _out_of_time(self, now: float) -> None:
        self._give_up()

    def _forget_until(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None
