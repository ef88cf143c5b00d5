"""Hear what the lips do: pocketsphinx recognises the phones of a recording, and each has a viseme.

No words are recognised, so that any language may be spoken. The recogniser errs, less in visemes than in phones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ...errors import SuperFaceError, install_command
from ...media.samples import SPEECH_RATE
from .configuration_lip_reader import VISEMES

PHONE_RATE = 100  # of the recogniser's frames
SILENT = 1e-3  # root mean square, -60 dB: the recogniser finds phones in digital silence too
# CMU's phones that look alike. All else (silence, noise) is "rest".
PHONES = {
    "closed": "P B M",
    "labiodental": "F V",
    "dental": "TH DH T D N L S Z",
    "postalveolar": "SH ZH CH JH",
    "round": "UW UH OW OY W R ER",
    "spread": "IY IH EY Y",
    "open": "AA AE AH AO AW AY EH",
    "back": "K G NG HH",
}
VISEME_OF = {phone: name for name, phones in PHONES.items() for phone in phones.split()}


@dataclass(frozen=True)
class HeardViseme:
    """A viseme of the speech, from ``start`` to ``end`` in seconds; ``name`` is one of ``VISEMES``."""

    name: str
    start: float
    end: float


def heard_visemes(samples: np.ndarray) -> list[HeardViseme]:
    """Recognise the visemes of speech, in order, pauses included.

    Args:
        samples: (N,) float in [-1, 1], mono, 16 kHz.

    Raises:
        SuperFaceError: pocketsphinx is not installed.
    """
    decoder = _decoder()
    decoder.start_utt()
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    if len(pcm):
        decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
    decoder.end_utt()
    heard: list[HeardViseme] = []
    for part in decoder.seg() or ():
        start, end = part.start_frame / PHONE_RATE, (part.end_frame + 1) / PHONE_RATE
        piece = samples[round(start * SPEECH_RATE) : round(end * SPEECH_RATE)]
        silent = not len(piece) or float(np.sqrt(np.mean(np.square(piece, dtype=np.float64)))) < SILENT
        name = "rest" if silent else VISEME_OF.get(part.word, "rest")
        if heard and heard[-1].name == name:
            start = heard.pop().start
        heard.append(HeardViseme(name, start, end))
    return heard


def viseme_track(visemes: list[HeardViseme], frames: int, fps: float, offset: float = 0.0) -> np.ndarray:
    """Return the index in ``VISEMES`` of what is said in each frame, (frames,) int64.

    Args:
        offset: seconds by which the sound is late.
    """
    track = np.full(frames, VISEMES.index("rest"))
    times = (np.arange(frames) + 0.5) / fps + offset
    for viseme in visemes:
        track[(times >= viseme.start) & (times < viseme.end)] = VISEMES.index(viseme.name)
    return track


@cache
def _decoder() -> Any:
    try:
        from pocketsphinx import Decoder, get_model_path
    except ImportError as error:
        raise SuperFaceError(
            f"Visemes are heard with the package pocketsphinx: {install_command('lip-reading')}."
        ) from error
    return Decoder(
        hmm=get_model_path("en-us/en-us"), allphone=get_model_path("en-us/en-us-phone.lm.bin"),
        beam=1e-20, pbeam=1e-20, lw=2.0, samprate=float(SPEECH_RATE), loglevel="FATAL",
    )  # fmt: skip


__all__ = ["PHONES", "HeardViseme", "heard_visemes", "viseme_track"]
