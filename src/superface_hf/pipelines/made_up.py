"""Make up the portrait of a call without a picture, so that it suits the voice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.utils import logging

from ..errors import UnknownNameError
from ..media import SPEECH_RATE, Sound, mono_blocks
from ..provenance.marks import DISCLAIMER

if TYPE_CHECKING:
    from .speech_to_portrait import PortraitHearing, SpeechToPortraitPipeline

logger = logging.get_logger(__name__)

SETTINGS = ("presentation", "age", "tone", "beta", "temperature", "size", "num_inference_steps", "restore", "fidelity")
LIVE_SECONDS = 3.0  # the seconds of a stream that are heard before its face is drawn


@dataclass(frozen=True, eq=False)
class MadeUpPortrait:
    """A made-up portrait, which shows no real person.

    Attributes:
        picture: (H, W, 3) uint8.
        hearing: what was heard, and what was drawn for it.
    """

    picture: np.ndarray
    hearing: PortraitHearing


def check_portrait(portrait: Mapping[str, Any] | bool | None) -> None:
    """Check the names of the settings in ``portrait``.

    Raises:
        UnknownNameError: a setting that does not exist.
    """
    for name in portrait if isinstance(portrait, Mapping) else ():
        if name not in SETTINGS:
            raise UnknownNameError(f"portrait has no setting {name!r}: there are {', '.join(SETTINGS)}.")


def make_up(
    pipe: SpeechToPortraitPipeline,
    audio: Any,
    sampling_rate: float | None,
    portrait: Mapping[str, Any] | bool | None,
    seed: int | None,
) -> MadeUpPortrait:
    """Draw a portrait for a voice, and warn once that it is made up.

    Args:
        pipe: draws the portrait.
        audio, sampling_rate: the voice.
        portrait: values to use instead of the voice's: arguments of :class:`SpeechToPortraitPipeline` by name.
        seed: the seed of the drawing, 0 by default.

    Raises:
        MediaError: the sound cannot be read.
        SuperFaceError: a number is out of its range.
    """
    settings = dict(portrait) if isinstance(portrait, Mapping) else {}
    generator = torch.Generator().manual_seed(seed or 0)
    drawn = pipe(audio, sampling_rate=sampling_rate, generator=generator, output_type="np", **settings)
    logger.warning_once(DISCLAIMER)
    return MadeUpPortrait(drawn.images[0], drawn.hearing)


def first_seconds(chunks: Iterable[Any], rate: float) -> tuple[Sound, Iterator[Any]]:
    """Return the first seconds of a sound that comes in chunks, and an iterator over all of its chunks."""
    taken: list[Any] = []

    def noted() -> Iterator[Any]:
        for chunk in rest:
            taken.append(chunk)
            yield chunk

    rest, heard, samples = iter(chunks), [], 0
    for block in mono_blocks(noted(), rate):
        heard.append(block)
        samples += len(block)
        if samples >= LIVE_SECONDS * SPEECH_RATE:
            break
    start = np.concatenate(heard) if heard else np.zeros(0, np.float32)
    return Sound(start, SPEECH_RATE), chain(taken, rest)
