"""Sound in, mouths out: audio-to-lip's graph, as ``SuperFaceAudioToLipModel.stream`` does it with torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ..motion.reading import TrackReader
from .folder import Graph


class GraphAudioToLip:
    """Audio-to-lip as a graph; ``about`` is what the graph says about itself."""

    def __init__(self, graph: Graph, about: dict[str, Any]) -> None:
        self.graph, self.about = graph, about
        self.config = SimpleNamespace(sampling_rate=int(about["sampling_rate"]))

    def stream(self, fps: float) -> MouthStream:
        """Start a stream of mouth frames, for sound that is still coming.

        Raises:
            MotionError: ``fps`` is not above zero.
        """
        return MouthStream(self, fps)


class MouthStream:
    """Samples in, mouth frames out, as early as they are known."""

    def __init__(self, model: GraphAudioToLip, fps: float) -> None:
        about, self._graph = model.about, model.graph
        self._step, self._overlap = about["samples_per_frame"], about["samples_overlap"]
        self._track = TrackReader(about["frame_rate"], fps, about["mouth_size"], about["look_ahead_frames"])
        self._pending = np.zeros(about["zeros_before"], np.float32)
        self._state = np.zeros((1, about["state_size"]), np.float32)
        self._samples, self._frames_per_sample = 0, fps / about["sampling_rate"]

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add the next samples (N,), and return the frames that are now known, (n, mouth_size) float32."""
        self._samples += len(samples)
        self._hear(samples)
        return self._track.read(round(self._samples * self._frames_per_sample))

    def flush(self) -> np.ndarray:
        """Ends the sound, silence follows -> the frames still missing, (n, mouth_size); at least one, if there was sound."""
        frames = max(1, round(self._samples * self._frames_per_sample)) if self._samples else 0
        parts = [self._track.read(0)]
        while self._track.done < frames:
            self._hear(np.zeros(self._track.missing(frames) * self._step, np.float32))
            parts.append(self._track.read(frames))
        return np.concatenate(parts)

    def _hear(self, samples: np.ndarray) -> None:
        self._pending = np.concatenate((self._pending, samples))
        size = (len(self._pending) - self._overlap) // self._step * self._step
        if size > 0:
            heard = self._graph(samples=self._pending[None, : size + self._overlap], state=self._state)
            self._state, self._pending = heard["next_state"], self._pending[size:]
            self._track.add(heard["mouth"][0])
