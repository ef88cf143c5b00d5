"""Predict mouth frames for a sound that comes in pieces; ``SuperFaceAudioToLipModel.predict`` uses the same code."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...motion.motion import check_fps
from .feature_extraction_audio_to_lip import LogMelStream

if TYPE_CHECKING:
    from .modeling_audio_to_lip import SuperFaceAudioToLipModel

REST_BLOCK = 500  # inner frames of silence processed at once after the end


class AudioToLipStream:
    """Takes sound in pieces and returns mouth frames as early as possible. From ``SuperFaceAudioToLipModel.stream``.

    Attributes:
        latency: seconds of sound after a frame's time that are needed before the frame is returned.
        heard: (n, mels) the log-mel rows that the last ``push`` or ``flush`` made of its sound.
    """

    def __init__(self, model: SuperFaceAudioToLipModel, fps: float) -> None:
        self._track = MouthTrack(model, fps)
        self._sound: LogMelStream = model.feature_extractor.stream()
        self._hops = model.config.hops_per_frame
        self._rate, self._fps = model.config.sampling_rate, fps
        self._features = np.empty((0, model.config.num_mel_bins), np.float32)
        self.heard = self._features
        self._rest = model.rest_value
        config = model.config
        on_grid = (config.frame_rate / fps).is_integer()
        self.latency: float = config.look_ahead / 1000 - (1 / config.frame_rate if on_grid else 0)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add the next samples, (N,) float in [-1, 1] at the model's rate, N may be 0.

        Returns:
            (n, mouth_size) float32: the frames that are now known; frame k of the stream is the mouth at ``k / fps``.

        Raises:
            MediaError: the samples are not one-dimensional, not finite, or integers.
            SuperFaceError: the stream has been flushed.
        """
        self.heard = self._sound.push(samples)
        self._features = np.concatenate((self._features, self.heard))
        usable = len(self._features) // self._hops * self._hops
        ready, self._features = self._features[:usable], self._features[usable:]
        return self._track.feed(self._stacked(ready), self._frames_until_now)

    def flush(self, frames: int | None = None) -> np.ndarray:
        """End the sound, which silence follows, and return the remaining frames (n, mouth_size) float32.

        Args:
            frames: the number of frames of the whole stream, including those from ``push``; by default as many as the sound
                lasts, at least one. Frames beyond the sound are those of silence. A stream without any sound has no frames.

        Raises:
            SuperFaceError: the stream has been flushed already.
        """
        self.heard = self._sound.flush()
        ending = np.concatenate((self._features, self.heard))
        if frames is None:
            frames = self.frames
        filled = np.pad(ending, ((0, -len(ending) % self._hops), (0, 0)), constant_values=self._rest)
        known = self._track.feed(self._stacked(filled), frames)
        return np.concatenate((known, self._track.finish(frames)))

    @property
    def frames(self) -> int:
        """How many frames the sound so far lasts, at least one of any sound."""
        return max(1, self._frames_until_now) if self._sound.samples else 0

    @property
    def _frames_until_now(self) -> int:
        return round(self._sound.samples / self._rate * self._fps)

    def _stacked(self, features: np.ndarray) -> Tensor:
        return torch.from_numpy(features).reshape(len(features) // self._hops, self._hops * features.shape[1])


class MouthTrack:
    """Runs the network over inner frames as they come, and resamples the mouth to ``fps``.

    Raises:
        MotionError: ``fps`` is not above zero.
    """

    def __init__(self, model: SuperFaceAudioToLipModel, fps: float) -> None:
        check_fps(fps)
        self._network = model.network
        self._device, self._dtype = model.device, model.dtype
        self._step = model.config.frame_rate / fps  # inner frames from one frame to the next
        self._undecided = model.config.look_ahead_frames  # outputs that belong to times before the sound
        with torch.inference_mode():
            self._rest = model.rest_frame()
            self._state = model.network.rest_state(self._rest)
        self._mouth = np.empty((0, model.config.mouth_size), np.float32)  # inner frames from self._first on
        self._first = 0
        self._done = 0

    def feed(self, features: Tensor, limit: int) -> np.ndarray:
        """Add inner frames (n, in) of features, and return the frames that are now known, up to frame ``limit``."""
        if len(features):
            self._run(features[None].to(self._device, self._dtype))
        return self._read(limit)

    def finish(self, frames: int) -> np.ndarray:
        """Return the remaining frames up to ``frames``, from silence."""
        parts = [self._mouth[:0]]
        while self._done < frames:
            wanted = math.ceil(self._position(frames - 1)) + 1 - self._first - len(self._mouth) + self._undecided
            self._run(self._rest.expand(-1, min(wanted, REST_BLOCK), -1))
            parts.append(self._read(frames))
        return np.concatenate(parts)

    @torch.inference_mode()
    def _run(self, features: Tensor) -> None:
        mouth, self._state = self._network(features, self._state)
        skipped = min(self._undecided, mouth.shape[1])
        self._undecided -= skipped
        self._mouth = np.concatenate((self._mouth, mouth[0, skipped:].float().cpu().numpy()))

    def _read(self, limit: int) -> np.ndarray:
        """Return the frames that are known: frames between two inner frames are interpolated, so the later one must be
        known."""
        known = self._first + len(self._mouth)
        positions = self._position(np.arange(self._done, max(self._done, min(limit, math.ceil(known / self._step)))))
        positions = positions[np.ceil(positions) < known]
        lower = np.floor(positions).astype(np.int64)
        weight = (positions - lower)[:, None].astype(np.float32)
        lower -= self._first
        upper = lower + (weight[:, 0] > 0)
        frames = (1 - weight) * self._mouth[lower] + weight * self._mouth[upper]
        self._done += len(frames)
        passed = min(max(0, math.floor(self._position(self._done)) - self._first), len(self._mouth))
        self._mouth, self._first = self._mouth[passed:], self._first + passed
        return frames

    def _position(self, frame: int | np.ndarray) -> np.ndarray:
        """Return positions in inner frames, rounded so that 2.9999999 and 3.0000001 both mean frame 3."""
        return np.round(np.asarray(frame * self._step, np.float64), 6)
