"""An utterance: chunks of speech in, and out what is heard and what the mouth does in each frame's time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from ..drivers.loudness import LoudnessNormalizer
from ..media.samples import MonoResampler

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel

FIRST = 0.06  # seconds of mouths that are known before an utterance begins: chunks may come that much late
PATIENCE = 0.3  # seconds after which speech that does not go on has ended
AHEAD = 1.0  # seconds that are heard ahead of what is shown
AT_ONCE = 0.1  # seconds that are heard at once: hearing all that is there would delay a picture
SHUTTING = 0.2  # seconds in which a mouth shuts after the last sound


class Utterance:
    """Speech from its first chunk to its end, frame by frame.

    Args:
        model: makes the mouth; one that streams.
        fps: frames a second.
        rate: of the sound that comes out, in samples a second.
        levelled: brings speech to one loudness; it continues from one utterance to the next.
    """

    def __init__(self, model: SuperFaceAudioToLipModel, fps: float, rate: int, levelled: LoudnessNormalizer) -> None:
        self._stream, self._levelled, self._fps, self._rate = model.stream(fps), levelled, fps, rate
        self._to_rate, self._to_model = Resampler(rate), Resampler(model.config.sampling_rate)
        self._waiting: list[tuple[np.ndarray, int]] = []
        self._sound = np.zeros(0, np.float32)
        self._mouths = np.zeros((0, model.config.mouth_size), np.float32)
        self._frame = 0
        self._begun = self._ending = self._flushed = False
        self._came = time.monotonic()

    def push(self, samples: np.ndarray, rate: int) -> None:
        """Add the next chunk, (n,) float32 at ``rate``."""
        self._waiting.append((samples, rate))
        self._came = time.monotonic()

    def end(self) -> None:
        """End the utterance: nothing follows."""
        self._ending = True

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return not self._ending

    @property
    def begun(self) -> bool:
        """Whether any of it has been given."""
        return self._begun

    def step(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the sound (n,) float32 and the mouth (M,) of the next frame; None where it is not known yet, or no more.

        The first frames are kept back until :data:`FIRST` seconds of them are known.
        """
        self._hear()
        if not (self._flushed or self._begun) and len(self._mouths) < FIRST * self._fps:
            return None
        if not len(self._mouths):
            return None
        self._begun = True
        size = round((self._frame + 1) * self._rate / self._fps) - round(self._frame * self._rate / self._fps)
        sound, self._sound = self._sound[:size], self._sound[size:]
        mouth, self._mouths = self._mouths[0], self._mouths[1:]
        self._frame += 1
        return np.pad(sound, (0, size - len(sound))), mouth

    @property
    def over(self) -> bool:
        """Whether all of it has been given."""
        return self._flushed and not len(self._mouths)

    def _hear(self) -> None:
        while self._waiting and len(self._mouths) < FIRST * self._fps:
            self._take(*self._waiting.pop(0))
        if self._waiting and len(self._mouths) < AHEAD * self._fps:
            self._take(*self._waiting.pop(0))
        if not self._waiting and time.monotonic() - self._came > PATIENCE:
            self._ending = True
        if self._ending and not self._waiting and not self._flushed:
            self._finish()

    def _take(self, samples: np.ndarray, rate: int) -> None:
        # Of a long chunk its beginning: the rest comes with the next frames.
        part = max(1, round(AT_ONCE * rate))
        if len(samples) > part:
            self._waiting.insert(0, (samples[part:], rate))
            samples = samples[:part]
        self._sound = np.concatenate([self._sound, self._to_rate.push(samples, rate)])
        self._heard(self._to_model.push(samples, rate))

    def _finish(self) -> None:
        self._flushed = True
        self._sound = np.concatenate([self._sound, self._to_rate.flush()])
        self._heard(self._to_model.flush())
        frames = round(len(self._sound) / self._rate * self._fps) + self._frame
        # Silence follows, which shuts the mouth.
        rest = self._stream.flush(max(1, frames) + round(SHUTTING * self._fps))
        self._mouths = np.concatenate([self._mouths, rest])

    def _heard(self, samples: np.ndarray) -> None:
        self._mouths = np.concatenate([self._mouths, self._stream.push(self._levelled.push(samples))])


class Resampler:
    """Bring mono sound to another rate as it comes, whatever rate each chunk has.

    Args:
        to: the rate wanted, in samples a second.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._now = MonoResampler(to, to)

    def push(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Take samples (N,) float32 at ``rate``, and return the samples that are ready."""
        ended = np.zeros(0, np.float32)
        if rate != self._now.rate:
            ended, self._now = self._now.flush(), MonoResampler(rate, self._to)
        return np.concatenate([ended, self._now.push(samples)])

    def flush(self) -> np.ndarray:
        """Return what is left."""
        return self._now.flush()
