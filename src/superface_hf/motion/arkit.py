"""The 52 ARKit blendshape slots and the linear maps between them and motion coefficients.

Slot 0 is the landmarker's ``_neutral`` and carries nothing; ``tongueOut`` is not among the 52 because no landmark sees it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import safe_open

from ..errors import UnknownNameError

FACE_MODEL_FILE = Path(__file__).parent.parent / "weights" / "face_model" / "face_model.safetensors"
EXPRESSION_REGIONS = ("mouth", "eyes", "brows", "gaze")

# fmt: off
ARKIT_NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)
# fmt: on
_INDEX = {name: index for index, name in enumerate(ARKIT_NAMES)}


def arkit_index(name: str) -> int:
    """Return the slot of a blendshape; the ``UnknownNameError`` for an unknown name lists similar ones."""
    if name not in _INDEX or name == "_neutral":
        raise UnknownNameError(f"Unknown blendshape {name!r}. {nearest_names(name, ARKIT_NAMES[1:])}")
    return _INDEX[name]


def nearest_names(name: str, names: Iterable[str]) -> str:
    """Return the sentence of an error message that suggests known names."""
    lowered = {candidate.lower(): candidate for candidate in names}
    near = [lowered[match] for match in difflib.get_close_matches(str(name).lower(), lowered, n=4, cutoff=0.5)]
    return f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(lowered.values())}."


def mirrored_name(name: str) -> str:
    """Return the name of the same blendshape on the other side: ``eyeBlinkLeft`` for ``eyeBlinkRight`` and back; others
    stay."""
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


@dataclass(frozen=True)
class ArkitMaps:
    """Linear maps, all zero at the neutral face.

    Attributes:
        from_scores: region -> (52, N), ``coefficients = scores @ from_scores[region]``.
        to_scores: region -> (N, 52), ``scores = sum(coefficients @ to_scores[region])``.
    """

    from_scores: dict[str, np.ndarray]
    to_scores: dict[str, np.ndarray]

    @property
    def sizes(self) -> dict[str, int]:
        """How many coefficients each expression region has."""
        return {region: matrix.shape[1] for region, matrix in self.from_scores.items()}

    @classmethod
    def load(cls, path: Path) -> ArkitMaps:
        """Read the maps of a ``face_model.safetensors``."""
        with safe_open(path, framework="numpy") as file:
            return cls(
                {region: file.get_tensor(f"from_arkit.{region}").astype(np.float32) for region in EXPRESSION_REGIONS},
                {region: file.get_tensor(f"to_arkit.{region}").astype(np.float32) for region in EXPRESSION_REGIONS},
            )

    @classmethod
    @lru_cache(maxsize=1)
    def default(cls) -> ArkitMaps:
        """Return the maps of the embedded face model."""
        return cls.load(FACE_MODEL_FILE)
