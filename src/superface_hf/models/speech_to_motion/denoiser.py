"""The motion diffusion's network: a transformer over the frames of a window that predicts the clean motion from a noisy one.

Its blocks are those of DiT (Peebles and Xie 2023): attention and a feed-forward layer, each scaled and shifted by time
and style. Two additions are for motion: attention has a bias for the distance of frames, and a depthwise mix of
neighbouring frames precedes each feed-forward layer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ..diffusers_model import DiffusersModel


class MotionDenoiser(DiffusersModel):
    """M_diff of HRTF: predicts the clean window (``prediction_type="sample"``).

    Args:
        motion_size: size of a frame's motion, see ``motion_vector``.
        condition_size: size of a frame's audio features, see ``conditioning``.
        style_size: size of a style code, see ``motion_statistics``.
        frames, known_frames: frames of a window that are generated, and known frames before it.
        fps: frames a second.
        hidden_size, num_layers, num_heads: size of the transformer.
        mix_taps: number of frames in the depthwise mix, odd.
    """

    @register_to_config
    def __init__(
        self,
        motion_size: int = 66,
        condition_size: int = 286,
        style_size: int = 8,
        frames: int = 75,
        known_frames: int = 12,
        fps: float = 25.0,
        hidden_size: int = 192,
        num_layers: int = 4,
        num_heads: int = 6,
        mix_taps: int = 5,
    ) -> None:
        super().__init__()
        length = frames + known_frames
        self.motion_in = nn.Linear(motion_size, hidden_size)
        self.condition_in = nn.Sequential(
            nn.Linear(condition_size, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size)
        )
        self.unheard = nn.Parameter(torch.zeros(hidden_size))
        self.start = nn.Parameter(torch.zeros(known_frames, motion_size))
        self.role = nn.Parameter(torch.zeros(3, hidden_size))  # of frames: generated, known, unknown before the start
        self.time = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))
        self.style = nn.Linear(style_size, hidden_size)
        self.unstyled = nn.Parameter(torch.zeros(hidden_size))
        self.distance = nn.Parameter(_initial_distances(num_heads, length))
        self.blocks = nn.ModuleList(MotionBlock(hidden_size, num_heads, mix_taps) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.modulation = nn.Linear(hidden_size, 2 * hidden_size)
        self.out = nn.Linear(hidden_size, motion_size)
        for layer in (self.modulation, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Tensor,
        known: Tensor | None = None,
        known_given: Tensor | None = None,
        heard: Tensor | None = None,
        style: Tensor | None = None,
        style_given: Tensor | None = None,
    ) -> Tensor:
        """Predict the clean window.

        Args:
            sample: (B, frames, motion_size) noisy, scaled.
            timestep: (B,) or () timesteps of the scheduler.
            condition: (B, known_frames + frames, condition_size).
            known: (B, known_frames, motion_size) clean, scaled motion before the window; None if there is none.
            known_given: (B,) bool, which rows of ``known`` are used; None: all.
            heard: (B,) bool, which rows use their condition; None: all.
            style: (B, style_size) scaled; None leaves the style open.
            style_given: (B,) bool, which rows of ``style`` are used; None: all.

        Returns:
            (B, frames, motion_size).
        """
        batch, before = len(sample), self.config.known_frames
        start = self.start.to(sample).expand(batch, -1, -1)
        given = _mask(known_given, batch, known is not None, sample.device)
        past = start if known is None else torch.where(given[:, None, None], known, start)
        x = self.motion_in(torch.cat([past, sample], dim=1))
        role = torch.where(given[:, None], self.role[1], self.role[2])[:, None].expand(-1, before, -1)
        role = torch.cat([role, self.role[0].expand(batch, sample.shape[1], -1)], dim=1)
        heard_mask = _mask(heard, batch, True, sample.device)
        x = x + role + torch.where(heard_mask[:, None, None], self.condition_in(condition), self.unheard)
        time = self.time(_sinusoid(timestep.expand(batch), x.shape[-1]).to(x.dtype))
        if style is None:
            time = time + self.unstyled
        else:
            styled = _mask(style_given, batch, True, sample.device)
            time = time + torch.where(styled[:, None], self.style(style), self.unstyled)
        time = F.silu(time)
        bias = self._bias(x.shape[1]).to(x.dtype)
        for block in self.blocks:
            x = block(x, time, bias)
        scale, shift = self.modulation(time)[:, None].chunk(2, dim=-1)
        return self.out(self.norm(x) * (1 + scale) + shift)[:, before:]

    def _bias(self, length: int) -> Tensor:
        """Return the attention bias (heads, length, length) for the distance of two frames."""
        place = torch.arange(length, device=self.distance.device)
        return self.distance[:, place[:, None] - place[None] + (self.distance.shape[1] - 1) // 2]


class MotionBlock(nn.Module):
    """Attention, a mix of neighbouring frames, and a feed-forward layer; all start at zero (AdaLN-Zero)."""

    def __init__(self, size: int, heads: int, taps: int) -> None:
        super().__init__()
        self.heads, self.taps = heads, taps
        self.norms = nn.ModuleList(nn.LayerNorm(size, elementwise_affine=False) for _ in range(2))
        self.qkv, self.project = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mix = nn.Parameter(torch.zeros(taps, size))
        self.feed = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(approximate="tanh"), nn.Linear(4 * size, size))
        self.modulation = nn.Linear(size, 6 * size)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, time: Tensor, bias: Tensor) -> Tensor:
        """Map (B, L, size), with (B, size) time and style and (heads, L, L) distances, to (B, L, size)."""
        one, two, three, four, five, six = self.modulation(time)[:, None].chunk(6, dim=-1)
        x = x + three * self._attend(self.norms[0](x) * (1 + one) + two, bias)
        hidden = self._mixed(self.norms[1](x) * (1 + four) + five)
        return x + six * self.feed(hidden)

    def _attend(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, length, size = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.project(seen.transpose(1, 2).reshape(batch, length, size))

    def _mixed(self, x: Tensor) -> Tensor:
        half, length = self.taps // 2, x.shape[1]
        padded = F.pad(x, (0, 0, half, half))
        mix = self.mix.to(x.dtype)
        return x + sum(padded[:, tap : tap + length] * mix[tap] for tap in range(self.taps))


def _initial_distances(heads: int, length: int) -> Tensor:
    """Return biases (heads, 2 * length - 1) that range from short to long distances over the heads, as in ALiBi (Press
    et al. 2022)."""
    apart = torch.arange(-(length - 1), length).abs().float()
    slopes = 2.0 ** (-torch.arange(1, heads + 1) * 8 / heads)
    return -slopes[:, None] * apart


def _sinusoid(timestep: Tensor, size: int) -> Tensor:
    """Embed timesteps (B,) as (B, size)."""
    frequency = torch.exp(-math.log(10000.0) * torch.arange(size // 2, device=timestep.device) / (size // 2))
    angle = timestep.float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def _mask(given: Tensor | None, batch: int, default: bool, device: Any) -> Tensor:
    return torch.full((batch,), default, device=device) if given is None else given
