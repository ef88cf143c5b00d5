"""Audio-to-lip as a graph: samples and a state in, mouths and the next state out; for whole sounds and for streams.

The log-mel spectrum is inside: a runtime with its own implementation would get a detail of it wrong. Its Fourier transform is
a convolution with fixed kernels, which every runtime has (ONNX's STFT few do), and which takes a thousandth of real time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SuperFaceError
from ..media import load_sound
from ..models.audio_to_lip import SuperFaceAudioToLipModel
from ..models.audio_to_lip.configuration_audio_to_lip import SuperFaceAudioToLipConfig
from ..models.audio_to_lip.feature_extraction_audio_to_lip import (
    FLOOR,
    OFFSET,
    SPREAD,
    _mel_filters,
    _transform_length,
    _window,
)
from ..utils.assets import SPEECH
from .graph import Arrays, Case, Graph, Tolerance

CHECKED_SECONDS = 2.0
PIECES = (1, 7, 3)  # frames in each call, repeated in this order
SOUNDS = 2  # in a batch


class LogMel(nn.Module):
    """Compute normalised log-mel frames (B, T, mels) of samples (B, N), one for each window that fits into them."""

    kernels: Tensor
    filters: Tensor

    def __init__(self, config: SuperFaceAudioToLipConfig) -> None:
        super().__init__()
        width, length = config.window_length, _transform_length(config.window_length)
        angles = 2 * np.pi / length * np.outer(np.arange(length // 2 + 1), np.arange(width))
        waves = np.concatenate((np.cos(angles), np.sin(angles))) * _window(width)
        mel = _mel_filters(config.num_mel_bins, config.sampling_rate, width, config.min_frequency, config.max_frequency)
        self.register_buffer("kernels", torch.from_numpy(waves.astype(np.float32))[:, None])
        self.register_buffer("filters", torch.from_numpy(mel))
        self.hop = config.hop_length

    def forward(self, samples: Tensor) -> Tensor:
        real, imaginary = F.conv1d(samples[:, None], self.kernels, stride=self.hop).chunk(2, dim=1)
        power = (real.square() + imaginary.square()).transpose(1, 2) @ self.filters
        return ((power + FLOOR).log() * (10 / math.log(10)) + OFFSET) / SPREAD


class AudioToLipGraph(nn.Module):
    """Maps samples to mouth motion: one step of a stream, of any length, or a whole sound.

    The state of all layers is one row of ``state`` (B, K), relative to the state after silence, so that a stream begins with
    zeros. Samples overlap from call to call by ``overlap``, as windows do.
    """

    def __init__(self, model: SuperFaceAudioToLipModel) -> None:
        super().__init__()
        self.log_mel = LogMel(model.config)
        self.network = model.network
        self.hops = model.config.hops_per_frame
        with torch.no_grad():
            self._rest = model.network.rest_state(model.rest_frame())
        self.state_size = sum(rest[0].numel() for rest in self._rest)

    def forward(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, n * samples_per_frame + overlap) and (B, K) to mouths (B, n, mouth_size) and the next state (B, K)."""
        features = self.log_mel(samples)
        features = features.reshape(features.shape[0], -1, self.hops * features.shape[2])
        parts = state.split([rest[0].numel() for rest in self._rest], dim=1)
        past = [part.reshape(-1, *rest.shape[1:]) + rest for part, rest in zip(parts, self._rest, strict=True)]
        mouth, after = self.network(features, past)
        changes = [(part - rest).flatten(1) for part, rest in zip(after, self._rest, strict=True)]
        return mouth, torch.cat(changes, dim=1)


def audio_to_lip_graph(model: SuperFaceAudioToLipModel) -> Graph:
    """Return the graph of an audio-to-lip model, with its checks and the description that is stored beside it.

    Raises:
        SuperFaceError: the model has a pretrained audio encoder, which is not exported.
    """
    config = model.config
    if model.audio_encoder is not None:
        raise SuperFaceError(
            f"This audio-to-lip model uses the audio encoder {config.audio_encoder}, which cannot be exported with it: "
            "export a model with log-mel features (audio_encoder=None), such as the embedded one."
        )
    module = AudioToLipGraph(model).eval()
    overlap = config.window_length - config.hop_length
    step = config.samples_per_frame
    return Graph(
        module=module,
        example=(torch.randn(SOUNDS, 3 * step + overlap) / 10, torch.zeros(SOUNDS, module.state_size)),
        inputs={"samples": {0: "batch", 1: "samples"}, "state": {0: "batch"}},
        outputs={"mouth": {0: "batch", 1: "frames"}, "next_state": {0: "batch"}},
        metadata={
            "sampling_rate": config.sampling_rate,
            "frame_rate": config.frame_rate,
            "samples_per_frame": step,
            "samples_overlap": overlap,
            "zeros_before": config.window_length // 2,
            "look_ahead_frames": config.look_ahead_frames,
            "mouth_size": config.mouth_size,
            "state_size": module.state_size,
            "usage": f"Begin with a state of zeros and {config.window_length // 2} zeros before the sound. Give n * {step} + "
            f"{overlap} samples for n frames, the first {overlap} of them the last ones of the call before. Drop the first "
            f"{config.look_ahead_frames} frames of a stream; then frame k is the mouth at k / {config.frame_rate:g} seconds. "
            f"At the end give zeros for {config.look_ahead_frames} frames more.",
            "mouth": "coefficients of Motion.mouth, in standard deviations",
        },
        cases=lambda: _cases(model, module.state_size),
        unit="standard deviations",
        peak=None,
        tolerances={"fp32": Tolerance(1e-3, 1e-4), "fp16": Tolerance(0.1, 0.01), "int8": Tolerance(1.0, 0.1)},
    )


@torch.inference_mode()
def _cases(model: SuperFaceAudioToLipModel, state_size: int) -> Iterator[Case]:
    """Yield test cases for a batch of two sounds (one is the other reversed): once in pieces, once whole."""
    config = model.config
    sound = load_sound(str(SPEECH)).mono(config.sampling_rate)[: round(CHECKED_SECONDS * config.sampling_rate)]
    sounds = np.stack((sound, sound[::-1]))
    expected = np.stack([model.stream(config.frame_rate).push(samples) for samples in sounds])
    frames = expected.shape[1] + config.look_ahead_frames
    for pieces in (PIECES, (frames,)):
        yield Case(_streamed(config, sounds, state_size, frames, pieces), expected)


def _streamed(
    config: SuperFaceAudioToLipConfig, sounds: np.ndarray, state_size: int, frames: int, pieces: tuple[int, ...]
) -> Callable[[Callable[[Arrays], Arrays]], np.ndarray]:
    """Return a function that runs a graph over sounds (B, N) in pieces, as ``usage`` describes, and returns mouths (B,
    frames - look_ahead_frames, mouth_size)."""
    step, overlap = config.samples_per_frame, config.window_length - config.hop_length
    padded = np.pad(sounds, ((0, 0), (config.window_length // 2, 0)))

    def run(graph: Callable[[Arrays], Arrays]) -> np.ndarray:
        state, mouths = np.zeros((len(sounds), state_size), np.float32), []
        sizes, done = itertools.cycle(pieces), 0
        while done < frames:
            count = min(next(sizes), frames - done)
            samples = padded[:, done * step : (done + count) * step + overlap]
            out = graph({"samples": samples, "state": state})
            state = out["next_state"]
            mouths.append(out["mouth"])
            done += count
        return np.concatenate(mouths, axis=1)[:, config.look_ahead_frames :]

    return run
