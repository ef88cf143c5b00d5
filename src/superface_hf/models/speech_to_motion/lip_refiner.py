"""The lip refinement of HRTF: a gated residual on audio-to-lip's mouth, from the sound and the diffused face."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ..diffusers_model import DiffusersModel


class LipRefiner(DiffusersModel):
    """Computes mouth = audio-to-lip's + gate * residual(audio-to-lip's mouth, diffused mouth, log-mel around it).

    Args:
        mouth_size: coefficients of a mouth.
        condition_size: size of a frame's audio features, including the mouth (see ``conditioning``).
        context: frames before and after a frame that are used.
        hidden_size: width.
        gate: factor of the residual, chosen on held-out people; 0 keeps the mouth unchanged.
    """

    @register_to_config
    def __init__(
        self,
        mouth_size: int = 30,
        condition_size: int = 286,
        context: int = 8,
        hidden_size: int = 128,
        gate: float = 0.0,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(condition_size + mouth_size, hidden_size)
        half = context // 2
        self.near = nn.Conv1d(hidden_size, hidden_size, 2 * half + 1, padding=half)
        self.far = nn.Conv1d(hidden_size, hidden_size, 2 * (context - half) + 1, padding=context - half)
        self.out = nn.Linear(hidden_size, mouth_size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, condition: Tensor, diffused: Tensor) -> Tensor:
        """Return the scaled residual, before the gate, for (B, T, condition_size) as in the denoiser, and its scaled
        mouth (B, T, mouth_size)."""
        x = torch.nn.functional.silu(self.enter(torch.cat([condition, diffused], dim=-1))).transpose(1, 2)
        x = x + torch.nn.functional.silu(self.near(x))
        x = x + torch.nn.functional.silu(self.far(x))
        return self.out(x.transpose(1, 2))
