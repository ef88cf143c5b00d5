"""The models: each loaded once, when the page is up, and shared by all visitors."""

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
    """The last few values by key; threads may share it."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._values: OrderedDict[Any, ValueT] = OrderedDict()
        self._making: dict[Any, threading.Lock] = {}

    def get(self, key: Any, make: Callable[[], ValueT]) -> ValueT:
        """Who asks for what another thread is making waits for it."""
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
                    while len(self._values) > self._most:
                        self._values.popitem(last=False)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def __len__(self) -> int:
        return len(self._values)


class Studio:
    """Holds the pipeline.

    Args:
        pipe: an own one; by default the embedded teacher, on a GPU if there is one.
        student: the folder of the student that comes with the app; by default the embedded one.
    """

    def __init__(self, pipe: TalkingFacePipeline | None = None, student: Path | None = None) -> None:
        self._pipe, self._student = pipe, student
        self._lock = threading.Lock()

    @property
    def ready(self) -> bool:
        return self._pipe is not None

    @property
    def pipe(self) -> TalkingFacePipeline:
        """Waits until it is loaded."""
        with self._lock:
            if self._pipe is None:
                self._pipe = _load()
            return self._pipe

    def warm_up(self) -> None:
        """Loads in the background, so that the page is up at once and the first visitor does not wait."""
        threading.Thread(target=lambda: self.pipe, name="superface-models", daemon=True).start()

    def student(self) -> Path:
        """
        Raises:
            SuperFaceError: none comes with this installation.
        """
        from ..hub import weights_folder

        try:
            return self._student or weights_folder("student")
        except SuperFaceError:
            raise SuperFaceError(
                "No student comes with this installation. Make one of your own, or name one of the Hugging Face Hub."
            ) from None

    def portrait(self, picture: ndarray) -> Portrait:
        """Finds the face.

        Raises:
            NoFaceError: there is none.
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
        # Quick enough on a CPU, and it looks at pictures where a shared GPU is not at hand.
        tracker=embedded_tracker("cpu"),
    )
    # These load when they are first used; two visitors at once would load them twice.
    _ = pipe.face_model, pipe.audio_to_lip, pipe.speech_to_portrait, pipe.speech_to_motion
    return pipe


def key_of(picture: ndarray) -> str:
    """Equal for equal pictures, whoever brings them."""
    return sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()
