"""A visitor in a call: an aiortc peer in the browser's place, which sees, hears, and has a camera if need be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import aiortc
import httpx
import numpy as np
from av import VideoFrame

HEARD_RATE = 48_000


class TestCamera(aiortc.MediaStreamTrack):
    """Sends pictures at a steady pace.

    Args:
        picture: the picture (H, W, 3) uint8 of a time in seconds.
        fps: pictures a second.
    """

    kind = "video"
    __test__ = False

    def __init__(self, picture: Callable[[float], np.ndarray], fps: float = 25.0) -> None:
        super().__init__()
        self._picture, self._fps, self._count = picture, fps, 0
        self.began = 0.0

    async def recv(self) -> VideoFrame:
        self.began = self.began or time.monotonic()
        await asyncio.sleep(max(0.0, self.began + self._count / self._fps - time.monotonic()))
        frame = VideoFrame.from_ndarray(self._picture(self._count / self._fps), format="rgb24")
        frame.pts, frame.time_base = round(self._count / self._fps * 90_000), Fraction(1, 90_000)
        self._count += 1
        return frame


@dataclass(eq=False)
class CallVisitor:
    """What came: pictures (H, W, 3) uint8 and sound (n,) int16, each with when it came (``time.monotonic``)."""

    camera: Any = None
    pictures: list[tuple[float, np.ndarray]] = field(default_factory=list)
    sounds: list[tuple[float, np.ndarray]] = field(default_factory=list)
    peer: Any = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def offer(self) -> str:
        """An offer in SDP, with the addresses of this machine."""
        self.peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self.peer.on("track", lambda track: self.tasks.append(asyncio.ensure_future(self._take(track))))
        if self.camera is not None:
            self.peer.addTransceiver(self.camera, direction="sendrecv")
        else:
            for kind in ("audio", "video"):
                self.peer.addTransceiver(kind, direction="recvonly")
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return str(self.peer.localDescription.sdp)

    async def come(self, site: str, token: str) -> None:
        """Brings an offer to a server, and takes its answer."""
        offer = await self.offer()
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{site}/live/offer", json={"token": token, "sdp": offer}, timeout=20)
        assert answer.status_code == 200, answer.text
        await self.peer.setRemoteDescription(aiortc.RTCSessionDescription(answer.json()["sdp"], "answer"))

    async def _take(self, track: Any) -> None:
        while True:
            try:
                frame = await track.recv()
            except aiortc.mediastreams.MediaStreamError:
                return
            now = time.monotonic()
            if track.kind == "video":
                self.pictures.append((now, frame.to_ndarray(format="rgb24")))
            else:
                self.sounds.append((now, frame.to_ndarray().reshape(-1, 2)[:, 0]))

    async def leave(self) -> None:
        if self.peer is not None:
            await self.peer.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def heard(self) -> np.ndarray:
        """All sound, (n,) int16."""
        return np.concatenate([samples for _, samples in self.sounds])
