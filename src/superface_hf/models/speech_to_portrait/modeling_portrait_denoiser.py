"""The denoiser of portraits: closed-form for a Gaussian, with an optional learned residual; and SAW.

It follows the idea of SCFP in "See the Speaker" (arXiv 2510.26819): diffusion whose noise input is guided by a statistical face
prior, which a speech-adaptive weight (SAW) mixes with the mean face. The paper's equations were not available; these are ours.
The forward process runs on ``r = z - z_prior``, so that x_T is noise *around the prior*. FaceSpace's latents are
whitened around the prior, so the best denoiser of r that a few hundred people can train is the posterior mean of a
Gaussian.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ..diffusers_model import DiffusersModel
from ..face_space.prior import FEATURES, OLDEST, YOUNGEST

HEARD = 2  # the inputs of SAW: the logarithm of the seconds heard, and the clarity of the voice


class PortraitDenoiser(DiffusersModel):
    """Predicts x0 from (x_t, t): r's posterior mean under N(0, spread^2), per coordinate, plus a residual network where
    ``hidden_size`` > 0.

    Args:
        latent_size: D of the face space.
        hidden_size: width of the residual's three layers; 0 for none. Freshly initialised, the residual is exactly zero.
        age_reach: how much farther from the mean age people are than what is heard of it, which a regression draws to the mean:
            so much farther are portraits drawn.
    """

    spread: Tensor
    saw: Tensor
    mean_group: Tensor

    @register_to_config
    def __init__(self, latent_size: int = 192, hidden_size: int = 0, age_reach: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("spread", torch.ones(latent_size))
        self.register_buffer("saw", torch.zeros(HEARD + 1))
        self.register_buffer("mean_group", torch.tensor([0.5, 40.0]))  # presentation; age in years
        self.residual: nn.Sequential | None = None
        if hidden_size:
            self.residual = nn.Sequential(
                nn.Linear(latent_size + FEATURES + 2, hidden_size), nn.SiLU(),
                nn.Linear(hidden_size, hidden_size), nn.SiLU(),
                nn.Linear(hidden_size, latent_size),
            )  # fmt: skip
            last = self.residual[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, noisy: Tensor, kept: Tensor, features: Tensor) -> Tensor:
        """Predict r.

        Args:
            noisy: x_t (B, D) = sqrt(kept) r + sqrt(1 - kept) noise.
            kept: (B,) the cumulative product of the schedule's alphas at t.
            features: (B, 6) features of the group, see :class:`~superface_hf.models.face_space.prior.Group`.
        """
        share = kept[:, None]
        variance = self.spread.square()
        estimate = share.sqrt() * variance / (share * variance + 1 - share) * noisy
        if self.residual is None:
            return estimate
        # The residual is scaled by the noise: without noise, x_t is r itself.
        inputs = torch.cat([noisy, features, share.sqrt(), (1 - share).sqrt()], 1)
        return estimate + (1 - share).sqrt() * self.residual(inputs)

    def group(self, presentation: float, age: float, beta: float) -> tuple[float, float]:
        """Return presentation and age (18 to 90 years) of z_prior: the mean face's, moved by ``beta`` toward what was heard."""
        mean_presentation, mean_age = (float(value) for value in self.mean_group)
        moved = mean_age + beta * self.config.age_reach * (age - mean_age)
        return mean_presentation + beta * (presentation - mean_presentation), min(max(moved, YOUNGEST), OLDEST)

    def beta(self, seconds: float, certainty: float) -> float:
        """Return SAW's weight in [0, 1]: how far the prior moves from the mean face toward what was heard.

        Exactly 0 where no voice was heard. Fitted on held-out people's faces, see ``training.portraits.voices``.

        Args:
            seconds: the seconds of voice that were heard.
            certainty: the certainty of the hearing, 0 to 1.
        """
        if seconds <= 0 or certainty <= 0:
            return 0.0
        heard = torch.tensor([1.0, torch.log(torch.tensor(seconds)).item(), certainty])
        return float(torch.sigmoid((self.saw.float() * heard).sum())) * min(1.0, 2 * certainty)
