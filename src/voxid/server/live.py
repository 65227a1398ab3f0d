"""The live socket: see the next step."""

from __future__ import annotations

from fastapi import WebSocket


async def live(socket: WebSocket, collection: str) -> None:
    """Refuse, until it is there."""
    await socket.close(1011)
