"""What goes through a call: pictures and sound to the visitor, and the newest picture of the visitor's camera.

Whatever is slow drops pictures, never sound: each side takes the newest picture, so no queue can grow. Imported only when a
call begins, as it needs aiortc.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

SOUND_RATE = 48_000  # of Opus
PACKET = SOUND_RATE // 50  # samples of one packet, 20 ms
PICTURE_CLOCK = 90_000
# Pixels on a side of the camera's picture: what is decoded at most, and what is worked on.
LARGEST_CAMERA, CAMERA_SIDE = 1280, 480
# Pictures of the camera that wait to be decoded. More come only where they come faster than a core decodes them.
WAITING = 60
_KEY_FRAME = b"\x9d\x01\x2a"  # RFC 6386, 9.1: after the frame tag; width and height follow


class PictureTrack(MediaStreamTrack):
    """Sends the newest picture as soon as the encoder is free. All methods run in the calls' event loop."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._newest: tuple[np.ndarray, float] | None = None
        self._came = asyncio.Event()

    def put(self, picture: np.ndarray, seconds: float) -> None:
        """Show a picture (H, W, 3) uint8 at a time in the call."""
        self._newest = picture, seconds
        self._came.set()

    async def recv(self) -> VideoFrame:
        await self._came.wait()
        self._came.clear()
        assert self._newest is not None
        picture, seconds = self._newest
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = round(seconds * PICTURE_CLOCK), Fraction(1, PICTURE_CLOCK)
        return frame


class SoundTrack(MediaStreamTrack):
    """Sends sound at the pace of the clock. All methods run in the calls' event loop."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._waiting = np.zeros(0, np.int16)
        self._came = asyncio.Event()
        self._sent, self._began = 0, 0.0

    def put(self, samples: np.ndarray) -> None:
        """Play samples (n,) int16 at :data:`SOUND_RATE` after those before."""
        self._waiting = np.concatenate([self._waiting, samples])
        self._came.set()

    async def recv(self) -> AudioFrame:
        while len(self._waiting) < PACKET:
            self._came.clear()
            await self._came.wait()
        now = time.monotonic()
        self._began = self._began or now
        await asyncio.sleep(max(0.0, self._began + self._sent / SOUND_RATE - now))
        packet, self._waiting = self._waiting[:PACKET], self._waiting[PACKET:]
        frame = AudioFrame.from_ndarray(packet[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self._sent, Fraction(1, SOUND_RATE)
        self._sent += PACKET
        return frame


class Camera:
    """Keeps the newest picture of a visitor's camera."""

    def __init__(self) -> None:
        self._came = threading.Condition()
        self._newest: VideoFrame | None = None
        self._size: tuple[int, int] | None = None
        self.seen = 0  # pictures that came

    async def watch(self, track: Any) -> None:
        """Take pictures until the track ends."""
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                with self._came:
                    self._newest = frame
                    self.seen += 1
                    self._came.notify_all()

    def pictures(self, over: threading.Event, patience: float) -> Iterator[np.ndarray]:
        """Yield the newest picture (H, W, 3) uint8 each time that another has come, all of the first one's size.

        It ends when ``over`` is set, or when nothing comes for ``patience`` seconds.
        """
        while (frame := self._next(over, patience)) is not None:
            if self._size is None:
                share = min(1.0, CAMERA_SIDE / max(frame.width, frame.height))
                self._size = max(2, round(frame.width * share)), max(2, round(frame.height * share))
            width, height = self._size  # browsers send smaller pictures while the network is slow
            yield frame.reformat(width=width, height=height, format="rgb24").to_ndarray()

    def _next(self, over: threading.Event, patience: float) -> VideoFrame | None:
        ends = time.monotonic() + patience
        with self._came:
            while self._newest is None:
                if over.is_set() or time.monotonic() > ends:
                    return None
                self._came.wait(0.1)
            frame, self._newest = self._newest, None
        return None if over.is_set() else frame


class BoundedDecoding(queue.Queue):
    """Stands before aiortc's decoder, which would decode pictures of any size and let any number of them wait.

    Args:
        refuse: called once a visitor sends more than a camera does.
    """

    def __init__(self, refuse: Callable[[], None]) -> None:
        super().__init__()
        self._refuse = refuse

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item is not None and (self.qsize() > WAITING or largest_side(item[1].data) > LARGEST_CAMERA):
            self._refuse()
            return
        super().put(item, block, timeout)

    @classmethod
    def before(cls, receiver: Any, refuse: Callable[[], None]) -> None:
        """Put it before the decoder of a receiver that has not started.

        Raises:
            AttributeError: this aiortc keeps its queue elsewhere.
        """
        name = "_RTCRtpReceiver__decoder_queue"
        getattr(receiver, name)
        setattr(receiver, name, cls(refuse))


def largest_side(data: bytes) -> int:
    """Return the longer side in pixels that a picture of VP8 announces; 0 unless it is a key frame, which alone may change
    the size."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != _KEY_FRAME:
        return 0
    return max(int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (6, 8))
