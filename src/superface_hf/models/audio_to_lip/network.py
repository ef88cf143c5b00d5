"""The causal temporal convolution network. Tensors are (batch, time, channels): each convolution is one matrix product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .configuration_audio_to_lip import SuperFaceAudioToLipConfig


class CausalConv(nn.Module):
    """A dilated convolution over the current and past frames: (B, T, in) -> (B, T, out).

    The caller passes the frames before the first one, so that a sound in pieces gives the same result as the whole.
    """

    def __init__(self, in_size: int, out_size: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        self.past_frames = (kernel_size - 1) * dilation
        self.taps = nn.Linear(kernel_size * in_size, out_size)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve ``x`` (B, T, in) after ``past`` (B, past_frames, in), and also return the past of the frame after
        ``x``."""
        frames = x.shape[1]
        joined = torch.cat((past, x), dim=1)
        shifts = [joined[:, i * self.dilation : i * self.dilation + frames] for i in range(self.kernel_size)]
        return self.taps(torch.cat(shifts, dim=2)), joined[:, frames:]

    def rest(self, x: Tensor) -> Tensor:
        """Return the past after a constant input ``x`` (B, 1, in)."""
        return x.expand(-1, self.past_frames, -1)


class CausalBlock(nn.Module):
    """A gated residual block with normalisation per frame, because statistics over time could not be streamed."""

    def __init__(self, config: SuperFaceAudioToLipConfig, dilation: int) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm = nn.LayerNorm(size)
        self.conv = CausalConv(size, 2 * size, config.kernel_size, dilation)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(size, size)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        hidden, past = self.conv(self.norm(x), past)
        return x + self.out(self.dropout(nn.functional.glu(hidden, dim=2))), past


class LipNetwork(nn.Module):
    """Predicts mouth coefficients (B, T, mouth_size) from features (B, T, in); frame k depends on frames up to k."""

    def __init__(self, config: SuperFaceAudioToLipConfig, in_size: int) -> None:
        super().__init__()
        self.enter = CausalConv(in_size, config.hidden_size, config.kernel_size)
        self.blocks = nn.ModuleList(CausalBlock(config, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.mouth_size)

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Predict mouths and the next state. ``state`` comes from ``rest_state``, or from the call with the preceding
        frames."""
        x, past = self.enter(x, state[0])
        after = [past]
        for block, past in zip(self.blocks, state[1:], strict=True):
            x, past = block(x, past)
            after.append(past)
        return self.head(self.norm(x)), after

    def rest_state(self, rest: Tensor) -> list[Tensor]:
        """Return the state after a constant input of the one frame ``rest`` (B, 1, in), exactly.

        With a constant input, every layer's output is constant too, so one frame through the network gives all pasts.
        """
        state = [self.enter.rest(rest)]
        x, _ = self.enter(rest, state[0])
        for block in self.blocks:
            assert isinstance(block, CausalBlock)
            state.append(block.conv.rest(block.norm(x)))
            x, _ = block(x, state[-1])
        return state
