"""The models of the app: loaded once, in the background, and shared by all visitors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import SuperFaceError

if TYPE_CHECKING:
    from numpy import ndarray

    from ..animation.portrait import Portrait
    from ..pipelines.talking_face import TalkingFacePipeline

ValueT = TypeVar("ValueT")


class Remembered(Generic[ValueT]):
    """A cache of the most recently used values by key; threads may share it."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._lock = capacity, threading.Lock()
        self._values: OrderedDict[Any, ValueT] = OrderedDict()
        self._making: dict[Any, threading.Lock] = {}

    def get(self, key: Any, make: Callable[[], ValueT]) -> ValueT:
        """Return the value of a key, made by ``make`` if it is not cached. Other threads that ask for the same key wait."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = make()
                with self._lock:
                    self._values[key] = value
                    while len(self._values) > self._capacity:
                        self._values.popitem(last=False)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def __len__(self) -> int:
        return len(self._values)


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
    _ = pipe.face_model, pipe.audio_to_lip
    return pipe


def key_of(picture: ndarray) -> str:
    """Return a hash of a picture's size and pixels."""
    return sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()
