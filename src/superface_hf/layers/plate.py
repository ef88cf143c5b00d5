"""Make the plate: the picture without the person, which stays still behind the person.

The inpainter sees the surroundings of the hole at its own size, and paints the larger shapes. Finer detail is continued
from the hole's border, and grain is added, as strong as around the hole.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ..models.inpainter.modeling_inpainter import SuperFaceInpainterModel
from ..models.inpainter.pull_push import pull_push

PERSON = 0.02  # pixels with a larger alpha show the person
GROWTH = 0.012  # the margin of the hole around the person, as a share of the longer side of the person's box
CONTEXT = 0.3  # the margin around the hole that the inpainter sees, as a share of the longer side of the hole's box
MAX_GRAIN = 1.5  # the most that grain (its root) exceeds the picture's usual grain
FINE_SIZE = 1024  # pixels of the longer side; a plate of a larger picture has no finer detail
GREY = 3  # a picture whose channels differ by less is grey, and so is its plate


def make_plate(picture: np.ndarray, alpha: np.ndarray, model: SuperFaceInpainterModel) -> np.ndarray:
    """Paint the background behind the person.

    Args:
        picture: (H, W, 3) uint8.
        alpha: (H, W) from ``matting.cut_out_person``.
        model: the inpainter.

    Returns:
        (H, W, 3) uint8, the picture's own pixels, bit for bit, outside of the hole.
    """
    hole = hole_behind(alpha)
    if not hole.any():
        return picture.copy()
    box = _surroundings(hole)
    seen, known = picture[box], ~hole[box]
    if not known.any():  # the person fills the picture
        return picture.copy()
    filled = _filled(seen, known, model)
    if int(np.ptp(seen[known].astype(np.int16), axis=1).max()) < GREY:
        filled = np.repeat(filled.mean(2, keepdims=True), 3, axis=2)
    plate = picture.copy()
    plate[box] = np.where(known[..., None], seen, np.clip(filled + 0.5, 0, 255).astype(np.uint8))
    return plate


def hole_behind(alpha: np.ndarray) -> np.ndarray:
    """Return the area (H, W) bool that the plate has to paint: the person and a margin.

    There is no margin where the matte itself was cut off, because the person continues there and is not moved.
    """
    person = alpha > PERSON
    if not person.any():
        return person
    rows, columns = (np.flatnonzero(person.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    radius = max(2, round(GROWTH * max(bottom - top, right - left)))
    size = 2 * radius + 1
    grown = cv2.dilate(person.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    # An outline is soft; only a cut changes from 1 to 0 between two pixels.
    if alpha[bottom].max() > 0.5:
        grown[bottom + 1 :] = False
    if alpha[:, left].max() > 0.5:
        grown[:, :left] = False
    if alpha[:, right].max() > 0.5:
        grown[:, right + 1 :] = False
    return grown


def _surroundings(hole: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of the hole and its surroundings."""
    spans = [np.flatnonzero(hole.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    margin = 8 + round(CONTEXT * max(int(b - a) for a, b in spans))
    rows, columns = (
        slice(max(0, int(a) - margin), min(length, int(b) + 1 + margin))
        for (a, b), length in zip(spans, hole.shape, strict=True)
    )
    return rows, columns


def _filled(seen: np.ndarray, known: np.ndarray, model: SuperFaceInpainterModel) -> np.ndarray:
    """Return the surroundings (H, W, 3) with the hole filled, float32 in [0, 255]."""
    height, width = known.shape
    scale = min(1.0, FINE_SIZE / max(height, width))
    if scale == 1:
        return _filled_finely(seen, known, model)
    filled = _filled_finely(*_smaller(seen, known, scale), model)
    return cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)


@torch.inference_mode()
def _filled_finely(seen: np.ndarray, known: np.ndarray, model: SuperFaceInpainterModel) -> np.ndarray:
    """Fill the hole of a picture of at most ``FINE_SIZE``."""
    height, width = known.shape
    scale = min(1.0, model.config.working_size / max(height, width))
    little, whole = _smaller(seen, known, scale)
    pixels = torch.tensor(little).permute(2, 0, 1)[None].to(model.device).float() / 255
    mask = torch.from_numpy(whole)[None, None].to(model.device).float()
    painted = model(pixels.contiguous(memory_format=torch.channels_last), mask).pictures
    assert painted is not None
    coarse = painted[0].permute(1, 2, 0).float().cpu().numpy() * 255
    if scale == 1:
        return coarse
    large = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = seen - large  # the detail that the small picture lacks, where it is known
    on = torch.from_numpy(known)[None, None].float()
    continued = pull_push(torch.from_numpy(fine).permute(2, 0, 1)[None], on)[0].permute(1, 2, 0).numpy()
    return large + continued + _grain(fine, on)


def _smaller(seen: np.ndarray, known: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Resize picture and mask; a pixel is known if all pixels that it averages are."""
    if scale == 1:
        return seen, known
    size = tuple(max(1, round(n * scale)) for n in known.shape[::-1])
    little = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
    whole = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.999
    if not whole.any():
        whole = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return little, whole


def _grain(fine: np.ndarray, known: torch.Tensor) -> np.ndarray:
    """Return noise (H, W, 1) as strong as the fine detail around the hole; edges, which are few, hardly count."""
    light = torch.from_numpy(np.sqrt(np.abs(fine).mean(2)))[None, None]
    usual = float(light[known > 0].median())
    strength = pull_push(light.clamp(max=MAX_GRAIN * usual), known)[0, 0].numpy() ** 2
    noise = cv2.GaussianBlur(np.random.default_rng(0).standard_normal(strength.shape, np.float32), (0, 0), 0.5)
    # For a normal distribution, the squared mean of the root of the magnitude is 0.68 standard deviations.
    spread = cv2.GaussianBlur(strength, (0, 0), 3) / 0.68
    return (noise / noise.std() * spread)[..., None]
