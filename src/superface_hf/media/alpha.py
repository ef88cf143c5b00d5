"""Decode the transparency of VP8 and VP9, which is stored beside their packets as a second video."""

from __future__ import annotations

from typing import Any, Literal

import av
import numpy as np

MAX_PENDING = 64  # decoded planes that wait for their frame
KIND: Literal["matroska_block_additional"] = "matroska_block_additional"
MARGIN = 128  # pixels
HEADER = 8  # bytes before the data: the number of the addition
ADDITION = 1  # the number of transparency


class Alpha:
    """Decodes the transparency of a video stream, packet by packet."""

    def __init__(self, stream: Any) -> None:
        present = any(name.lower() == "alpha_mode" and value == "1" for name, value in stream.metadata.items())
        self._context = av.CodecContext.create(stream.codec_context.codec.name, "r") if present else None
        if self._context is not None:
            # At most the size of the pictures, which is checked, plus the margin that decoders add.
            self._context.options = {"max_pixels": str((stream.width + MARGIN) * (stream.height + MARGIN))}
        self._found: dict[int, np.ndarray] = {}

    def add(self, packet: av.Packet) -> None:
        """Decode the transparency that comes with a packet of the stream."""
        if self._context is None or packet.pts is None or not packet.has_sidedata(KIND):
            return
        data = bytes(packet.get_sidedata(KIND))
        if int.from_bytes(data[:HEADER], "big") != ADDITION:
            return
        try:
            frames = self._context.decode(av.Packet(data[HEADER:]))
        except (av.FFmpegError, ValueError):
            return  # damaged: the picture is shown opaque
        for frame in frames:
            if len(self._found) >= MAX_PENDING:
                self._found.pop(next(iter(self._found)))
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            self._found[packet.pts] = rows[: frame.height, : frame.width].copy()

    def of(self, frame: av.VideoFrame) -> np.ndarray | None:
        """Return the transparency (H, W) uint8 of a frame, or None where the frame has none."""
        found = self._found.pop(frame.pts, None) if frame.pts is not None else None
        return found if found is not None and found.shape == (frame.height, frame.width) else None
