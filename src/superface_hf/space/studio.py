"""The models of the app: loaded once, in the background, and shared by all visitors."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SuperFaceError

if TYPE_CHECKING:
    from numpy import ndarray

    from ..animation.portrait import Portrait
    from ..pipelines.talking_face import TalkingFacePipeline


class Studio:
    """Holds the pipeline and the bundled student.

    Args:
        pipe: the pipeline; by default the embedded teacher's, on a GPU if there is one.
        student: the folder of the bundled student; by default the embedded one.
    """

    def __init__(self, pipe: TalkingFacePipeline | None = None, student: Path | None = None) -> None:
        self._pipe, self._student = pipe, student
        self._lock = threading.Lock()

    @property
    def ready(self) -> bool:
        return self._pipe is not None

    @property
    def pipe(self) -> TalkingFacePipeline:
        """The pipeline; the first access loads it."""
        with self._lock:
            if self._pipe is None:
                self._pipe = _load()
            return self._pipe

    def warm_up(self) -> None:
        """Load the models in the background, so that the page is up at once and the first visitor does not wait."""
        threading.Thread(target=lambda: self.pipe, name="superface-models", daemon=True).start()

    def student(self) -> Path:
        """Return the folder of the bundled student.

        Raises:
            SuperFaceError: this installation has none.
        """
        from ..hub import weights_folder

        try:
            return self._student or weights_folder("student")
        except SuperFaceError:
            raise SuperFaceError(
                "No student comes with this installation. Make one of your own, or name one of the Hugging Face Hub."
            ) from None

    def portrait(self, picture: ndarray) -> Portrait:
        """Find the face in a picture (H, W, 3) uint8.

        Raises:
            NoFaceError: the picture shows no face.
        """
        return self.pipe.preprocess(picture)


def _load() -> TalkingFacePipeline:
    from transformers import pipeline

    import superface_hf  # noqa: F401 - registers the task

    from ..hub import weights_folder
    from ..models.embedded import embedded_tracker
    from ..utils.device import choose_device

    device = choose_device()
    pipe: TalkingFacePipeline = pipeline(  # type: ignore[call-overload]
        "talking-face",
        model=str(weights_folder("teacher")),
        device=device,
        # Fast enough on a CPU, and pictures are also checked where no shared GPU is assigned.
        tracker=embedded_tracker("cpu"),
    )
    # Load these now: two visitors at once would load them twice.
    _ = pipe.face_model, pipe.audio_to_lip, pipe.speech_to_portrait, pipe.speech_to_motion
    return pipe
