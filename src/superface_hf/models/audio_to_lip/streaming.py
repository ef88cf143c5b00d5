"""Predict mouth frames for a sound that comes in pieces; ``SuperFaceAudioToLipModel.predict`` uses the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...motion.reading import TrackReader
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
        config = model.config
        # The first outputs belong to times before the sound.
        self._track = TrackReader(config.frame_rate, fps, config.mouth_size, config.look_ahead_frames)
        self._network = model.network
        self._device, self._dtype = model.device, model.dtype
        with torch.inference_mode():
            self._rest = model.rest_frame()
            self._state = model.network.rest_state(self._rest)

    def feed(self, features: Tensor, limit: int) -> np.ndarray:
        """Add inner frames (n, in) of features, and return the frames that are now known, up to frame ``limit``."""
        if len(features):
            self._run(features[None].to(self._device, self._dtype))
        return self._track.read(limit)

    def finish(self, frames: int) -> np.ndarray:
        """Return the frames missing to ``frames``, from silence."""
        parts = [self._track.read(0)]
        while self._track.done < frames:
            self._run(self._rest.expand(-1, min(self._track.missing(frames), REST_BLOCK), -1))
            parts.append(self._track.read(frames))
        return np.concatenate(parts)

    @torch.inference_mode()
    def _run(self, features: Tensor) -> None:
        mouth, self._state = self._network(features, self._state)
        self._track.add(mouth[0].float().cpu().numpy())
