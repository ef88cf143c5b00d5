"""The transparency of VP8 and VP9, which lies beside their packets as a video of its own."""

from __future__ import annotations

from typing import Any, Literal

import av
import numpy as np

WAITING = 64  # frames of which only the transparency is there yet
KIND: Literal["matroska_block_additional"] = "matroska_block_additional"
MARGIN = 128  # pixels
HEADER = 8  # bytes before the data: which of several additions it is
ADDITION = 1  # that of transparency


class Alpha:
    """Decodes it beside the pictures of a stream."""

    def __init__(self, stream: Any) -> None:
        said = any(name.lower() == "alpha_mode" and value == "1" for name, value in stream.metadata.items())
        self._context = av.CodecContext.create(stream.codec_context.codec.name, "r") if said else None
        if self._context is not None:
            # No larger than the pictures, whose size is checked, and what decoders put around them.
            self._context.options = {"max_pixels": str((stream.width + MARGIN) * (stream.height + MARGIN))}
        self._found: dict[int, np.ndarray] = {}

    def add(self, packet: av.Packet) -> None:
        """Takes a packet of the pictures."""
        if self._context is None or packet.pts is None or not packet.has_sidedata(KIND):
            return
        data = bytes(packet.get_sidedata(KIND))
        if int.from_bytes(data[:HEADER], "big") != ADDITION:
            return
        try:
            frames = self._context.decode(av.Packet(data[HEADER:]))
        except (av.FFmpegError, ValueError):
            return  # damaged: the picture is shown whole
        for frame in frames:
            if len(self._found) >= WAITING:
                self._found.pop(next(iter(self._found)))
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            self._found[packet.pts] = rows[: frame.height, : frame.width].copy()

    def of(self, frame: av.VideoFrame) -> np.ndarray | None:
        """(H, W) uint8; None where the frame has none beside it."""
        found = self._found.pop(frame.pts, None) if frame.pts is not None else None
        return found if found is not None and found.shape == (frame.height, frame.width) else None
