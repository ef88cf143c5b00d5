"""Convert the colours of a decoded frame, whatever its matrix, range, primaries and transfer, to sRGB with 8 bits.

Numbers of matrix, primaries and transfer are those of ISO 23091-2 (and of FFmpeg). HDR is brought to the range of an ordinary
screen after ITU-R BT.2390: light up to about half the brightness of paper white stays, brighter light is compressed.
"""

from __future__ import annotations

from functools import lru_cache

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from ..errors import MediaError

# A file that states no matrix is read by the usual convention: small pictures are BT.601, large ones BT.709.
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
UNSPECIFIED = (2, 3)
LARGE_WIDTH, LARGE_HEIGHT = 1280, 576
OTHER_MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "YDzDx", 14: "ICtCp", 15: "IPT-C2"}
LINEAR, PQ, HLG = 8, 16, 18
OTHER_TRANSFERS = {9: "logarithmic", 10: "logarithmic", 17: "those of cinemas (SMPTE 428)"}
OTHER_PRIMARIES = {8: "film", 10: "XYZ"}
BT709, BT2020 = 1, 9
# x and y of red, green and blue, for BT.709 and for other primaries with the same white.
PRIMARIES = {
    BT709: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    BT2020: ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),
    11: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
}
D65 = (0.3127, 0.3290)
DOLBY_VISION = ("dvh1", "dvhe", "dva1", "dvav", "dav1")

PAPER = 203.0  # nits of white paper in HDR (ITU-R BT.2408), which becomes white on an ordinary screen
PEAK = 1000.0  # nits of the brightest light: that of HLG, and of most PQ video
STEPS = 65535
CURVE = 4096  # entries of the tone curve


class Colours:
    """Converts the frames of one stream, one after the other.

    Args:
        name: the name of the video, for messages.
        codec_tag: the codec tag of the stream.
    """

    def __init__(self, name: str, codec_tag: str = "") -> None:
        self._name, self._codec_tag = name, codec_tag
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame, alpha: np.ndarray | None = None) -> np.ndarray:
        """Convert a frame to RGB (H, W, 3) uint8; transparent pixels become white, as in pictures.

        Args:
            alpha: (H, W) uint8 transparency, if it is not part of the frame.

        Raises:
            MediaError: the frame has a colour format that is not supported.
        """
        transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
        self._check(frame, transfer, primaries)
        convert = transfer in (LINEAR, PQ, HLG) or primaries in PRIMARIES.keys() - {BT709}
        within = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
        form = {(0, 0): "rgb24", (0, 1): "rgba", (1, 0): "rgb48le", (1, 1): "rgba64le"}[convert, within]
        matrix = None if frame.format.is_rgb else self._matrix(frame, primaries)
        pixels: np.ndarray = self._reformatter.reformat(frame, format=form, src_colorspace=matrix).to_ndarray()
        if within:
            alpha = pixels[..., 3] if pixels.dtype == np.uint8 else (pixels[..., 3] // 256).astype(np.uint8)
        colours = np.ascontiguousarray(pixels[..., :3])
        if convert:
            colours = _to_srgb(colours, transfer, primaries)
        return colours if alpha is None else _on_white(colours, alpha)

    def _matrix(self, frame: av.VideoFrame, primaries: int) -> Colorspace:
        if (matrix := MATRICES.get(int(frame.colorspace))) is not None:
            return matrix
        if primaries == BT2020:
            return Colorspace.BT2020
        large = frame.width >= LARGE_WIDTH or frame.height > LARGE_HEIGHT
        return Colorspace.ITU709 if large else Colorspace.ITU601

    def _check(self, frame: av.VideoFrame, transfer: int, primaries: int) -> None:
        what = OTHER_TRANSFERS.get(transfer) or OTHER_PRIMARIES.get(primaries)
        if not frame.format.is_rgb:
            what = what or OTHER_MATRICES.get(int(frame.colorspace))
        if self._codec_tag.lower() in DOLBY_VISION and transfer in UNSPECIFIED:
            what = "Dolby Vision without a base that others can show (profile 5)"
        if what:
            raise MediaError(
                f"The colours of the video {self._name} are not read: they are {what}. Convert it to BT.709 (ordinary video), "
                "HLG or HDR10 first."
            )


def _to_srgb(values: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Convert (H, W, 3) uint16 to sRGB, uint8."""
    light = _light(transfer)[values]  # 1 is white paper
    if transfer == HLG:
        # The system's gamma of 1.2 acts on the scene's luminance (BT.2100, table 5).
        luminance = cv2.transform(light, np.array([[0.2627, 0.6780, 0.0593]]))
        light *= np.float32(PEAK / PAPER) * np.power(np.maximum(luminance, 1e-9), np.float32(0.2))[..., None]
    if primaries in PRIMARIES and primaries != BT709:
        light = cv2.transform(light, _to_bt709(primaries))
    if transfer in (PQ, HLG):
        place = np.sqrt(np.clip(light.max(-1) * (PAPER / PEAK), 0, 1)) * (CURVE - 1)
        light *= _curve()[place.round().astype(np.int32)][..., None]
    return _srgb()[(np.clip(light, 0, 1) * STEPS).round().astype(np.int32)]


@lru_cache(maxsize=4)
def _light(transfer: int) -> np.ndarray:
    """Return the light, float32, of each of the 65536 values. The transfer of ordinary video is taken as sRGB's, as
    screens show it."""
    value = np.linspace(0, 1, STEPS + 1)
    if transfer == LINEAR:
        light = value
    elif transfer == PQ:
        light = _from_pq(value) / PAPER
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    else:
        light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


@lru_cache(maxsize=1)
def _srgb() -> np.ndarray:
    """Return the sRGB byte of each of the 65536 amounts of light."""
    light = np.linspace(0, 1, STEPS + 1)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (value * 255).round().astype(np.uint8)


@lru_cache(maxsize=1)
def _curve() -> np.ndarray:
    """Return the factors that dim light, at steps of the square root of its share of the peak. The curve is that of
    BT.2390 (annex 5), to a screen whose white is white paper."""
    nits = np.maximum(PEAK * np.linspace(0, 1, CURVE) ** 2, 1e-6)
    scale = _to_pq(PEAK)
    white = _to_pq(PAPER) / scale
    knee = 1.5 * white - 0.5
    value = _to_pq(nits) / scale
    t = np.clip((value - knee) / (1 - knee), 0, 1)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * white
    return (_from_pq(np.where(value < knee, value, bent) * scale) / nits).astype(np.float32)


def _from_pq(value: np.ndarray) -> np.ndarray:
    """Convert PQ values in [0, 1] to nits (SMPTE ST 2084)."""
    root = value ** (1 / 78.84375)
    return 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _to_pq(nits: np.ndarray | float) -> np.ndarray:
    root = (np.asarray(nits) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375


@lru_cache(maxsize=8)
def _to_bt709(primaries: int) -> np.ndarray:
    return np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(primaries)


def _to_xyz(primaries: int) -> np.ndarray:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    x, y = D65
    return columns * np.linalg.solve(columns, np.array([x / y, 1, (1 - x - y) / y]))


def _on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    if (alpha == 255).all():
        return colours
    cover = alpha[..., None].astype(np.uint16)
    return ((colours * cover + 255 * (255 - cover) + 127) // 255).astype(np.uint8)
