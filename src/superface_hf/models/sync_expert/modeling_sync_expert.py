"""The sync expert: embeds windows of sound and of mouth motion on one sphere, close to each other if they belong together.

It follows SyncNet (Chung and Zisserman 2016, "Out of time: automated lip sync in the wild"), but takes ``Motion.mouth``
coefficients instead of pixels. So it is small, and evaluates any driver. Its distances and confidences have another
scale: do not compare them with SyncNet's LSE-D and LSE-C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...errors import MotionError
from ...hub.model import HubMixin
from ..audio_to_lip.feature_extraction_audio_to_lip import SuperFaceAudioToLipFeatureExtractor
from ..time_blocks import TimeBlock, TimeConvolution
from .configuration_sync_expert import SuperFaceSyncExpertConfig

BLOCK_SECONDS = 20.0  # seconds embedded at once, so that long sounds need little memory


@dataclass
class SyncExpertOutput(ModelOutput):
    """The embeddings, of length 1; frame k is the window around ``k / config.frame_rate`` seconds.

    Attributes:
        audio: (B, T', embedding_size), None if there was no sound.
        mouth: (B, T'', embedding_size), None if there was no mouth.
    """

    audio: Tensor | None = None
    mouth: Tensor | None = None


class SyncResult(NamedTuple):
    """The result of comparing a mouth with a sound.

    Attributes:
        offset: frames by which the picture is late (below zero: the sound is late); 0 is in sync.
        distance: mean distance of sound and mouth at that offset, 0 (the same) to 2. LSE-D style; lower is better.
        confidence: the median of ``distances`` minus ``distance``. LSE-C style; near 0 where the mouth is unrelated to
            the sound, higher is better.
        distances: (2 max_shift + 1,) the mean distance if the picture were late by -max_shift .. max_shift frames.
    """

    offset: int
    distance: float
    confidence: float
    distances: np.ndarray


class Tower(nn.Module):
    """Embeds the window around each frame of (B, T, in) with length 1: (B, T, embedding_size)."""

    def __init__(self, config: SuperFaceSyncExpertConfig, in_size: int) -> None:
        super().__init__()
        self.enter = TimeConvolution(in_size, config.hidden_size, 1)
        self.blocks = nn.ModuleList(TimeBlock(config.hidden_size, d, config.dropout) for d in config.dilations)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.head(self.norm(x)), dim=-1)


class SuperFaceSyncExpertModel(HubMixin, PreTrainedModel):
    """Measures by how many frames a mouth is late against a sound, and how well the two fit."""

    config_class = SuperFaceSyncExpertConfig
    config: SuperFaceSyncExpertConfig
    main_input_name = "input_features"
    default_dtype = torch.float32

    def __init__(self, config: SuperFaceSyncExpertConfig) -> None:
        super().__init__(config)
        self.feature_extractor = SuperFaceAudioToLipFeatureExtractor.of(config)
        self.audio_tower = Tower(config, config.hops_per_frame * config.num_mel_bins)
        self.mouth_tower = Tower(config, config.mouth_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def forward(self, input_features: Tensor | None = None, mouth: Tensor | None = None) -> SyncExpertOutput:
        """Embed sound, mouths, or both (their lengths may differ); differentiable.

        Args:
            input_features: (B, T, num_mel_bins) of the feature extractor, a frame every ``hop_length`` samples.
            mouth: (B, T'', mouth_size) at ``config.frame_rate``.

        Returns:
            Embeddings; those of the sound have T' = ceil(T / hops_per_frame) frames.
        """
        output = SyncExpertOutput()
        if input_features is not None:
            output.audio = self.audio_tower(self._stacked(input_features.to(self.dtype)))
        if mouth is not None:
            output.mouth = self.mouth_tower(mouth.to(self.dtype))
        return output

    @torch.inference_mode()
    def offset(self, samples: np.ndarray, mouth: np.ndarray, fps: float, max_shift: int = 15) -> SyncResult:
        """Compare a sound with a mouth's motion at all shifts up to ``max_shift`` frames.

        Args:
            samples: (N,) float in [-1, 1] at ``config.sampling_rate``.
            mouth: (T, mouth_size) coefficients; frame k is shown ``k / fps`` seconds after the first sample is heard.
            fps: the frame rate of the mouth.
            max_shift: the largest shift, in frames of the mouth.

        Raises:
            MediaError: the samples are empty, not one-dimensional, not finite, or integers.
            MotionError: the mouth has another shape, is not finite, or sound and mouth share too little time for so large a
                shift.
        """
        mouth = np.asarray(mouth, np.float32)
        if mouth.ndim != 2 or mouth.shape[1] != self.config.mouth_size or not np.isfinite(mouth).all():
            raise MotionError(
                f"A mouth must be finite and of the shape (frames, {self.config.mouth_size}), not {mouth.shape}."
            )
        if not (np.isfinite(fps) and fps > 0 and max_shift >= 1):
            raise MotionError(f"offset needs fps above 0 and max_shift of at least 1, not {fps} and {max_shift}.")
        features = torch.from_numpy(self.feature_extractor(samples)["input_features"]).to(self.device, self.dtype)
        audio = self._embed(self.audio_tower, self._stacked(features))
        moving = torch.from_numpy(at_rate(mouth, fps, self.config.frame_rate))[None].to(self.device, self.dtype)
        seen = self._embed(self.mouth_tower, moving)
        reach = int(np.ceil(max_shift * self.config.frame_rate / fps))
        needed = 2 * reach + round(self.config.window_seconds * self.config.frame_rate)
        if min(len(audio), len(seen)) < needed:
            seconds = min(len(audio), len(seen)) / self.config.frame_rate
            raise MotionError(
                f"Sound and mouth share {seconds:.2f} s, but shifts of {max_shift} frames at {fps:g} fps need "
                f"{needed / self.config.frame_rate:.2f} s: use a longer clip or a smaller max_shift."
            )
        fine = shifted_distances(audio, seen, reach)
        shifts = np.arange(-max_shift, max_shift + 1)
        distances = np.interp(shifts / fps, np.arange(-reach, reach + 1) / self.config.frame_rate, fine)
        best = int(distances.argmin())
        confidence = float(np.median(distances) - distances[best])
        return SyncResult(int(shifts[best]), float(distances[best]), confidence, distances)

    def _stacked(self, features: Tensor) -> Tensor:
        """Stack the hops of each frame: (B, T, mels) -> (B, T', hops * mels), padded with silence."""
        hops = self.config.hops_per_frame
        rest = self.feature_extractor.padding_value
        features = F.pad(features, (0, 0, 0, -features.shape[1] % hops), value=rest)
        return features.reshape(len(features), features.shape[1] // hops, -1)

    def _embed(self, tower: Tower, frames: Tensor) -> Tensor:
        """Return the embeddings (T, E) of frames (1, T, in), computed block by block."""
        context = 1 + sum(self.config.dilations)
        block = round(BLOCK_SECONDS * self.config.frame_rate)
        parts = []
        for start in range(0, frames.shape[1], block):
            before = min(start, context)
            embedded = tower(frames[:, start - before : start + block + context])
            parts.append(embedded[0, before : before + block])
        return torch.cat(parts)


def at_rate(mouth: np.ndarray, fps: float, rate: float) -> np.ndarray:
    """Resample (T, M) from ``fps`` to ``rate``, (T', M), linearly; frame k is at ``k / rate`` seconds, and the last one
    is held."""
    frames = max(1, round(len(mouth) * rate / fps))
    position = np.minimum(np.arange(frames) * (fps / rate), len(mouth) - 1)
    before = position.astype(int)
    after = np.minimum(before + 1, len(mouth) - 1)
    share = (position - before)[:, None].astype(np.float32)
    return mouth[before] * (1 - share) + mouth[after] * share


def shifted_distances(audio: Tensor, mouth: Tensor, reach: int) -> np.ndarray:
    """Return the mean distance (2 reach + 1,) of embeddings (T, E) and (T', E), with the picture late by -reach ..
    reach windows.

    Every shift is computed over the same mouth frames; otherwise shifts would differ by the speech at the ends.
    """
    frames = min(len(audio), len(mouth))
    middle = mouth[reach : frames - reach]
    distances = [
        (audio[reach - shift : frames - reach - shift] - middle).norm(dim=-1).mean()
        for shift in range(-reach, reach + 1)
    ]
    return torch.stack(distances).double().cpu().numpy()


__all__ = ["SuperFaceSyncExpertModel", "SyncExpertOutput", "SyncResult", "at_rate", "shifted_distances"]
