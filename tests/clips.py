"""Small videos and sounds with the odd things that real files have, made with PyAV from the bundled portrait."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from superface_hf.media import load_picture
from superface_hf.utils.assets import PORTRAIT

RATE = 48000


def portrait(height: int = 96, width: int = 96) -> np.ndarray:
    return cv2.resize(load_picture(PORTRAIT), (width, height), interpolation=cv2.INTER_AREA)


def video(
    frames: Sequence[np.ndarray],
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    fps: int = 25,
    stamps: Iterable[int] | None = None,
    matrix: Colorspace = Colorspace.ITU709,
    full_range: bool = False,
    tags: tuple[int, int, int] = (1, 1, 1),
    aspect: Fraction | None = None,
    options: Mapping[str, str] | None = None,
    change: Callable[[Any], None] = lambda stream: None,
) -> bytes:
    """A video's bytes.

    Args:
        frames: (H, W, 3) uint8 or uint16, or (H, W, 4) uint8.
        stamps: of the frames, in frame times.
        tags: matrix, primaries and transfer as the file says.
        change: is shown the stream before anything is encoded.
    """
    file = io.BytesIO()
    given = {(3, "uint8"): "rgb24", (4, "uint8"): "rgba", (3, "uint16"): "rgb48le"}
    spread = ColorRange.JPEG if full_range else ColorRange.MPEG
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=fps, options=dict(options or {}))
        height, width = frames[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        context = stream.codec_context
        context.time_base = Fraction(1, fps)
        context.colorspace, context.color_primaries, context.color_trc = tags
        context.color_range = spread
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        change(stream)
        for stamp, frame in zip(stamps or range(len(frames)), frames, strict=True):
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frame), format=given[frame.shape[2], frame.dtype.name]
            )
            rgb = pixels.startswith(("rgb", "argb", "bgr", "gbr", "pal"))
            if not rgb:
                picture = picture.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=spread)
            elif picture.format.name != pixels:
                picture = picture.reformat(format=pixels)
            picture.colorspace, picture.color_primaries, picture.color_trc = (0, *tags[1:]) if rgb else tags
            picture.pts, picture.time_base = stamp, Fraction(1, fps)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return file.getvalue()


def numbered(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames whose brightness tells their number."""
    return [np.full((height, width, 3), 20 + 4 * index, np.uint8) for index in range(count)]


def rising(seconds: int) -> np.ndarray:
    """A tone that is 100 Hz higher each second: (N,) float32, from 300 Hz."""
    time = np.arange(seconds * RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * (300 + 100 * np.floor(time)) * time)).astype(np.float32)


def sound(
    container: str,
    codec: str,
    seconds: int = 6,
    lost: tuple[float, float] | None = None,
    later: float = 0.0,
    pictures: int = 0,
) -> bytes:
    """The rising tone as a file.

    Args:
        lost: no packet that begins between these seconds is in the file.
        later: seconds that the sound begins after the pictures.
        pictures: how many frames of video are in the file too, at 25 a second.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if pictures:
            track: Any = output.add_stream("libx264", rate=25)
            track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        stream: Any = output.add_stream(codec, rate=RATE, layout="mono")
        if pictures:
            for frame in numbered(pictures):
                output.mux(track.encode(av.VideoFrame.from_ndarray(frame % 200, format="rgb24")))
            output.mux(track.encode(None))
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=RATE)
        frame = av.AudioFrame.from_ndarray(rising(seconds)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        parts = [*resampler.resample(frame), *resampler.resample(None)]
        packets = [packet for part in [*parts, None] for packet in stream.encode(part)]
        for packet in packets:
            begin = float((packet.pts or 0) * packet.time_base)
            if lost is not None and lost[0] <= begin < lost[1]:
                continue
            for name in ("pts", "dts"):
                setattr(packet, name, getattr(packet, name) + round(later / packet.time_base))
            output.mux(packet)
    return file.getvalue()


def damaged(data: bytes, begin: float = 0.4, part: float = 0.04) -> bytes:
    """The same with zeros from ``begin`` (a part of its length)."""
    result = bytearray(data)
    start, count = round(begin * len(data)), round(part * len(data))
    result[start : start + count] = bytes(count)
    return bytes(result)


def pitch(samples: np.ndarray, rate: int, at: float, seconds: float = 0.4) -> float:
    """The strongest frequency around a time, Hz."""
    part = samples[round((at - seconds / 2) * rate) : round((at + seconds / 2) * rate)]
    return float(np.abs(np.fft.rfft(part * np.hanning(len(part)))).argmax() / seconds)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
