"""Cut the person out of a picture: the matte at the picture's resolution, and the person's own colours.

The matte network sees a square around the face and, if the picture is larger, another one twice as large for the body. A guided
filter (He and Sun 2015, "Fast guided filter") refines the matte along hair, at the picture's own resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..models.matte.modeling_matte import SuperFaceMatteModel
from ..utils.easing import smoothstep

# The sides of the two squares, in widths of the face, and the height of the face's middle in each (share from the top). Nothing
# moves below the second square (``layers.motion.REST``), so the matte may end there.
REACHES = ((3.4, 0.47), (6.8, 0.40))
BLEND = 0.12  # the width, as a share of the first square's side, over which its matte blends into the second one's
# The guided filter: the size of the picture in which its coefficients are computed, its radius there, and its regularisation.
GUIDE_SIZE, GUIDE_RADIUS, GUIDE_NOISE = 512, 6, 4e-4
# Alpha below the first number becomes 0, above the second 1.
NOTHING, ALL = 0.1, 0.9
ROWS = 256  # rows processed at once, so that large pictures need little memory
# Radii of the estimation of colours, as shares of the picture's longer side.
FAR, NEAR = 0.09, 0.006


@dataclass(frozen=True)
class MatteWindow:
    """A square in a picture, in whole pixels; it may reach beyond the picture."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, landmarks: np.ndarray, shape: tuple[int, ...], reach: float, level: float) -> MatteWindow:
        """Return a square of ``reach`` face widths, at most the picture's size, moved to lie inside the picture."""
        height, width = shape[:2]
        low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
        side = max(16, round(min(reach * float(high[0] - low[0]), max(height, width))))
        middle = (low + high) / 2
        left, top = float(middle[0]) - side / 2, float(middle[1]) - side * level
        return cls(_moved_in(left, width - side), _moved_in(top, height - side), side)

    def part(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Return the rows and columns of the picture inside the square."""
        rows = slice(max(0, self.top), min(shape[0], self.top + self.side))
        return rows, slice(max(0, self.left), min(shape[1], self.left + self.side))

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Return whether the whole picture lies inside the square."""
        rows, columns = self.part(shape)
        return (rows.stop - rows.start, columns.stop - columns.start) == tuple(shape[:2])


def cut_out_person(
    picture: np.ndarray, landmarks: np.ndarray, model: SuperFaceMatteModel, others: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Separate the person from the background.

    Args:
        picture: (H, W, 3) uint8.
        landmarks: (478, 3) of the person's face, in pixels.
        model: the matte network.
        others: (478, 3) landmarks of other people's faces; pixels nearer to them are theirs.

    Returns:
        (H, W) float32: the person's share of each pixel, exactly 0 and 1 away from the outline.
    """
    shape = picture.shape
    windows = [MatteWindow.around(landmarks, shape, *REACHES[0])]
    if not windows[0].holds(shape):
        windows.append(MatteWindow.around(landmarks, shape, *REACHES[1]))
    alpha = np.zeros(shape[:2], np.float32)
    for number, window in reversed(list(enumerate(windows))):
        rows, columns = window.part(shape)
        seen = picture[rows, columns]
        coarse = _of_one_person(_ask(seen, window, model), seen.shape, window, landmarks, others)
        fine = _guided(seen, coarse)
        if number + 1 < len(windows):  # blend into the matte of the larger square
            share = _inner(window, shape)[rows, columns]
            fine = share * fine + (1 - share) * alpha[rows, columns]
        alpha[rows, columns] = fine
    return alpha


def foreground_colours(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return the person's own colours (H, W, 3) uint8, without the background that shines through at the outline.

    Fast estimation by blurred fusion (Forte 2021, "Approximate fast foreground colour estimation"): a wide and a narrow round.
    Pixels without the person get its nearest colours; pixels that are only the person are kept bit for bit.

    Args:
        picture: (H, W, 3) uint8.
        alpha: (H, W) from :func:`cut_out_person`.
    """
    unsure = _grown((alpha > 0) & (alpha < 1), 1 + round(NEAR * max(alpha.shape)))
    if not unsure.any():
        return picture.copy()
    box = _box(alpha > 0, alpha.shape, 4 + round(NEAR * 2 * max(alpha.shape)))
    part, opaque = picture[box], alpha[box]
    result = picture.copy()
    longer = max(opaque.shape)
    small = min(1.0, GUIDE_SIZE / longer)
    little = _resized(part, small).astype(np.float32)
    little_alpha = _resized(opaque, small)
    wide = max(3, round(FAR * max(little_alpha.shape)))
    ours, behind = _fused(little, little, little, little_alpha, wide)
    narrow = max(2, round(NEAR * longer))
    for rows, around in _strips(len(part), narrow + 1):
        target = (part.shape[1], around.stop - around.start)
        f, b = (_rows_of(x, around, len(part), target) for x in (ours, behind))
        colours, _ = _fused(part[around].astype(np.float32), f, b, opaque[around], narrow)
        inner = slice(rows.start - around.start, rows.stop - around.start)
        kept = (opaque[rows] >= 1)[..., None]
        found = np.clip(colours[inner] + 0.5, 0, 255).astype(np.uint8)
        result[box][rows] = np.where(kept, part[rows], found)
    return result


@torch.inference_mode()
def _ask(seen: np.ndarray, window: MatteWindow, model: SuperFaceMatteModel) -> np.ndarray:
    """Return the network's matte (h, w), at its own resolution, for the part of the picture in a window."""
    size = model.config.image_size
    scale = size / window.side
    height, width = (min(size, max(1, round(n * scale))) for n in seen.shape[:2])
    little = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    above = min(size - height, round(max(0, -window.top) * scale))
    before = min(size - width, round(max(0, -window.left) * scale))
    edges = (above, size - height - above, before, size - width - before)
    square = cv2.copyMakeBorder(little, *edges, cv2.BORDER_REPLICATE)
    pixels = torch.from_numpy(square).permute(2, 0, 1)[None].to(model.device).float() / 255
    both = torch.cat([pixels, pixels.flip(3)]).contiguous(memory_format=torch.channels_last)
    logits = model(both).logits
    assert logits is not None
    found = torch.sigmoid((logits[:1] + logits[1:].flip(3)) / 2)[0, 0].float().cpu().numpy()
    return found[above : above + height, before : before + width]


def _of_one_person(
    coarse: np.ndarray, shape: tuple[int, ...], window: MatteWindow, landmarks: np.ndarray, others: Sequence[np.ndarray]
) -> np.ndarray:
    """Remove the parts of a matte that are not connected to the face, and those nearer to another face."""
    scale = np.array([coarse.shape[1] / shape[1], coarse.shape[0] / shape[0]])
    corner = np.array([max(0, window.left), max(0, window.top)])
    places = [((points[:, :2] - corner) * scale) for points in (landmarks, *others)]
    result = coarse
    if others:
        y, x = np.mgrid[: coarse.shape[0], : coarse.shape[1]] + 0.5
        far = [
            np.hypot(x - (p[:, 0].min() + p[:, 0].max()) / 2, y - (p[:, 1].min() + p[:, 1].max()) / 2)
            / max(1.0, float(np.ptp(p[:, 0])))
            for p in places
        ]
        result = result * np.clip(8 * (np.min(far[1:], axis=0) - far[0]) + 0.5, 0, 1)
    count, parts = cv2.connectedComponents((result > 0.5).astype(np.uint8))
    high, wide = coarse.shape
    on_face = parts[places[0][:, 1].astype(int).clip(0, high - 1), places[0][:, 0].astype(int).clip(0, wide - 1)]
    mine = np.bincount(on_face, minlength=count)
    mine[0] = 0
    if count <= 2 or not mine.any():
        return result.astype(np.float32)
    own = parts == mine.argmax()
    strange = (parts > 0) & ~own
    to_own, to_strange = (cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) for mask in (own, strange))
    return np.where(to_own <= to_strange, result, 0).astype(np.float32)


def _guided(seen: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Refine a coarse matte (h, w) along the edges of the picture (H, W, 3): (H, W) float32."""
    height, width = seen.shape[:2]
    scale = min(1.0, GUIDE_SIZE / max(height, width))
    guide = _resized(seen, scale).astype(np.float32) / 255
    size = (guide.shape[1], guide.shape[0])
    rough = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    slope, base = _linear_model(guide, rough, GUIDE_RADIUS)
    model = np.concatenate([slope, base[..., None]], axis=2)
    # Far from the outline the network is right, and the picture's texture is unrelated to the matte.
    near = ((rough > 0.02) & (rough < 0.98)).astype(np.uint8)
    near = cv2.dilate(near, np.ones((5, 5), np.uint8)).astype(np.float32)
    sides = np.dstack([cv2.blur(near, (5, 5)), rough])
    result = np.empty((height, width), np.float32)
    for rows, _ in _strips(height, 0):
        target = (width, rows.stop - rows.start)
        coefficients = _rows_of(model, rows, height, target)
        follows, plain = np.moveaxis(_rows_of(sides, rows, height, target), 2, 0)
        exact = (coefficients[..., :3] * seen[rows]).sum(2) / 255 + coefficients[..., 3]
        together = follows * exact + (1 - follows) * plain
        result[rows] = np.clip((together - NOTHING) / (ALL - NOTHING), 0, 1)
    return result


def _linear_model(guide: np.ndarray, target: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit ``target`` as a linear function of the guide's colours around each pixel: slopes (H, W, 3) and constants (H, W)."""
    mean, wanted = _mean(guide, radius), _mean(target, radius)
    with_target = _mean(guide * target[..., None], radius) - mean * wanted[..., None]
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    products = np.dstack([guide[..., i] * guide[..., j] for i, j in pairs])
    rr, rg, rb, gg, gb, bb = np.moveaxis(
        _mean(products, radius) - np.dstack([mean[..., i] * mean[..., j] for i, j in pairs]), 2, 0
    )
    rr, gg, bb = rr + GUIDE_NOISE, gg + GUIDE_NOISE, bb + GUIDE_NOISE
    a, b, c = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg  # the inverse, by minors
    d, e, f = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    whole = rr * a + rg * b + rb * c
    x, y, z = np.moveaxis(with_target, 2, 0)
    slope = np.dstack([a * x + b * y + c * z, b * x + d * y + e * z, c * x + e * y + f * z]) / whole[..., None]
    base = wanted - (slope * mean).sum(2)
    return _mean(slope, radius), _mean(base, radius)


def _fused(
    picture: np.ndarray, ours: np.ndarray, behind: np.ndarray, alpha: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run one round of blurred fusion, and return the colours of person and background, (H, W, 3) each."""
    part = alpha[..., None]
    rest = 1 - part
    around = _mean(ours * part, radius) / np.maximum(_mean(alpha, radius), 1e-4)[..., None]
    beyond = _mean(behind * rest, radius) / np.maximum(_mean(1 - alpha, radius), 1e-4)[..., None]
    seen = (_mean(alpha, radius) > 1e-4)[..., None]
    around = np.where(seen, around, ours)
    return np.clip(around + part * (picture - part * around - rest * beyond), 0, 255), np.clip(beyond, 0, 255)


def _mean(x: np.ndarray, radius: int) -> np.ndarray:
    return cv2.boxFilter(x, -1, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REFLECT)


def _inner(window: MatteWindow, shape: tuple[int, ...]) -> np.ndarray:
    """Return weights (H, W): 1 in the window, falling to 0 toward its sides inside the picture."""
    band = BLEND * window.side
    axes = []
    for start, length in ((window.top, shape[0]), (window.left, shape[1])):
        place = np.arange(length) + 0.5
        share = np.ones(length, np.float32)
        if start > 0:
            share = np.minimum(share, (place - start) / band)
        if start + window.side < length:
            share = np.minimum(share, (start + window.side - place) / band)
        axes.append(smoothstep(share))
    return (axes[0][:, None] * axes[1]).astype(np.float32)


def _moved_in(start: float, slack: int) -> int:
    """Return the start nearest to ``start`` with the least part beyond the picture, which has ``slack`` pixels more
    than the window."""
    return max(min(0, slack), min(round(start), max(0, slack)))


def _resized(x: np.ndarray, scale: float) -> np.ndarray:
    if scale >= 1:
        return x
    size = tuple(max(1, round(n * scale)) for n in x.shape[1::-1])
    return cv2.resize(x, size, interpolation=cv2.INTER_AREA)


def _rows_of(little: np.ndarray, rows: slice, height: int, size: tuple[int, int]) -> np.ndarray:
    """Return some rows of a small picture enlarged to ``height`` pixels; ``size`` is (width, rows)."""
    scale_y, scale_x = little.shape[0] / height, little.shape[1] / size[0]
    matrix = np.array([[scale_x, 0, 0.5 * scale_x - 0.5], [0, scale_y, (rows.start + 0.5) * scale_y - 0.5]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(little, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _strips(height: int, margin: int) -> Iterator[tuple[slice, slice]]:
    """Yield the rows that are processed at once, and the same rows with a margin."""
    for start in range(0, height, ROWS):
        stop = min(height, start + ROWS)
        yield slice(start, stop), slice(max(0, start - margin), min(height, stop + margin))


def _grown(mask: np.ndarray, radius: int) -> np.ndarray:
    size = 2 * radius + 1
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0


def _box(mask: np.ndarray, shape: tuple[int, ...], margin: int) -> tuple[slice, slice]:
    """Return the rows and columns of a mask, with a margin."""
    result = []
    for axis, length in ((1, shape[0]), (0, shape[1])):
        places = np.flatnonzero(mask.any(axis=axis))
        result.append(slice(max(0, int(places[0]) - margin), min(length, int(places[-1]) + 1 + margin)))
    return result[0], result[1]
