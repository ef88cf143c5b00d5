"""Expression slopes: the share of the target's changes of mouth, lids and brows that the rendered ones make.

MediaPipe's face landmarker measures them if it is available, because it drives no renderer. The embedded tracker, which
drives the renderers here, would not notice changes that it cannot see.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import SuperFaceError, install_command
from ..layers.portrait import to_uint8
from ..metrics.slopes import MEASURES, correlation, expression_measures, slope
from ..models.tracker.base import FaceTracker
from .data import Reenactment
from .methods import MOVING

FILE = "face_landmarker.task"
MODELS = "SUPERFACE_MODELS"  # names a folder that holds it


@dataclass(frozen=True, eq=False)
class Landmarker:
    """The landmarker that measures expressions, in each picture alone."""

    name: str
    tracker: FaceTracker

    @classmethod
    def official(cls, file: Path | None) -> Landmarker:
        """Return MediaPipe's landmarker.

        Raises:
            SuperFaceError: its file is missing, or the package.
        """
        from ..models.tracker.mediapipe_backend import MediapipeTracker

        try:
            if file is None:
                raise FileNotFoundError(f"there is no {FILE}")
            return cls("MediaPipe's face landmarker", MediapipeTracker(file, max_faces=1))
        except (FileNotFoundError, ImportError) as error:
            raise SuperFaceError(
                f"expressions by MediaPipe's face landmarker ({error}): it needs --landmarker {FILE} and "
                f"{install_command('mediapipe')}. The embedded tracker measures them instead."
            ) from error

    @classmethod
    def embedded(cls, tracker: FaceTracker) -> Landmarker:
        return cls("the embedded tracker", tracker)

    def measures(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Measure frames (T, H, W, 3) uint8: name -> (T,), NaN where no face is found."""
        faces = [next(iter(self.tracker.find_faces(np.ascontiguousarray(frame))), None) for frame in frames]
        seen = [index for index, face in enumerate(faces) if face is not None]
        result = {name: np.full(len(frames), np.nan) for name in MEASURES}
        if seen:
            found = expression_measures(np.stack([face.landmarks for face in faces if face is not None]))
            for name in MEASURES:
                result[name][seen] = found[name]
        return result


def find_landmarker(data: Path) -> Path | None:
    """Return the path of the official landmarker, in the folder of ``SUPERFACE_MODELS`` or in the data's ``models``."""
    folders = [Path(os.environ[MODELS])] if os.environ.get(MODELS) else []
    return next((folder / FILE for folder in (*folders, data / "models") if (folder / FILE).is_file()), None)


@dataclass
class ExpressionChanges:
    """Changes against the source frame, of all clips: method -> measure -> pairs (true, rendered), (2, T) each."""

    pairs: dict[str, dict[str, list[np.ndarray]]] = field(
        default_factory=lambda: {method: {name: [] for name in MEASURES} for method in MOVING}
    )

    def add(self, clip: Reenactment, rendered: dict[str, np.ndarray], landmarker: Landmarker) -> None:
        """Add the changes of one clip; ``rendered`` are (T, side, side, 3) uint8 frames of its targets, by method."""
        true = landmarker.measures(np.concatenate([to_uint8(clip.source), clip.targets]))
        for method in MOVING:
            made = landmarker.measures(rendered[method])
            for name in MEASURES:
                changes = np.stack([true[name][1:], made[name]]) - true[name][0]
                self.pairs[method][name].append(changes[:, np.isfinite(changes).all(0)])

    def slopes(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return method -> measure -> "slope" and "correlation", over all clips' changes."""
        result: dict[str, dict[str, dict[str, float]]] = {}
        for method, measures in self.pairs.items():
            pooled = {name: np.concatenate(pairs, axis=1) for name, pairs in measures.items() if pairs}
            result[method] = {
                name: {"slope": slope(*changes), "correlation": correlation(*changes)}
                for name, changes in pooled.items()
            }
        return result
