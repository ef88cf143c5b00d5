"""Make the bundled motions from smooth curves on blendshapes and head pose.

::

    python -m superface_hf.data.bundled_motions --out src/superface_hf/weights/motions

Each starts and ends at the neutral face looking straight ahead, with no translation and a scale of 1.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..motion import Motion
from ..motion.arkit import ARKIT_NAMES, arkit_index
from ..motion.rotations import rotation_matrix

FPS = 25.0
# Where the head turns on the neck, canonical: below the chin's height and behind the face.
NECK = np.array([0.0, 0.8, -0.9])

VISEMES: dict[str, dict[str, float]] = {
    "rest": {},
    "m": {"mouthPress": 0.35, "mouthRollLower": 0.2, "mouthRollUpper": 0.2},
    "f": {"jawOpen": 0.06, "mouthRollLower": 0.35, "mouthUpperUp": 0.2},
    "a": {"jawOpen": 0.42, "mouthLowerDown": 0.3, "mouthUpperUp": 0.15},
    "e": {"jawOpen": 0.2, "mouthStretch": 0.3, "mouthSmile": 0.2, "mouthLowerDown": 0.3, "mouthUpperUp": 0.15},
    "i": {"jawOpen": 0.1, "mouthStretch": 0.35, "mouthSmile": 0.25, "mouthLowerDown": 0.3, "mouthUpperUp": 0.15},
    "o": {"jawOpen": 0.3, "mouthFunnel": 0.4, "mouthPucker": 0.35},
    "u": {"jawOpen": 0.12, "mouthFunnel": 0.25, "mouthPucker": 0.65},
    "n": {"jawOpen": 0.14, "mouthLowerDown": 0.2, "mouthUpperUp": 0.05},
    "s": {"jawOpen": 0.06, "mouthStretch": 0.2, "mouthLowerDown": 0.3, "mouthUpperUp": 0.15},
}
# "Hello. My name is Momo." as (second, viseme).
SPEECH = [
    (0.00, "rest"), (0.24, "rest"), (0.36, "e"), (0.48, "n"), (0.64, "o"), (0.80, "u"), (0.98, "rest"), (1.20, "m"),
    (1.34, "a"), (1.48, "i"), (1.58, "n"), (1.70, "e"), (1.82, "i"), (1.92, "m"), (2.02, "i"), (2.14, "s"), (2.26, "m"),
    (2.40, "o"), (2.56, "m"), (2.74, "o"), (2.92, "u"), (3.16, "rest"), (3.52, "rest"),
]  # fmt: skip


def curve(seconds: float, keys: list[tuple[float, float]]) -> np.ndarray:
    """Sample minimum-jerk movements from key to key (second, value): at rest at every key."""
    time = np.arange(round(seconds * FPS)) / FPS
    at, values = np.array(keys, float).T
    segment = np.clip(np.searchsorted(at, time, side="right") - 1, 0, len(at) - 2)
    t = np.clip((time - at[segment]) / (at[segment + 1] - at[segment]), 0, 1)
    eased = t**3 * (10 - 15 * t + 6 * t * t)
    return values[segment] + (values[segment + 1] - values[segment]) * eased


def blink(seconds: float, starts: list[float], depth: float = 1.0) -> np.ndarray:
    """Return the closing of the eyes in a blink: they close in a tenth of a second, and open in twice that."""
    keys = [(0.0, 0.0)]
    for start in starts:
        keys += [(start, 0.0), (start + 0.12, depth), (start + 0.16, depth), (start + 0.40, 0.0)]
    return curve(seconds, [*keys, (seconds, 0.0)])


def perform(
    seconds: float,
    shapes: dict[str, np.ndarray],
    turn: tuple[np.ndarray | float, np.ndarray | float, np.ndarray | float] = (0.0, 0.0, 0.0),
    hold_gaze: float = 0.0,
) -> Motion:
    """Return a motion from curves.

    Args:
        shapes: blendshape -> values; a name without its side sets both.
        turn: radians around x (negative looks down), y (positive looks to the picture's right), z (positive leans to it).
        hold_gaze: how much of the turn the eyes make up for, to keep looking where they did.
    """
    frames = round(seconds * FPS)
    scores = np.zeros((frames, len(ARKIT_NAMES)))
    for name, values in shapes.items():
        for full in [name] if name in ARKIT_NAMES else [name + "Left", name + "Right"]:
            scores[:, arkit_index(full)] += values
    rotation = np.stack([np.broadcast_to(angle, frames) for angle in turn], axis=1)
    translation = (NECK - rotation_matrix(rotation) @ NECK)[:, :2]
    motion = Motion.from_arkit(scores, FPS)
    eyes = hold_gaze * np.stack([-rotation[:, 1], rotation[:, 0]], axis=1)
    return replace(motion, rotation=rotation, translation=translation, gaze=motion.gaze + np.tile(eyes, 2))


def nod() -> Motion:
    seconds = 2.4
    pitch = curve(
        seconds, [(0, 0), (0.16, 0), (0.44, -0.24), (0.76, 0.05), (1.04, -0.19), (1.40, 0.03), (1.8, 0), (2.4, 0)]
    )
    return perform(seconds, {"eyeBlink": blink(seconds, [0.2])}, (pitch, 0.0, 0.0), hold_gaze=0.8)


def look_around() -> Motion:
    """Return a look around: the eyes go first, the head follows, and a blink accompanies the long turn."""
    seconds = 4.0
    eyes = curve(seconds, [(0, 0), (0.16, 0), (0.32, 0.7), (0.9, 0.25), (1.40, 0.25), (1.64, -0.7), (2.3, -0.25), (2.8, -0.25),
                           (3.0, 0.3), (3.5, 0), (4.0, 0)])  # fmt: skip
    yaw = curve(
        seconds, [(0, 0), (0.24, 0), (0.84, 0.32), (1.48, 0.34), (2.24, -0.32), (2.84, -0.34), (3.64, 0), (4.0, 0)]
    )
    right, left = np.maximum(eyes, 0), np.maximum(-eyes, 0)
    # The picture's right is the person's left.
    looks = {"eyeLookOutLeft": right, "eyeLookInRight": right, "eyeLookInLeft": left, "eyeLookOutRight": left}
    return perform(seconds, {**looks, "eyeBlink": blink(seconds, [1.5])}, (-0.08 * np.abs(yaw), yaw, 0.12 * yaw))


def two_blinks() -> Motion:
    seconds = 2.4
    closed = blink(seconds, [0.4, 1.4])
    return perform(seconds, {"eyeBlink": closed, "browDown": 0.1 * closed}, (-0.015 * closed, 0.0, 0.0))


def smile() -> Motion:
    seconds = 3.6
    grin = curve(seconds, [(0, 0), (0.2, 0), (0.9, 1), (2.4, 0.92), (3.3, 0), (3.6, 0)])
    lift = curve(seconds, [(0, 0), (0.3, 0), (1.1, 1), (2.4, 1), (3.4, 0), (3.6, 0)])
    shapes = {"mouthSmile": 0.8 * grin, "mouthUpperUp": 0.1 * grin, "jawOpen": 0.04 * grin, "cheekSquint": 0.4 * grin}
    shapes |= {"eyeSquint": 0.4 * lift, "browInnerUp": 0.12 * lift, "eyeBlink": blink(seconds, [2.5])}
    return perform(seconds, shapes, (0.03 * lift, 0.04 * lift, 0.07 * lift), hold_gaze=0.8)


def speak() -> Motion:
    seconds = 3.6
    shapes: dict[str, np.ndarray] = {}
    for name in sorted({name for viseme in VISEMES.values() for name in viseme}):
        keys = [(second, VISEMES[viseme].get(name, 0.0)) for second, viseme in SPEECH]
        shapes[name] = curve(seconds, [*keys, (seconds, 0.0)])
    stress = curve(
        seconds, [(0, 0), (0.3, 0), (0.6, 1), (1.0, 0.2), (1.36, 0.8), (1.9, 0.1), (2.4, 0.9), (3.2, 0), (3.6, 0)]
    )
    sway = curve(seconds, [(0, 0), (0.2, 0), (1.0, 1), (1.9, -0.6), (2.7, 0.5), (3.4, 0), (3.6, 0)])
    shapes |= {"browInnerUp": 0.25 * stress, "browOuterUp": 0.15 * stress, "eyeBlink": blink(seconds, [0.96, 2.9])}
    return perform(seconds, shapes, (-0.06 * stress, 0.06 * sway, 0.03 * sway), hold_gaze=0.8)


MOTIONS = {"nod": nod, "look_around": look_around, "blink": two_blinks, "smile": smile, "speak": speak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("src/superface_hf/weights/motions"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, make in MOTIONS.items():
        motion = make()
        motion.save(args.out / f"{name}.safetensors")
        print(f"{name}: {motion.seconds:.1f} s")


if __name__ == "__main__":
    main()
