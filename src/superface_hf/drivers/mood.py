"""Find the emotion of a text with any text classifier of the caller's choice. None comes with the package."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import SuperFaceError
from .text import load_pipeline

TextClassifier = str | Callable[[str], Any]
# What classifiers call the emotions that a face can show here. Other labels, such as neutral, sadness or fear, show nothing.
LABELS = {
    "happiness": {
        "happiness", "happy", "joy", "joyful", "amusement", "excitement", "love", "optimism", "gratitude", "admiration",
        "pride", "positive",
    },
    "anger": {"anger", "angry", "annoyance", "rage"},
    "surprise": {"surprise", "surprised", "astonishment"},
}  # fmt: skip
CERTAIN = 0.5  # a less likely emotion is not shown
NAMELESS = "label_"  # what transformers calls the labels of a model that does not name them
EXAMPLE = '"j-hartmann/emotion-english-distilroberta-base"'


def is_classifier(emotion: Any) -> bool:
    """Return whether an argument is a text classifier, and not an emotion: a function, a folder, or an id on the Hub."""
    if isinstance(emotion, str):
        return emotion not in LABELS and ("/" in emotion or os.sep in emotion or Path(emotion).is_dir())
    return callable(emotion)


def emotion_of_text(text: str, classifier: TextClassifier) -> dict[str, float]:
    """Return the strength of each emotion in a text: how likely it is, where that is at least ``CERTAIN``.

    Args:
        text: the text.
        classifier: a transformers "text-classification" pipeline, the Hub id or folder of a model for one, or any function that
            takes a text and gives dictionaries with ``label`` and ``score``.

    Raises:
        SuperFaceError: the classifier cannot be loaded, fails, or gives no emotions.
    """
    classify: Any = classifier
    if isinstance(classifier, str):
        classify = load_pipeline("text-classification", classifier, top_k=None)
    try:
        said = list(_labelled(classify(text)))
    except Exception as error:
        raise SuperFaceError(f"The text classifier failed on {text[:40]!r}: {error}") from error
    if not said or any(label.startswith(NAMELESS) for label, _ in said):
        raise SuperFaceError(
            f"The text classifier does not name emotions, but gives {said[:3]}: pass one that does, such as {EXAMPLE}."
        )
    likely = {name: sum(score for label, score in said if label in labels) for name, labels in LABELS.items()}
    return {name: min(score, 1.0) for name, score in likely.items() if score >= CERTAIN}


def _labelled(result: Any) -> Iterator[tuple[str, float]]:
    """Yield labels in lower case and their scores from a pipeline's result, of whatever depth."""
    if isinstance(result, dict):
        yield str(result["label"]).lower(), float(result["score"])
    else:
        for each in result:
            yield from _labelled(each)
