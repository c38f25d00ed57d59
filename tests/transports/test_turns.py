"""A server that floods a client does not starve the other tasks of the event loop."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from nasq_proto import Connection
from nasq_proto.decoder import Frame
from tests.conftest import Kit
from tests.e2e.hostile import HostileServer, HungUp, ServerConnection

MEGABYTE = 1024 * 1024
# The most frames and bytes that the client reads between two turns of another task.
MOST_FRAMES = 3 * 1024
MOST_BYTES = MEGABYTE

FLOODS: dict[str, Callable[[int], bytes]] = {
    "PINGs": lambda n: b"PING\r\n",
    "PING and +OK": lambda n: (b"PING\r\n", b"+OK\r\n")[n % 2],
    "PINGs that differ": lambda n: b"PING %d\r\n" % n,
    "INFO": lambda n: b"INFO {}\r\n",
    "subjects": lambda n: b"MSG a.%d 1 0\r\n\r\n" % n,
    "replies": lambda n: b"MSG a 1 r.%d 0\r\n\r\n" % n,
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_other_tasks_run_while_a_server_floods(
    async_kit: Kit, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = async_kit
    line = FLOODS[kind]
    size = sum(len(line(n)) for n in range(1000))
    chunk = b"".join(line(n) for n in range(1000 * MEGABYTE // size // 4))
    received = since = most_frames = bytes_since = most_bytes = 0
    receive = Connection.receive_frames

    def counting(self: Connection, data: bytes) -> list[Frame]:
        nonlocal received, since, most_frames, bytes_since, most_bytes
        frames = receive(self, data)
        received += len(data)
        # A block that is read at once, such as a run of equal lines, is one cheap object.
        since += len(set(map(id, frames)))
        bytes_since += len(data)
        most_frames, most_bytes = max(most_frames, since), max(most_bytes, bytes_since)
        return frames

    def flood(connection: ServerConnection) -> None:
        connection.handshake()
        while True:
            connection.send(chunk)
            connection.sock.setblocking(False)
            try:
                while connection.sock.recv(MEGABYTE):
                    pass  # read the PONGs, or the client would give the connection up
            except BlockingIOError:
                connection.sock.setblocking(True)
            except OSError:
                raise HungUp from None

    with HostileServer(kit.server.port) as hostile:
        hostile.hostile(flood)
        queue = kit.queue(host="127.0.0.1", port=hostile.port)
        monkeypatch.setattr(Connection, "receive_frames", counting)
        turns = 0
        assert await queue.connect()
        while received < MEGABYTE and queue.is_connected():
            await anyio.sleep(0)
            turns += 1
            since = bytes_since = 0
        assert queue.is_connected(), queue.last_error
        queue._session.client.close()
        await queue.disconnect()
        queue._session.kick()
        await kit.until(lambda: queue._session.client.stopped.done)
    assert most_frames <= MOST_FRAMES
    assert most_bytes <= MOST_BYTES
    assert turns >= 3 * received // MEGABYTE
