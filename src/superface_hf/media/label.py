"""The visible label: "AI-generated", small in the lower left corner of a picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT = "AI-generated"
HEIGHT = 1 / 26  # of the letters, as a share of the picture's shorter side
MIN_HEIGHT = 10  # pixels; smaller letters cannot be read
SHADE = 0.55  # how much the background of the letters is darkened


def labelled(frame: np.ndarray) -> np.ndarray:
    """Return a copy of the frame (H, W, 3) uint8 with the label. A picture narrower than the label shows what fits."""
    height, width = frame.shape[:2]
    letters = _letters(max(MIN_HEIGHT, round(min(height, width) * HEIGHT)))
    margin = letters.shape[0] // 4
    bottom, left = max(0, height - margin), min(margin, width)
    place = (slice(max(0, bottom - letters.shape[0]), bottom), slice(left, left + letters.shape[1]))
    result = frame.copy()
    ground = result[place]
    ink = letters[-ground.shape[0] :, : ground.shape[1], None]
    result[place] = (ground * (1 - SHADE) * (1 - ink) + 255 * ink).round().astype(np.uint8)
    return result


@lru_cache(maxsize=8)
def _letters(size: int) -> np.ndarray:
    """Return how much of each pixel the letters cover, (h, w) float32 in [0, 1], with a margin around them."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(TEXT)
    margin = round(size * 0.4)
    image = Image.new("L", (round(right - left) + 2 * margin, round(bottom - top) + 2 * margin))
    ImageDraw.Draw(image).text((margin - left, margin - top), TEXT, fill=255, font=font)
    return np.asarray(image, np.float32) / 255
