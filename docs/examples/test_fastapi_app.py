import asyncio

import httpx
import pytest
from fastapi_app import app

from nasq.server import LocalServer


async def place_orders() -> list[int]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        for number in (1, 2, 3):
            response = await client.post("/orders", json={"id": number, "item": "tea"})
            assert response.status_code == 202
        while len(done := (await client.get("/orders/done")).json()) < 3:
            await asyncio.sleep(0.01)
        assert (await client.get("/health")).json() == {"connected": True, "waiting": 0}
        return list(done)


def test_orders_are_done_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalServer() as server:
        monkeypatch.setenv("NATS_URL", server.url)
        assert asyncio.run(asyncio.wait_for(place_orders(), timeout=30.0)) == [1, 2, 3]
