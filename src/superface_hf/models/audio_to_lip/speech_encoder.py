"""Use a pretrained speech model of transformers that takes raw waveforms, instead of log-mel features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...errors import SuperFaceError
from .configuration_audio_to_lip import SuperFaceAudioToLipConfig

# These models attend over their whole input, so long sound is processed in blocks, with context on either side.
BLOCK_SECONDS, CONTEXT_SECONDS = 20, 2


def build_encoder(config: SuperFaceAudioToLipConfig) -> PreTrainedModel:
    """Build the encoder that a configuration names: a new one with its pretrained weights, or an empty one for a
    checkpoint to fill.

    Raises:
        SuperFaceError: it is no model that processes raw waveforms by convolutions.
        OSError: there is no such model (from transformers).
    """
    # Imported here, because importing the registry registers this package's models, which import this file.
    from transformers import AutoConfig, AutoModel

    assert config.audio_encoder is not None
    if config.audio_encoder_config is None:
        encoder = AutoModel.from_pretrained(config.audio_encoder, dtype=torch.float32)
        _check_takes_waveforms(config.audio_encoder, encoder.config)
    else:
        settings = AutoConfig.for_model(**config.audio_encoder_config)
        _check_takes_waveforms(config.audio_encoder, settings)
        encoder = AutoModel.from_config(settings)
    if encoder.main_input_name != "input_values":
        raise _deaf(config.audio_encoder, type(encoder).__name__)
    return encoder


def _check_takes_waveforms(name: str, config: Any) -> None:
    """Check by its configuration that a model takes waveforms, before it is built."""
    if not all(hasattr(config, setting) for setting in ("conv_kernel", "conv_stride", "hidden_size")):
        raise _deaf(name, type(config).__name__.replace("Config", "Model"))


def _deaf(name: str, kind: str) -> SuperFaceError:
    return SuperFaceError(
        f"audio_encoder {name!r} is a {kind}, which does not hear raw waveforms: name a wav2vec2, HuBERT, WavLM or "
        "data2vec-audio model."
    )


def encode(encoder: PreTrainedModel, waveforms: Tensor, lengths: Tensor, samples_per_frame: int) -> Tensor:
    """Return features (B, ceil(N / samples_per_frame), hidden) of waveforms (B, N) at the times ``k * samples_per_frame``.

    ``lengths`` (B,) are the sounds' numbers of samples; each waveform is normalised to zero mean and unit variance over
    them, as these models expect. Frames after a sound's end repeat its last one.
    """
    frames = -(-waveforms.shape[1] // samples_per_frame)
    stride, field = _geometry(encoder.config)
    inside = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    waveforms = _normalized(waveforms, inside)
    missing = max(0, field - waveforms.shape[1])  # a sound too short for one frame of the encoder
    waveforms, inside = (nn.functional.pad(x, (0, missing)) for x in (waveforms, inside))
    # Models with a group norm at their entry were trained without a mask (see transformers' documentation of wav2vec2).
    masked = getattr(encoder.config, "feat_extract_norm", "layer") == "layer" and missing == 0
    hidden = encoder(waveforms, attention_mask=inside.long() if masked else None).last_hidden_state
    last = ((lengths - field).clamp(min=0) // stride).clamp(max=hidden.shape[1] - 1)
    times = torch.arange(frames, device=hidden.device) * samples_per_frame - (field - 1) / 2
    return _interpolate(hidden, torch.minimum((times / stride).clamp(min=0)[None], last[:, None]))


def encode_blocks(encoder: PreTrainedModel, samples: np.ndarray, config: SuperFaceAudioToLipConfig) -> Iterator[Tensor]:
    """Yield the features (n, hidden) of a whole sound (N,), block by block; the sound may have any length."""
    step = config.samples_per_frame
    per_block, context = (int(seconds * config.frame_rate) for seconds in (BLOCK_SECONDS, CONTEXT_SECONDS))
    frames = -(-len(samples) // step)
    for first in range(0, frames, per_block):
        before = min(first, context)
        window = samples[(first - before) * step : (first + per_block + context) * step]
        waveform = torch.from_numpy(window)[None].to(encoder.device, encoder.dtype)
        lengths = torch.tensor([len(window)], device=encoder.device)
        yield encode(encoder, waveform, lengths, step)[0, before : before + per_block]


def _geometry(config: Any) -> tuple[int, int]:
    """Return the samples between two frames of the encoder's convolutions, and the samples in the receptive field of one."""
    stride, field = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return stride, field


def _normalized(waveforms: Tensor, inside: Tensor) -> Tensor:
    count = inside.sum(1, keepdim=True).clamp(min=1)
    sound = torch.where(inside, waveforms, 0).float()
    centred = torch.where(inside, sound - sound.sum(1, keepdim=True) / count, 0)
    deviation = (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
    return (centred / deviation).to(waveforms.dtype)


def _interpolate(hidden: Tensor, positions: Tensor) -> Tensor:
    """Interpolate features (B, T, C) linearly at fractional frames (B, K): (B, K, C)."""
    lower = positions.floor().long()
    upper = (lower + 1).clamp(max=hidden.shape[1] - 1)
    weight = (positions - lower).to(hidden.dtype)[..., None]
    rows = torch.arange(len(hidden), device=hidden.device)[:, None]
    return torch.lerp(hidden[rows, lower], hidden[rows, upper], weight)
