"""The protocol ``colour``: average colours of areas that do not move must stay those of the source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel
from ..face_model.topology import FACE_OVAL
from ..layers.portrait import to_uint8
from ..metrics.image import colour_shift
from ..metrics.sharpness import enlarged, filled, skin_mask
from ..motion import Motion
from .data import NamedPortrait
from .methods import Methods
from .regions import EDITS

# The background begins outside of the face oval enlarged by this: hair and neck may move with the jaw.
BACKGROUND = 1.7
NOSE_TIP, NOSE_BRIDGE = 4, 168
# What moves: nothing, the mouth alone, the eyes alone.
MOVES = ("rest", "mouth", "eyes")


def colour_shifts(portraits: Sequence[NamedPortrait], methods: Methods) -> dict[str, dict[str, dict[str, float]]]:
    """Return the largest shift of red, green and blue in units of 1/255: portrait -> moving region -> "face" and
    "background".

    Of the face, the skin above the nose's tip is looked at while the mouth moves, and below its bridge while the eyes do.
    """
    result = {}
    for item in portraits:
        own = item.portrait.motion
        moved = [own, *(own.replace({region: own.edit(EDITS[region])}) for region in MOVES[1:])]
        driving = FaceModel.default().animate(item.portrait.shape, Motion.concatenate(moved))
        frames = methods.render_teacher(item.image, item.landmarks, driving, methods.size)
        source = to_uint8(item.image)[0]
        pixels = Square(0, 0, methods.size).to_pixels(item.portrait.landmarks)[:, :2]
        result[item.name] = {
            move: {
                place: float(np.abs(colour_shift(frame, source, mask)).max())
                for place, mask in still_places(pixels, methods.size, move).items()
                if mask.any()
            }
            for move, frame in zip(MOVES, frames, strict=True)
        }
    return result


def still_places(landmarks: np.ndarray, size: int, move: str) -> dict[str, np.ndarray]:
    """Return masks (size, size) bool of the areas of face and background that do not move. Landmarks (478, 2) in pixels."""
    skin = skin_mask(landmarks, size, size)
    down = landmarks[152] - landmarks[10]
    y, x = np.mgrid[0:size, 0:size] + 0.5

    def below(point: int) -> np.ndarray:
        return (x - landmarks[point, 0]) * down[0] + (y - landmarks[point, 1]) * down[1] > 0

    if move == "mouth":
        skin &= ~below(NOSE_TIP)
    elif move == "eyes":
        skin &= below(NOSE_BRIDGE)
    return {"face": skin, "background": ~filled(enlarged(landmarks[FACE_OVAL], BACKGROUND), size, size)}
