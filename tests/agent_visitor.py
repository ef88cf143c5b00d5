"""A visitor of a voice agent: an aiortc peer in the browser's place, which says something and sees and hears the answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np


def visit(app: Any) -> None:
    """Serves an aiohttp app with ``/`` and ``/offer`` at a free port until its agent has answered aloud.

    Raises:
        AssertionError: no picture or no sound came.
    """
    asyncio.run(asyncio.wait_for(_visited(app), 60))


async def _visited(app: Any) -> None:
    import aiohttp
    import aiortc
    from aiohttp import web

    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    peer, tasks = aiortc.RTCPeerConnection(), []
    seen: dict[str, list[np.ndarray]] = {"audio": [], "video": []}

    async def receive(track: Any) -> None:
        while True:
            try:
                frame = await track.recv()
            except aiortc.mediastreams.MediaStreamError:
                return
            seen[track.kind].append(frame.to_ndarray())

    peer.on("track", lambda track: tasks.append(asyncio.ensure_future(receive(track))))
    for kind in ("audio", "video"):
        peer.addTransceiver(kind, direction="recvonly")
    channel = peer.createDataChannel("chat")
    await peer.setLocalDescription(await peer.createOffer())
    offer = {"sdp": peer.localDescription.sdp, "type": peer.localDescription.type}
    async with aiohttp.ClientSession() as client:
        assert "<video" in await (await client.get(address)).text()
        answer = await (await client.post(f"{address}/offer", json=offer)).json()
    await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer["sdp"], answer["type"]))
    while channel.readyState != "open" or not seen["video"]:
        await asyncio.sleep(0.05)
    channel.send(json.dumps({"type": "say", "text": "Who are you?"}))
    while not any(np.abs(sound).max() > 100 for sound in seen["audio"][-50:]):
        await asyncio.sleep(0.05)
    await peer.close()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0.5)  # the agent's pipeline ends with its peer
    await runner.cleanup()
