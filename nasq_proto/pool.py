"""The servers that a client knows: which one to try next, and when.

Servers announce each other (INFO's connect_urls). An announced server joins the pool, and leaves it
when it is no longer announced. The servers that the user named stay.

Each server has its own backoff. The first try after a disconnect is made at once. Each failure in a
row doubles the range from which the next delay is drawn (full jitter, so that the clients of a
restarted server do not return at the same time). A connection that did not last counts as a
failure, so a server that accepts connections and drops them is paced like one that refuses them.

Among the servers that are due, the client first tries those it was connected to before, then those
that the user named, then those that were only announced. Many clients cannot reach the addresses
that are announced to them (containers, NAT). An announced server that was never reached must not
keep them from one that works. So while a server that was reached is due soon, an attempt at an
unreached one takes no longer than the outage has lasted, or one second. After a failure it rests
for ten times as long as the attempt took.
"""

from __future__ import annotations

import math
import random
from typing import Final

from .errors import InvalidOptionError
from .servers import ReconnectPolicy, Server, parse_server

__all__ = ["MOST_ANNOUNCED", "Candidate", "ServerPool"]

# A connection that lasted this many seconds clears the failures of its server.
_STABLE_AFTER: Final = 1.0
# A server in lame duck mode closes the connection within about this many seconds.
_LAME_DUCK: Final = 10.0
# Announced servers beyond this number are ignored.
MOST_ANNOUNCED: Final = 256
# For an announced server that was never reached: the seconds for an attempt at the beginning of an
# outage, and the rest after a failure as a multiple of the duration of the attempt.
_SHORT_ATTEMPT: Final = 1.0
_REST_FACTOR: Final = 10.0
# The pace of the first connection, if the client tries for longer but does not reconnect.
_DEFAULT_POLICY: Final = ReconnectPolicy()


class Candidate:
    """A server in the pool of one client, with the results of connecting to it.

    Attributes:
        server: its address.
        announced: another server announced it; the user did not name it.
        reached: the client was connected to it before.
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
        # What the server refused at the last attempt; see `ServerPool.failed`.
        self._refusal: object = None

    @property
    def unproven(self) -> bool:
        """Whether it was only announced, and never reached."""
        return self.announced and not self.reached

    def __repr__(self) -> str:
        return f"Candidate({self.server.scheme}://{self.server.address})"


class ServerPool:
    """The servers, in the order in which they are tried, each with its own backoff.

    In the first round, before the first connection, each server is tried once, without a pause:
    first the servers that the user named, then those announced meanwhile, for `connect_timeout`
    seconds in total. So the round takes at most one connect_timeout for each named server, and one
    more.

    Args:
        servers: the servers that the user named, at least one.
        policy: the pace after a connection was lost.
        rng: the source of the jitter.
        connect_timeout: the time for one attempt, in seconds.
        ignore_announced: use only the servers that the user named.

    Attributes:
        patient: after the first round, continue as in an outage and ignore `max_attempts`, until a
            connection is up.
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
        self._named = tuple(servers)
        self._policy = policy
        self._connect_timeout = connect_timeout
        self._ignore_announced = ignore_announced
        self.rng = rng
        self.reset()

    def reset(self, *, patient: bool = False) -> None:
        """Forget the results of earlier attempts: the client was opened again."""
        self.patient = patient
        self._candidates = [Candidate(server) for server in self._named]
        self._next = 0
        # Addresses that are no longer tried (authorization failed twice). Announcing them again has
        # no effect.
        self._given_up: set[str] = set()
        self._first_round = True
        # The end of the time for the servers that were announced during the first round.
        self._round_ends: float | None = None
        # Failures in a row over all servers, and the time before which no attempt is made.
        self._failures = 0
        self._pause_until = 0.0
        # The beginning of the outage.
        self._lost_at = 0.0

    def __len__(self) -> int:
        return len(self._candidates)

    @property
    def servers(self) -> list[Server]:
        """The servers that are known now."""
        return [candidate.server for candidate in self._candidates]

    def pick(self, now: float) -> Candidate | None:
        """Choose the server to try next, at its `not_before`.

        Returns:
            None if no server is left to try; in the first round, if all have been tried and the
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
        """Begin an attempt, and return how many seconds it may take."""
        candidate._began = now
        seconds = self._connect_timeout
        if not candidate.unproven:
            return seconds
        if self._first_round and self._round_ends is not None:
            return min(seconds, self._round_ends - now)
        # A server that is known to work and due soon may be available again before this one. In a
        # long outage even a distant server gets its full time.
        if any(c.reached and c.not_before <= now + _SHORT_ATTEMPT for c in self._candidates):
            return min(seconds, max(_SHORT_ATTEMPT, now - self._lost_at))
        return seconds

    def connected(self, candidate: Candidate) -> None:
        """Record that a connection to this server is up."""
        candidate.reached = True
        candidate._refusal = None
        if self._first_round or self.patient:
            self._first_round = self.patient = False
            self._failures = 0
            for one in self._candidates:
                one.failures = 0

    def failed(self, candidate: Candidate, now: float, refusal: object = None) -> None:
        """Record that an attempt failed, or that a connection broke soon after it was made.

        Args:
            candidate: the server.
            now: the time.
            refusal: after an authorization error: its text and the credentials. The same twice in a
                row ends the tries at this server, if the policy has `give_up_on_auth`.
        """
        candidate.failures += 1
        self._failures += 1
        again = refusal is not None and refusal == candidate._refusal
        candidate._refusal = refusal
        policy = self._policy or (_DEFAULT_POLICY if self.patient else None)
        if policy is None:
            return
        if again and policy.give_up_on_auth:
            self._candidates.remove(candidate)
            self._given_up.add(candidate.server.address)
            return
        wait = policy.wait(candidate.failures, self.rng)
        if candidate.unproven:
            wait = max(wait, _REST_FACTOR * (now - candidate._began))
        candidate.not_before = now + wait
        if self._failures >= len(self._candidates) > 1:
            self._pause_until = now + policy.delay * (1.0 + self.rng.random()) / 2

    def lost(self, candidate: Candidate, connected_at: float, now: float) -> None:
        """Record that a connection broke. If it had lasted, its server is tried again at once."""
        lasted = now - connected_at >= _STABLE_AFTER
        if lasted or self._failures == 0:
            self._lost_at = now
        if lasted:
            candidate.failures = 0
            candidate.not_before = now
            self._failures = 0
            self._pause_until = now
        else:
            self.failed(candidate, now)

    def leave(self, candidate: Candidate, now: float) -> None:
        """Prefer every other server for a while: this one is shutting down."""
        candidate.not_before = now + _LAME_DUCK

    def announce(self, addresses: list[str], by: Candidate, *, lame_duck: bool = False) -> None:
        """Update the pool with the servers that `by` announces.

        An empty list means that `by` announces nothing, and changes nothing. But a server in lame
        duck mode leaves itself out, so its empty list means that it has no peers.

        A new server is reached like `by`, with the same scheme and credentials. If it is announced
        by its IP address, its certificate must be valid for the name that the user gave. At most
        `MOST_ANNOUNCED` are added.
        """
        if self._ignore_announced or (not addresses and not lame_duck):
            return
        if len(self._given_up) >= MOST_ANNOUNCED:
            return  # the server announces new names forever, and refuses the credentials at each
        found: dict[str, Server] = {}
        for address in addresses:
            if len(found) == MOST_ANNOUNCED:
                break
            try:
                server = parse_server(f"{by.server.scheme}://{address}")
            except InvalidOptionError:
                continue  # not a reason to leave the server
            found.setdefault(server.address, server)
        # Compare parsed addresses: an announced address can be spelled differently.
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
    """Return a server that `by` announced, to be reached like `by`."""
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
