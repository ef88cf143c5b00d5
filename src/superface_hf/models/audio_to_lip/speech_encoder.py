"""A pretrained speech model of transformers that hears raw waveforms, in place of the log-mel features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...errors import SuperFaceError
from .configuration_audio_to_lip import SuperFaceAudioToLipConfig

# These models attend over all they are given: long sound goes through them in blocks, with some context on either side.
BLOCK_SECONDS, CONTEXT_SECONDS = 20, 2


def build_encoder(config: SuperFaceAudioToLipConfig) -> PreTrainedModel:
    """The encoder a configuration names: with its pretrained weights if new, or empty for a checkpoint of ours to fill.

    Raises:
        SuperFaceError: it is no model that hears raw waveforms through convolutions.
        OSError: there is no such model (as transformers says it).
    """
    # Imported here, as importing the registry has it filled with this package's models, which import this file.
    from transformers import AutoConfig, AutoModel

    assert config.audio_encoder is not None
    if config.audio_encoder_config is None:
        encoder = AutoModel.from_pretrained(config.audio_encoder, dtype=torch.float32)
        _check_hears(config.audio_encoder, encoder.config)
    else:
        settings = AutoConfig.for_model(**config.audio_encoder_config)
        _check_hears(config.audio_encoder, settings)
        encoder = AutoModel.from_config(settings)
    if encoder.main_input_name != "input_values":
        raise _deaf(config.audio_encoder, type(encoder).__name__)
    return encoder


def _check_hears(name: str, config: Any) -> None:
    """By its configuration: a model of another kind is not even built."""
    if not all(hasattr(config, setting) for setting in ("conv_kernel", "conv_stride", "hidden_size")):
        raise _deaf(name, type(config).__name__.replace("Config", "Model"))


def _deaf(name: str, kind: str) -> SuperFaceError:
    return SuperFaceError(
        f"audio_encoder {name!r} is a {kind}, which does not hear raw waveforms: name a wav2vec2, HuBERT, WavLM or "
        "data2vec-audio model."
    )


def encode(encoder: PreTrainedModel, waveforms: Tensor, lengths: Tensor, samples_per_frame: int) -> Tensor:
    """Features (B, ceil(N / samples_per_frame), hidden) at the times ``k * samples_per_frame`` of waveforms (B, N).

    ``lengths`` (B,) are the sounds' samples; each waveform is brought to zero mean and unit variance over them, as these
    models expect. Frames behind a sound's end repeat its last one.
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
    """The features (n, hidden) of a whole sound (N,), block after block, whatever its length."""
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
    """Samples between two frames of the encoder's convolutions, and samples that one of them sees."""
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
    """(B, T, C) at fractional frames (B, K) -> (B, K, C)."""
    lower = positions.floor().long()
    upper = (lower + 1).clamp(max=hidden.shape[1] - 1)
    weight = (positions - lower).to(hidden.dtype)[..., None]
    rows = torch.arange(len(hidden), device=hidden.device)[:, None]
    return torch.lerp(hidden[rows, lower], hidden[rows, upper], weight)
