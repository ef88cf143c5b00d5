"""The source of labels: the tracker that comes with the package, or MediaPipe's official face landmarker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from ...errors import SuperFaceError, install_command
from ...models.tracker.base import Face
from ...models.tracker.detection import box_overlap

MAX_FACES = 4
SAME_FACE = 0.1  # overlap of the boxes of one face in neighbouring frames


class Label(NamedTuple):
    """A face, and its (52,) ARKit scores where the labeller gives them."""

    face: Face
    blendshapes: np.ndarray | None = None


class Labeller(Protocol):
    """Anything that labels pictures and videos, (H, W, 3) uint8."""

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Label | None]:
        """Yield the main face of every frame of a shot, None where it is not seen."""
        ...

    def find(self, image: np.ndarray) -> list[Label]:
        """Return the faces of a picture, largest first."""
        ...


@dataclass(frozen=True)
class LabelSource:
    """The choice of a labeller: ``tracker`` (the embedded one; on ``device``) or ``mediapipe`` (its ``landmarker`` file)."""

    kind: Literal["tracker", "mediapipe"] = "tracker"
    landmarker: Path | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.kind == "mediapipe" and (self.landmarker is None or not self.landmarker.is_file()):
            raise SuperFaceError(
                f"Labels from mediapipe need its model file, not {self.landmarker}: download face_landmarker.task from "
                "MediaPipe's model page, and pass it with --landmarker."
            )


@lru_cache(maxsize=1)
def load_labeller(source: LabelSource) -> Labeller:
    """Return the labeller, loaded once in each process.

    Raises:
        SuperFaceError: it cannot be loaded.
    """
    if source.kind == "mediapipe":
        assert source.landmarker is not None
        return Landmarker(source.landmarker)
    return TrackerLabels(source.device)


class TrackerLabels:
    """The embedded tracker: landmarks, no blendshapes."""

    def __init__(self, device: str = "cpu") -> None:
        from ...models.embedded import embedded_tracker

        self._tracker = embedded_tracker(device)

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Label | None]:
        for face in self._tracker.follow(frames):
            yield None if face is None else Label(face)

    def find(self, image: np.ndarray) -> list[Label]:
        return [Label(face) for face in self._tracker.find_faces(image)]


class Landmarker:
    """The official face landmarker (extra ``[mediapipe]``), each frame on its own, in this project's conventions."""

    def __init__(self, model_path: Path, max_faces: int = MAX_FACES) -> None:
        try:
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise SuperFaceError(f"Labels from mediapipe need the package: {install_command('mediapipe')}.") from error
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model_path)),
            output_face_blendshapes=True,
            num_faces=max_faces,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Label | None]:
        last: Face | None = None
        for frame in frames:
            label = _nearest(self.find(frame), last)
            last = label.face if label else last
            yield label

    def find(self, image: np.ndarray) -> list[Label]:
        import mediapipe as mp

        height, width = image.shape[:2]
        result: Any = self._landmarker.detect(
            mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        )
        labels = []
        for points, scores in zip(result.face_landmarks, result.face_blendshapes, strict=True):
            # The landmarker's z grows away from the camera and has the scale of x.
            landmarks = np.array([(p.x * width, p.y * height, -p.z * width) for p in points], np.float32)
            labels.append(Label(Face.of(landmarks, 1.0), np.array([s.score for s in scores], np.float32)))
        return sorted(labels, key=lambda label: -label.face.area)


def _nearest(labels: list[Label], last: Face | None) -> Label | None:
    """Choose the face that was followed before, by its place; the largest where none is near."""
    if not labels:
        return None
    if last is not None:
        box = last.box
        near = max(labels, key=lambda label: box_overlap(label.face.box, box))
        if box_overlap(near.face.box, box) > SAME_FACE:
            return near
    return labels[0]
