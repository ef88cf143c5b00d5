"""Turn text into speech with any text-to-speech of the caller's choice. None comes with the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import SuperFaceError
from ..media import Sound, load_sound

TextToSpeech = str | Callable[[str], Any]
EXAMPLES = '"facebook/mms-tts-eng" (small) or "suno/bark-small" (more natural)'


def check_text(text: str, tts: TextToSpeech | None) -> None:
    """Check before a long computation that the text can be spoken."""
    if not isinstance(text, str) or not text.strip():
        raise SuperFaceError("The text to speak is empty.")
    if tts is None:
        raise SuperFaceError(
            f"To speak a text, pass tts= as well: a transformers text-to-speech pipeline, or a model such as {EXAMPLES}."
        )
    if not isinstance(tts, str) and not callable(tts):
        raise SuperFaceError(f"tts must be a text-to-speech pipeline or the name of a model, not {type(tts).__name__}.")


def text_to_sound(text: str, tts: TextToSpeech | None, device: Any = "cpu") -> Sound:
    """Speak a text.

    Args:
        text: the text to speak.
        tts: a transformers "text-to-speech" pipeline, the Hub id or folder of a model for one, or any function that takes a
            text and gives ``{"audio": ..., "sampling_rate": ...}`` or ``(samples, sampling rate)``.
        device: the device of a model that is named.

    Raises:
        SuperFaceError: the text is empty, there is no ``tts``, or it cannot be loaded or fails.
        MediaError: its result is no sound.
    """
    check_text(text, tts)
    assert tts is not None
    speak = load_pipeline("text-to-speech", tts, device) if isinstance(tts, str) else tts
    try:
        spoken = speak(text)
    except Exception as error:
        raise SuperFaceError(f"The text-to-speech failed on {text[:40]!r}: {error}") from error
    return load_sound(spoken[0] if isinstance(spoken, list) and len(spoken) == 1 else spoken)


def load_pipeline(task: str, name: str, device: Any = "cpu", **options: Any) -> Callable[[str], Any]:
    """Load a transformers pipeline that takes a text, by the Hub id or folder of its model.

    Raises:
        SuperFaceError: it cannot be loaded.
    """
    from transformers import pipeline

    try:
        return pipeline(task, model=name, device=device, **options)  # type: ignore[call-overload]
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise SuperFaceError(f"The {task} model {name} cannot be loaded: {error}") from error
