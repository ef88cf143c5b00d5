"""FaceSpace: encode portraits as a few numbers and decode them; linear, so that a few hundred people suffice to fit it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from ...face_model.linear import FaceModel
from ...utils.easing import smoothstep
from ..diffusers_model import DiffusersModel
from .canonical import SIZE, Upright, laid_on, mean_landmarks, off_canvas, on_canvas
from .prior import Group, GroupPrior, Maps
from .texture import blur, luminance_of, with_detail

CLOTHES_SMOOTH = 0.75  # share of fine detail that is left out in clothes
# Rows and columns of the canonical square that hold the face, and the luminance detail.
FACE_BOX = (slice(134, 358), slice(144, 368))
EDGE = 0.16  # width of the person's outline, in the share of people who cover a pixel
OUTLINE_BLUR = 3.0  # pixels; without it, an outline from many people's shares would be ragged
# Rows over which the outline gets smoother still, and the blur in pixels: shoulders differ more than heads.
SHOULDERS, SHOULDERS_BLUR = (320, 390), 12.0
BACKGROUND_PIXELS = 8  # side of the background: as soft as a photographer's wall
# Rows over which clothes become plain, and the blur in pixels: averages of many people's patterns look like stains.
CLOTHES, CLOTHES_BLUR = (350, 430), 12.0


@dataclass(frozen=True, eq=False)
class DecodedPortrait:
    """A drawn portrait.

    Attributes:
        picture: (H, W, 3) uint8.
        landmarks: (478, 3) float32 in pixels of it.
        alpha: (H, W) float32, the person's share of each pixel.
    """

    picture: np.ndarray
    landmarks: np.ndarray
    alpha: np.ndarray


class FaceSpace(DiffusersModel):
    """The linear face space, which takes the place of an autoencoder in a latent diffusion model.

    Latents are (B, D) with D = shape + canvas + detail coordinates, whitened around the group prior: for people of a group they
    are about normal with mean 0 and variance 1. ``shape`` moves the mesh along the face model's identity basis, ``canvas``
    changes colours and outline of person and background together, ``detail`` the luminance inside the face.

    Args:
        prior_size: side of the group prior's colours, in pixels.
        shape_size, canvas_size, detail_size: the number of coordinates of each part.
        canvas_pixels, detail_pixels: sizes of their basis pictures.
    """

    shape_basis: Tensor

    @register_to_config
    def __init__(
        self,
        prior_size: int = 320,
        shape_size: int = 40,
        canvas_size: int = 24,
        detail_size: int = 128,
        canvas_pixels: int = 128,
        detail_pixels: int = 160,
    ) -> None:
        super().__init__()
        self.prior = GroupPrior(prior_size, shape_size)
        self.register_buffer("shape_basis", torch.zeros(shape_size, 478, 3))
        self.canvas = Maps(canvas_size, 7, canvas_pixels)  # the person's colours, alpha, the background's colours
        self.detail = Maps(detail_size, 1, detail_pixels)

    @property
    def latent_size(self) -> int:
        """The number D of coordinates."""
        return self.config.shape_size + self.config.canvas_size + self.config.detail_size

    def split(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Split latents (B, D) into shape, canvas and detail."""
        return latents.split([self.config.shape_size, self.config.canvas_size, self.config.detail_size], dim=1)

    @torch.inference_mode()
    def decode(
        self,
        latents: Tensor,
        features: Tensor,
        size: int = SIZE,
        generator: torch.Generator | None = None,
    ) -> list[DecodedPortrait]:
        """Draw portraits from latents.

        Args:
            latents: (B, D) float32.
            features: (B, 6) of the group prior, see :class:`~.prior.Group`; means of several are allowed.
            size: side of the pictures, in pixels.
            generator: the random generator of fine detail (strands, pores); None adds none, and the result is smooth.
        """
        return [
            self._drawn(latents[row : row + 1].float(), features[row : row + 1].float(), size, generator)
            for row in range(len(latents))
        ]

    def landmarks(self, latents: Tensor, features: Tensor) -> np.ndarray:
        """Return the mesh (478, 3) of one portrait (1, D), (1, 6), in PIXELS of the canonical square."""
        shape = features @ self.prior.shape + self.split(latents)[0]
        mean = FaceModel.default().mean
        points = mean + (shape[0, :, None, None] * self.shape_basis).sum(0).to(mean)
        return on_canvas(points.double().numpy())

    def canonical(self, latents: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the layers on the mean mesh, without fine detail: the person's colours (1, 3, S, S), the share of
        people who cover each pixel (1, 1, S, S), and the background (1, 3, S, S)."""
        _, canvas, detail = self.split(latents)
        person = _large(self.prior.person_mean[None].float() + self.prior.person(features))
        alpha = _large(self.prior.alpha(features))
        background = _large(self.prior.background(features))
        changes = _large(self.canvas(canvas))
        person, alpha = person + changes[:, :3], blur(alpha + changes[:, 3:4], OUTLINE_BLUR)
        soft = F.interpolate(background + changes[:, 4:], (BACKGROUND_PIXELS,) * 2, mode="area")
        background = _large(soft)
        low = _below(SHOULDERS, alpha)
        alpha = alpha + low * (blur(alpha, SHOULDERS_BLUR) - alpha)
        plain = _below(CLOTHES, person)
        person = person + plain * (blur(person, CLOTHES_BLUR) - person)
        person[:, :, FACE_BOX[0], FACE_BOX[1]] += _large(self.detail(detail), FACE_BOX[0].stop - FACE_BOX[0].start)
        return person, alpha, background

    def _drawn(
        self, latents: Tensor, features: Tensor, size: int, generator: torch.Generator | None
    ) -> DecodedPortrait:
        person, share, background = self.canonical(latents, features)
        alpha = outline(share)
        if generator is not None:
            texture = _large(self.prior.texture(features))
            energies, angle = texture[:, :2].clamp_min(0), texture[:, 2:]
            plain = _below(CLOTHES, person)
            clear = angle.norm(dim=1, keepdim=True).clamp(0, 1) * (1 - plain)
            person = with_detail(person, energies * (1 - CLOTHES_SMOOTH * plain), angle, clear, generator)
        goal = self.landmarks(latents, features)
        layers = torch.cat([person, alpha], 1)
        laid = laid_on(layers, mean_landmarks(), goal)
        colours, alpha = laid[:, :3], laid[:, 3:].clamp(0, 1)
        picture = (alpha * colours + (1 - alpha) * background).clamp(0, 1)
        if size != SIZE:
            resized = F.interpolate(torch.cat([picture, alpha], 1), (size, size), mode="bicubic", antialias=True)
            picture, alpha = resized[:, :3].clamp(0, 1), resized[:, 3:].clamp(0, 1)
        pixels = picture[0].mul(255).round().byte().permute(1, 2, 0).numpy()
        return DecodedPortrait(pixels, (goal * (size / SIZE)).astype(np.float32), alpha[0, 0].numpy())

    @torch.inference_mode()
    def encode(self, picture: np.ndarray, landmarks: np.ndarray, group: Group) -> Tensor:
        """Return the latents (1, D) of a portrait.

        Args:
            picture: (H, W, 3) uint8.
            landmarks: (478, 3) in pixels of it.
            group: the group of the person; the latents hold the difference from its prior.
        """
        upright = Upright.of(landmarks)
        square, _ = upright.cut_out(picture)
        own = upright.to_canonical(landmarks.astype(np.float64))
        features = group.features[None]
        laid = laid_on(torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255, own, mean_landmarks())
        empty = torch.zeros(1, self.latent_size)
        person, share, background = self.canonical(empty, features)
        return self.projected(laid, own, person, share, background, features)

    def projected(
        self, laid: Tensor, own: np.ndarray, person: Tensor, share: Tensor, background: Tensor, features: Tensor
    ) -> Tensor:
        """Return the latents of a picture (1, 3, S, S) that is aligned with the mean mesh and has landmarks ``own``
        (478, 3) PIXELS."""
        alpha = outline(share)
        rest = laid - (alpha * person + (1 - alpha) * background)
        weighted = torch.cat([rest * alpha, torch.zeros_like(alpha), rest * (1 - alpha)], 1)
        pixels = self.config.canvas_pixels
        small = F.interpolate(weighted, (pixels, pixels), mode="area")
        canvas = _least_squares(self.canvas, small, F.interpolate(alpha, (pixels, pixels), mode="area"))
        left = luminance_of(rest - alpha * _large(self.canvas(canvas))[:, :3])[:, :, FACE_BOX[0], FACE_BOX[1]]
        side = self.config.detail_pixels
        detail = _least_squares(self.detail, F.interpolate(left, (side, side), mode="area"))
        points = FaceModel.default().without_head(off_canvas(own)[None])[0]
        change = torch.from_numpy(points).float() - FaceModel.default().mean
        basis = self.shape_basis.flatten(1)
        gram = basis @ basis.T + 1e-6 * torch.eye(len(basis))
        shape = torch.linalg.solve(gram, basis @ change.flatten())[None] - features @ self.prior.shape
        return torch.cat([shape, canvas, detail], 1)


def outline(share: Tensor) -> Tensor:
    """Return the person's alpha from the share of people who cover each pixel; the outline is where half of them do."""
    return smoothstep(share, 0.5 - EDGE / 2, 0.5 + EDGE / 2)


def _least_squares(maps: Maps, pictures: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Return the weights (B, K) of maps that fit pictures (B, C, H, W) best, with a small ridge."""
    basis = maps.codes.float() * maps.scale.view(-1, 1, 1, 1)
    if alpha is not None:
        basis = torch.cat([basis[:, :3] * alpha, 0 * basis[:, 3:4], basis[:, 4:] * (1 - alpha)], 1)
    flat = basis.flatten(1)
    gram = flat @ flat.T
    gram = gram + 1e-3 * gram.diagonal().mean() * torch.eye(len(gram))
    return torch.linalg.solve(gram, flat @ pictures.flatten(1).T).T


def _below(rows_between: tuple[int, int], pictures: Tensor) -> Tensor:
    """Return weights (S, 1): 0 above both rows, 1 below them."""
    rows = torch.arange(SIZE, device=pictures.device, dtype=pictures.dtype)[:, None]
    return smoothstep(rows, *rows_between)


def _large(pictures: Tensor, size: int = SIZE) -> Tensor:
    return F.interpolate(pictures, (size, size), mode="bicubic", align_corners=False)
