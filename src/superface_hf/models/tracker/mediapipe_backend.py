"""Use the official MediaPipe face landmarker as a tracker (extra ``[mediapipe]``)."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import install_command
from .base import Face


class MediapipeTracker:
    """Runs ``face_landmarker.task``, which must be downloaded from Google: MediaPipe's wheel carries no models.

    Args:
        model_path: the ``.task`` file.
        max_faces: the most faces reported in one picture.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: mediapipe is not installed.
    """

    def __init__(self, model_path: str | Path, max_faces: int = 16) -> None:
        path = Path(model_path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no face landmarker at {path}: download face_landmarker.task from MediaPipe's model page"
            )
        try:
            import mediapipe  # noqa: F401
        except ImportError as error:
            raise ImportError(f"MediapipeTracker needs mediapipe: {install_command('mediapipe')}") from error
        self._path = path
        self._pictures = self._landmarker(max_faces, video=False)
        # At the interpreter's end, MediaPipe's own clean-up would fail with a traceback.
        weakref.finalize(self, self._pictures.close)

    def find_faces(self, image: np.ndarray) -> list[Face]:
        """Return the faces of an (H, W, 3) uint8 picture, largest first. The landmarker gives no score, so all scores
        are 1."""
        found = self._faces(self._pictures.detect(_mediapipe_image(image)), image)
        return sorted(found, key=lambda face: -face.area)

    def find_faces_batch(self, images: list[np.ndarray]) -> list[list[Face]]:
        """Return the result of ``find_faces`` for several pictures."""
        return [self.find_faces(image) for image in images]

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Face | None]:
        """Yield the face of every (H, W, 3) uint8 frame, None where it is not seen."""
        landmarker = self._landmarker(max_faces=1, video=True)
        try:
            # The landmarker needs increasing time stamps, and uses only their order.
            for index, frame in enumerate(frames):
                found = self._faces(landmarker.detect_for_video(_mediapipe_image(frame), index * 40), frame)
                yield found[0] if found else None
        finally:
            landmarker.close()

    def _landmarker(self, max_faces: int, video: bool) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._path)), running_mode=mode, num_faces=max_faces
        )
        return vision.FaceLandmarker.create_from_options(options)

    @staticmethod
    def _faces(result: Any, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        # Its z grows away from the camera and has the scale of x.
        return [
            Face.of(np.array([(p.x * width, p.y * height, -p.z * width) for p in points], np.float32), 1.0)
            for points in result.face_landmarks
        ]


def _mediapipe_image(image: np.ndarray) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
