"""The sliders of the tab *Edit*, and what they do to a face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..motion.rotations import rotation_matrix, rotation_vector

if TYPE_CHECKING:
    from ..motion import Motion

# The head's rotation for a slider at 1, in radians; beyond it, one photograph shows too little of the face.
TURN, NOD, TILT = 0.45, 0.35, 0.35
# The gaze's rotation for a slider at 1, in radians.
LOOK = 0.35


@dataclass(frozen=True)
class Slider:
    """One slider.

    Attributes:
        name: for programs.
        label: for people.
        up: ARKit blendshapes that a value above zero adds, times the value.
        down: those that a value below zero adds; without any, the slider's range starts at zero.
        group: the accordion in which it is shown.
    """

    name: str
    label: str
    group: str
    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()

    @property
    def lowest(self) -> float:
        return -1.0 if self.down or self.group in ("Where the eyes look", "Head") else 0.0


def _both(name: str) -> tuple[str, str]:
    return f"{name}Left", f"{name}Right"


SLIDERS = (
    Slider("smile", "Smile – frown", "Mouth", _both("mouthSmile"), _both("mouthFrown")),
    Slider("mouth_open", "Open", "Mouth", ("jawOpen",)),
    Slider("lips", "Pout – stretch", "Mouth", ("mouthPucker",), _both("mouthStretch")),
    Slider("mouth_aside", "To the side", "Mouth", ("mouthLeft",), ("mouthRight",)),
    Slider("left_eye_shut", "Shut the left eye", "Eyes and brows", ("eyeBlinkLeft",)),
    Slider("right_eye_shut", "Shut the right eye", "Eyes and brows", ("eyeBlinkRight",)),
    Slider("eyes_wide", "Wide – narrow", "Eyes and brows", _both("eyeWide"), _both("eyeSquint")),
    Slider("brows", "Brows up – down", "Eyes and brows", ("browInnerUp", *_both("browOuterUp")), _both("browDown")),
    Slider("look_right", "Look left – right", "Where the eyes look"),
    Slider("look_up", "Look down – up", "Where the eyes look"),
    Slider("turn", "Turn left – right", "Head"),
    Slider("nod", "Nod down – up", "Head"),
    Slider("tilt", "Tilt left – right", "Head"),
)
GROUPS = tuple(dict.fromkeys(slider.group for slider in SLIDERS))
NAMES = tuple(slider.name for slider in SLIDERS)
# One click each.
PRESETS = {
    "Smile": {"smile": 0.8, "eyes_wide": -0.3},
    "Surprise": {"mouth_open": 0.6, "eyes_wide": 1.0, "brows": 1.0},
    "Wink": {"left_eye_shut": 1.0, "smile": 0.5},
    "Glance": {"look_right": -0.9, "turn": -0.5},
}


def blendshapes(values: Mapping[str, float]) -> dict[str, float]:
    """Return the ARKit blendshapes to add for slider values in [-1, 1]."""
    added: dict[str, float] = {}
    for slider in SLIDERS:
        value = values.get(slider.name, 0.0)
        for name in slider.up if value > 0 else slider.down:
            if value:
                added[name] = abs(value)
    return added


def posed(motion: Motion, values: Mapping[str, float]) -> Motion:
    """Return the portrait's own motion (one frame) with another head pose and gaze; left and right are the viewer's."""
    turn, nod, tilt = (values.get(name, 0.0) for name in ("turn", "nod", "tilt"))
    change = (
        rotation_matrix(np.array([0, 0, TILT * tilt]))
        @ rotation_matrix(np.array([0, TURN * turn, 0]))
        @ rotation_matrix(np.array([NOD * nod, 0, 0]))
    )
    right, up = LOOK * values.get("look_right", 0.0), LOOK * values.get("look_up", 0.0)
    gaze = motion.gaze + np.array([right, -up, right, -up], np.float32)
    return replace(motion, rotation=rotation_vector(change @ rotation_matrix(motion.rotation)), gaze=gaze)
