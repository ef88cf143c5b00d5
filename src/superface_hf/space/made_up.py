"""Made-up faces for a visitor's voice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SuperFaceError
from ..hub import WEIGHTS
from ..media import Sound
from ..utils.remembered import Remembered, key_of
from .studio import Studio

if TYPE_CHECKING:
    from ..models.voice_encoder.modeling_voice_encoder import Hearing
    from ..pipelines.speech_to_portrait import PortraitHearing

FACES = 4  # drawn of each voice
SEEDS = 9999  # the largest number a visitor may start from
AGES = (18, 90)
KEPT_HEARINGS = 64
NO_EMOTION = "none"
SURE = ((0.9, "clearly "), (0.65, "rather "), (0.0, ""))  # how certain a presentation is, in words


def emotions() -> tuple[str, ...]:
    """Return the emotions that the embedded motion diffusion knows, without loading it."""
    config = WEIGHTS / "speech_to_motion" / "statistics" / "config.json"
    return tuple(json.loads(config.read_text())["emotions"])


@dataclass(frozen=True)
class FaceChoice:
    """What faces should look like; None leaves it to the voice, or to the seed.

    Attributes:
        presentation: 0 feminine to 1 masculine.
        age: years, 18 to 90.
        tone: of the skin, 0 the lightest to 1 the darkest; None draws it.
        beta: how far the face follows what was heard, 0 to 1; None is as far as the voice is clear.
        temperature: how different from the average faces are, 0 to 1.5.
        seed: of the first face; the others follow it.
    """

    presentation: float | None = None
    age: float | None = None
    tone: float | None = None
    beta: float | None = None
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= SEEDS:
            raise SuperFaceError(f"The number of the faces must be from 0 to {SEEDS}, not {self.seed}.")


class FaceDrawer:
    """Draws faces.

    Args:
        studio: whose pipelines do it.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._heard: Remembered[Hearing] = Remembered(KEPT_HEARINGS)

    def draw(self, sound: Sound, choice: FaceChoice, number: int) -> tuple[np.ndarray, PortraitHearing]:
        """Return one of the faces, (512, 512, 3) uint8, and what it was drawn for.

        The same as ``pipeline("talking-face")(audio=..., seed=choice.seed + number, portrait=...)`` makes up.

        Args:
            number: 0 to ``FACES - 1``.

        Raises:
            UnknownNameError, SuperFaceError: a choice out of its range.
        """
        import torch

        pipe = self._studio.pipe.speech_to_portrait
        heard = self._heard.get((sound.rate, key_of(sound.samples)), lambda: pipe.hear(sound))
        drawn = pipe(
            heard, presentation=choice.presentation, age=choice.age, tone=choice.tone, beta=choice.beta,
            temperature=choice.temperature, generator=torch.Generator().manual_seed(choice.seed + number),
            output_type="np",
        )  # fmt: skip
        return drawn.images[0], drawn.hearing


def in_words(heard: PortraitHearing) -> str:
    """Return a sentence about what was heard in the voice, which claims no more than that."""
    from ..pipelines.speech_to_portrait import UNCLEAR

    if heard.voice < UNCLEAR:
        return "No clear voice was heard: the faces are drawn around the average one."
    masculine = heard.presentation
    sure = max(masculine, 1 - masculine)
    how = next(word for limit, word in SURE if sure >= limit)
    kind = ("masculine" if masculine > 0.5 else "feminine") if how else "neither feminine nor masculine for certain"
    return (
        f"{heard.seconds:.1f} seconds of voice were heard. It sounds {how}{kind}, and about {heard.age:.0f} years old, "
        f"which is a rough guess. The faces follow it to {round(100 * heard.beta)}%."
    )


def as_settings(heard: PortraitHearing, choice: FaceChoice) -> dict[str, Any]:
    """Return the settings that are shown beside a result."""
    assert heard.drawn is not None
    return {
        "drawn": {name: round(float(getattr(heard.drawn, name)), 3) for name in ("presentation", "age", "tone")},
        "heard": {"presentation": round(heard.presentation, 3), "age": round(heard.age, 1)},
        "beta": round(heard.beta, 3), "temperature": choice.temperature, "seed": heard.seed,
        "disclaimer": heard.disclaimer,
    }  # fmt: skip
