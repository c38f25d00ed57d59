"""The servers that a client knows: which one is next, and when.

A server that another one announced (INFO's connect_urls) joins the pool, and leaves it when it is
no longer announced; those that the user named stay.

Each server has a backoff of its own. The first try after a disconnect is made at once; each
failure in a row doubles the range that the next delay is drawn from (full jitter, so that the
clients of a restarted server don't come back in step). A connection that did not last counts
as a failure: a server that accepts and drops is paced like one that refuses.

Of the servers that are due, those come first that this client was connected to before, then those
that the user named, then those that were only announced. Many clients are told addresses that they
can't reach (containers, NAT), so an announced server that was never reached must not keep them
from one that works: while there is one, an attempt takes no longer than the outage has lasted, or
one second, and after a failure it rests for ten times as long as the attempt took.
"""

from __future__ import annotations

import math
import random
from typing import Final

from .errors import InvalidOptionError
from .servers import ReconnectPolicy, Server, parse_server

__all__ = ["MOST_ANNOUNCED", "Candidate", "ServerPool"]

# A connection that lived this long, in seconds, clears its server's failures.
_STABLE_AFTER: Final = 1.0
# A server in lame duck mode hangs up within about this many seconds.
_LAME_DUCK: Final = 10.0
# Announced servers beyond this number are passed over.
MOST_ANNOUNCED: Final = 256
# An announced server that was never reached: seconds for an attempt at the beginning of an outage,
# and how long it rests after a failure, in lengths of the attempt.
_BRIEFLY: Final = 1.0
_REST: Final = 10.0
# The pace of a first connection that is tried for longer, where a lost one is not made again.
_USUAL_POLICY: Final = ReconnectPolicy()


class Candidate:
    """A server of one client's pool, and what became of connecting to it.

    Attributes:
        server: its address.
        announced: another server made it known; the user did not name it.
        reached: the client was connected to it.
        failures: how many attempts in a row have failed.
        not_before: when it may be tried next.
        tried: it was tried in the first round.
    """

    __slots__ = (
        "_began",
        "_refusal",
        "announced",
        "failures",
        "not_before",
        "reached",
        "server",
        "tried",
    )

    def __init__(self, server: Server, *, announced: bool = False) -> None:
        self.server = server
        self.announced = announced
        self.reached = False
        self.failures = 0
        self.not_before = 0.0
        self.tried = False
        self._began = 0.0
        # What was refused at the last attempt: the same once more ends the tries.
        self._refusal: object = None

    @property
    def unproven(self) -> bool:
        """Only announced, and never reached."""
        return self.announced and not self.reached

    def __repr__(self) -> str:
        return f"Candidate({self.server.scheme}://{self.server.address})"


class ServerPool:
    """The servers, in the order they are tried, each with its own backoff.

    In the first round, until a connection is up, each server is tried once and without a pause:
    those that the user named, then, for `connect_timeout` seconds in all, those that were found
    meanwhile. So the round ends after at most one connect_timeout for each named server and one
    more.

    Args:
        servers: those that the user named.
        policy: the pace after a connection was lost.
        rng: where the jitter comes from.
        connect_timeout: the time of one attempt, in seconds.
        ignore_announced: stay with what the user named.

    Attributes:
        patient: after the first round go on as in an outage, and let `max_attempts` not count,
            until a connection is up.

    Raises:
        InvalidOptionError: there is no server.
    """

    def __init__(
        self,
        servers: list[Server],
        policy: ReconnectPolicy | None,
        rng: random.Random,
        *,
        connect_timeout: float = math.inf,
        ignore_announced: bool = False,
    ) -> None:
        if not servers:
            raise InvalidOptionError("no server was given")
        self._named = tuple(servers)
        self._policy = policy
        self._connect_timeout = connect_timeout
        self._ignore_announced = ignore_announced
        self.rng = rng
        self.reset()

    def reset(self, *, patient: bool = False) -> None:
        """Forget what became of earlier attempts: a new connection is asked for."""
        self.patient = patient
        self._candidates = [Candidate(server) for server in self._named]
        self._next = 0
        # Addresses that were given up: announcing them again changes nothing.
        self._given_up: set[str] = set()
        self._first_round = True
        # When the servers that are found in the first round have had their time.
        self._round_ends: float | None = None
        # Failures in a row, whichever the server, and how long the next attempt has to wait.
        self._failures = 0
        self._pause_until = 0.0
        # When the outage began: its first connection broke.
        self._lost_at = 0.0

    def __len__(self) -> int:
        return len(self._candidates)

    @property
    def servers(self) -> list[Server]:
        """Those that are known now."""
        return [candidate.server for candidate in self._candidates]

    def pick(self, now: float) -> Candidate | None:
        """The server to try next; `not_before` says when.

        None when all have been given up or, in the first round, when all have been tried and the
        pool is not `patient`.
        """
        if self._first_round:
            first = self._pick_first(now)
            if first is not None or not self.patient:
                return first
            self._first_round = False
        most = self._policy.max_attempts if self._policy and not self.patient else None
        order = self._candidates[self._next :] + self._candidates[: self._next]
        usable = [c for c in order if most is None or c.failures < most]
        if not usable:
            return None
        soonest = max(now, self._pause_until)
        candidate = min(
            usable,
            key=lambda c: (max(c.not_before, soonest), not c.reached, c.announced, c.failures),
        )
        candidate.not_before = max(candidate.not_before, self._pause_until)
        self._next = (self._candidates.index(candidate) + 1) % len(self._candidates)
        return candidate

    def _pick_first(self, now: float) -> Candidate | None:
        for candidate in sorted(self._candidates, key=lambda c: c.announced):
            if candidate.tried:
                continue
            if candidate.announced:
                if self._round_ends is None:
                    self._round_ends = now + self._connect_timeout
                if now >= self._round_ends:
                    return None
            candidate.tried = True
            return candidate
        return None

    def begin(self, candidate: Candidate, now: float) -> float:
        """An attempt begins; how many seconds it may take."""
        candidate._began = now
        seconds = self._connect_timeout
        if not candidate.unproven:
            return seconds
        if self._first_round and self._round_ends is not None:
            return min(seconds, self._round_ends - now)
        # One that is known to work, and due soon, may be back meanwhile. One that is far away gets
        # its full time when the outage lasts.
        if any(c.reached and c.not_before <= now + _BRIEFLY for c in self._candidates):
            return min(seconds, max(_BRIEFLY, now - self._lost_at))
        return seconds

    def connected(self, candidate: Candidate) -> None:
        """A connection is up."""
        candidate.reached = True
        candidate._refusal = None
        if self._first_round or self.patient:
            self._first_round = self.patient = False
            self._failures = 0
            for one in self._candidates:
                one.failures = 0

    def failed(self, candidate: Candidate, now: float, refusal: object = None) -> None:
        """An attempt failed, or a connection broke that had hardly lived.

        Args:
            candidate: where.
            now: the time.
            refusal: for an authorization error: what was refused, and in which words. The same
                twice in a row gives the server up, unless the policy wants otherwise.
        """
        candidate.failures += 1
        self._failures += 1
        again = refusal is not None and refusal == candidate._refusal
        candidate._refusal = refusal
        policy = self._policy or (_USUAL_POLICY if self.patient else None)
        if policy is None:
            return
        if again and policy.give_up_on_auth:
            self._candidates.remove(candidate)
            self._given_up.add(candidate.server.address)
            return
        wait = policy.wait(candidate.failures, self.rng)
        if candidate.unproven:
            wait = max(wait, _REST * (now - candidate._began))
        candidate.not_before = now + wait
        if self._failures >= len(self._candidates) > 1:
            self._pause_until = now + policy.delay * (1.0 + self.rng.random()) / 2

    def lost(self, candidate: Candidate, connected_at: float, now: float) -> None:
        """A connection broke. One that had lived is no failure: it is tried again at once."""
        lived = now - connected_at >= _STABLE_AFTER
        if lived or self._failures == 0:
            self._lost_at = now
        if lived:
            candidate.failures = 0
            candidate.not_before = now
            self._failures = 0
            self._pause_until = now
        else:
            self.failed(candidate, now)

    def leave(self, candidate: Candidate, now: float) -> None:
        """It is shutting down: every other one comes first for a while."""
        candidate.not_before = now + _LAME_DUCK

    def announce(self, addresses: list[str], by: Candidate, *, lame_duck: bool = False) -> None:
        """Take in what `by` says of its cluster; it may say nothing (an empty list).

        In lame duck mode it leaves itself out, under whatever name: then nothing means nobody.

        A new server is reached as `by` is: same scheme, same credentials. Where it is named by an
        IP address, its certificate has to be valid for the name that the user gave. No more than
        `MOST_ANNOUNCED` are taken in.
        """
        if self._ignore_announced or (not addresses and not lame_duck):
            return
        if len(self._given_up) >= MOST_ANNOUNCED:
            return  # names without end, where the credentials are refused
        found: dict[str, Server] = {}
        for address in addresses:
            if len(found) == MOST_ANNOUNCED:
                break
            try:
                server = parse_server(f"{by.server.scheme}://{address}")
            except InvalidOptionError:
                continue  # its own pool is no reason to give a server up
            found.setdefault(server.address, server)
        # The addresses as they were read are compared: what is announced may be written otherwise.
        self._candidates = [
            c for c in self._candidates if not c.announced or c is by or c.server.address in found
        ]
        known = {c.server.address for c in self._candidates} | self._given_up
        self._candidates += [
            Candidate(_like(by.server, server), announced=True)
            for address, server in found.items()
            if address not in known
        ]

    def shuffle(self) -> None:
        """Try them in a random order."""
        self.rng.shuffle(self._candidates)


def _like(by: Server, found: Server) -> Server:
    """A server that `by` announced, to be reached as `by` is."""
    return Server(
        found.host,
        found.port,
        scheme=by.scheme,
        user=by.user,
        password=by.password,
        token=by.token,
        tls_name=by.tls_name if _is_ip(found.host) else None,
    )


def _is_ip(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
