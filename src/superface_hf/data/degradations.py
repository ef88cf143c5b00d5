"""SSR, SuperFace's simulation for super-resolution: in training the source picture is degraded, the target stays clean.

Each source goes through a second-order degradation (Real-ESRGAN, section 3): twice in a row it is blurred, resized, made
noisy and compressed as a JPEG, with strengths drawn at random, and is then brought back to its size. As the output is
rendered at twice the resolution that is left of many of these sources (256 of 512 pixels), a poor webcam picture learns to
give a clean result. Only needed in training; nothing here has gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SuperFaceError
from .jpeg_simulation import simulate_jpeg

RESIZE_MODES = ("smooth", "bilinear", "bicubic")
# Strengths are given for pictures of this side and follow the side of others.
REFERENCE_SIDE = 512
# A kernel ends at this many standard deviations, and at this many pixels from its middle.
KERNEL_REACH, LARGEST_REACH = 3.0, 12


class DegradationError(SuperFaceError, ValueError):
    """Strengths or pictures that cannot be degraded."""


@dataclass(frozen=True)
class DegradationRound:
    """The strengths of one round; ranges are (lowest, highest), drawn evenly. Shares are probabilities in [0, 1].

    Attributes:
        blur: share of the pictures that are blurred.
        blur_sigma: standard deviations of the kernel's two axes, in pixels of a picture with a side of 512.
        isotropic: share of the kernels that are round; the others have two axes and a direction.
        plain, general: shares of the kernels that are Gaussians, and Gaussians with another exponent (pointed or boxy); the
            others are plateaus, flat in the middle and slow to fall.
        scale: side after the resize, as a share of the input picture's.
        noise: share of the pictures that get noise.
        poisson: share of the noises that grow with the light (as a sensor's do); the others are the same everywhere.
        grey: share of the noises that are the same in all colours.
        noise_level: standard deviation of the even noise, in 255ths.
        photons: how many photons white has in the noise that grows with the light: fewer are noisier.
        quality: of the JPEG, 1 to 100.
    """

    blur: float = 0.9
    blur_sigma: tuple[float, float] = (0.2, 2.5)
    isotropic: float = 0.5
    plain: float = 0.7
    general: float = 0.15
    scale: tuple[float, float] = (0.35, 1.0)
    noise: float = 0.9
    poisson: float = 0.5
    grey: float = 0.4
    noise_level: tuple[float, float] = (1.0, 18.0)
    photons: tuple[float, float] = (100.0, 2000.0)
    quality: tuple[float, float] = (35.0, 95.0)

    def __post_init__(self) -> None:
        limits = {"blur_sigma": (0.05, 20.0), "scale": (0.05, 4.0), "noise_level": (0.0, 255.0), "photons": (20.0, 1e6),
                  "quality": (1.0, 100.0)}  # fmt: skip
        for part in fields(self):
            value = getattr(self, part.name)
            if part.name not in limits:
                check_share("DegradationRound", part.name, value)
                continue
            pair = tuple(value) if isinstance(value, (list, tuple)) else ()
            lowest, highest = limits[part.name]
            if len(pair) != 2 or not lowest <= pair[0] <= pair[1] <= highest:
                raise DegradationError(
                    f"DegradationRound.{part.name} is {value!r}: give (lowest, highest) between {lowest} and {highest}."
                )
            object.__setattr__(self, part.name, pair)
        if self.plain + self.general > 1:
            raise DegradationError("DegradationRound.plain and .general add up to more than 1.")


@dataclass(frozen=True)
class DegradationConfig:
    """How sources are degraded.

    Attributes:
        share: share of the pictures that are; the others are left as they are, so that good ones still come out untouched.
        half: share of the degraded ones that are brought to exactly half of their size by the second round (256 of 512).
        first, second: the two rounds; the sizes of both are shares of the input's. A file that changes a field of ``second``
            gives all that differ from those of ``DegradationRound``.
    """

    share: float = 0.5
    half: float = 0.4
    first: DegradationRound = field(default_factory=DegradationRound)
    second: DegradationRound = field(
        default_factory=lambda: DegradationRound(
            blur=0.7, blur_sigma=(0.2, 1.6), scale=(0.3, 1.0), noise_level=(1.0, 12.0), photons=(200.0, 3000.0)
        )
    )

    def __post_init__(self) -> None:
        for name in ("share", "half"):
            check_share("DegradationConfig", name, getattr(self, name))


class SourceDegradation:
    """Degrades batches of sources; the same generator state gives the same pictures.

    What is drawn, and in which order, is part of the protocol of ``superface evaluate teacher`` on degraded sources.
    """

    def __init__(self, config: DegradationConfig | None = None) -> None:
        self.config = config or DegradationConfig()

    @torch.no_grad()
    def __call__(self, pictures: Tensor, generator: torch.Generator, follows: Tensor | None = None) -> Tensor:
        """Degrade some of the pictures.

        Args:
            pictures: (B, 3, S, S) float in [0, 1], on any device.
            generator: of any device; noise is drawn there.
            follows: (B,) bool, pictures that are the same source as the one before: they get the same degradation.

        Returns:
            The same shape, type and device, in [0, 1].
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or not pictures.is_floating_point():
            raise DegradationError(
                f"Pictures to degrade must be floats of the shape (B, 3, S, S), not {pictures.dtype} "
                f"{tuple(pictures.shape)}."
            )
        result = pictures.clone()
        kept = [False] * len(pictures) if follows is None else follows.tolist()
        for number, repeated in enumerate(kept):
            if repeated and number > 0:
                result[number] = result[number - 1]
            else:
                with torch.autocast(pictures.device.type, enabled=False):  # pictures are not resized in half precision
                    picture = self._degraded(pictures[number : number + 1].float(), Draws(generator))
                result[number] = picture[0].to(result)
        return result

    def _degraded(self, picture: Tensor, draws: Draws) -> Tensor:
        if not draws.chance(self.config.share):
            return picture
        height, width = picture.shape[-2:]
        picture = degrade_once(picture, (height, width), self.config.first, draws)
        exactly = 0.5 if draws.chance(self.config.half) else None
        picture = degrade_once(picture, (height, width), self.config.second, draws, exactly)
        return resize(picture, (height, width), draws.choice(RESIZE_MODES))


class Draws:
    """Random numbers from a ``torch.Generator``; single ones come in blocks, as each trip from a GPU takes time."""

    BLOCK = 64

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self._left: list[float] = []

    def uniform(self, lowest: float = 0.0, highest: float = 1.0) -> float:
        if not self._left:
            self._left = torch.rand(self.BLOCK, generator=self.generator, device=self.generator.device).tolist()
        return lowest + (highest - lowest) * self._left.pop()

    def chance(self, share: float) -> bool:
        return self.uniform() < share

    def choice(self, options: tuple[str, ...]) -> str:
        return options[min(int(self.uniform(0, len(options))), len(options) - 1)]

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device)


def degrade_once(
    picture: Tensor, full: tuple[int, int], strengths: DegradationRound, draws: Draws, scale: float | None = None
) -> Tensor:
    """Degrade in one round of blur, resize, noise and JPEG: (1, 3, h, w) in [0, 1] -> (1, 3, h', w').

    ``full`` is the (height, width) of the picture before all rounds; ``scale`` takes the place of the one drawn.
    """
    if draws.chance(strengths.blur):
        # A sigma is given at the full size, whatever is left of the picture by now.
        picture = blur(picture, random_kernel(strengths, draws, picture.shape[-1] / REFERENCE_SIDE).to(picture))
    drawn = draws.uniform(*strengths.scale)
    wanted = drawn if scale is None else scale
    picture = resize(picture, (round(full[0] * wanted), round(full[1] * wanted)), draws.choice(RESIZE_MODES))
    if draws.chance(strengths.noise):
        channels = 1 if draws.chance(strengths.grey) else 3
        even, sensor = draws.uniform(*strengths.noise_level) / 255, draws.uniform(*strengths.photons)
        noise = draws.normal(1, channels, *picture.shape[-2:]).to(picture)
        if draws.chance(strengths.poisson):
            # Counts of photons this large are almost normally distributed, and a normal distribution is quicker to draw.
            light = picture if channels == 3 else picture.mean(1, keepdim=True)
            picture = picture + noise * (light / sensor).sqrt()
        else:
            picture = picture + noise * even
    return simulate_jpeg(picture.clamp(0, 1), round(draws.uniform(*strengths.quality)))


def random_kernel(strengths: DegradationRound, draws: Draws, unit: float = 1.0) -> Tensor:
    """Return a blur kernel (K, K) that sums to one; ``unit`` is how many pixels a standard deviation of one has."""
    first, second = (max(unit * draws.uniform(*strengths.blur_sigma), 1e-2) for _ in range(2))
    angle = draws.uniform(0, math.pi)
    if draws.chance(strengths.isotropic):
        second = first
    kind, pointed = draws.uniform(), draws.uniform()
    reach = max(1, min(LARGEST_REACH, math.ceil(KERNEL_REACH * max(first, second))))
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    distance = (along / first).square() + (across / second).square()
    if kind < strengths.plain:
        kernel = torch.exp(-0.5 * distance)
    elif kind < strengths.plain + strengths.general:
        kernel = torch.exp(-0.5 * distance ** (0.5 + 3.0 * pointed))
    else:
        kernel = 1 / (1 + distance ** (1.0 + pointed))
    return kernel / kernel.sum()


def blur(picture: Tensor, kernel: Tensor) -> Tensor:
    """Blur (B, C, H, W) with an odd, point-symmetric kernel (K, K), by Fourier transform: its cost hardly grows with K."""
    reach = kernel.shape[-1] // 2
    height, width = picture.shape[-2:]
    size = [smooth_number(side + 2 * reach) for side in (height, width)]
    mode = "reflect" if reach < min(height, width) else "replicate"
    padded = F.pad(picture, (reach, reach, reach, reach), mode=mode)
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernel, s=size)
    # The kernel's middle is `reach` away from its corner, and so is the picture from the padding's: both shifts add up.
    blurred = torch.fft.irfft2(spectrum, s=size)[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    return blurred.clamp(0, 1)


@lru_cache(maxsize=1024)
def smooth_number(side: int) -> int:
    """Return the next side that is a product of 2, 3 and 5 only: Fourier transforms of others are slow."""
    while True:
        rest = side
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return side
        side += 1


def resize(picture: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Resize (B, 3, H, W) to ``size`` (height, width) in one of ``RESIZE_MODES``.

    "smooth" averages where it shrinks; the others alias there, as cheap scalers do.
    """
    size = (max(8, size[0]), max(8, size[1]))
    if size == tuple(picture.shape[-2:]):
        return picture
    if mode == "smooth":
        return F.interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(picture, size=size, mode=mode, align_corners=False).clamp(0, 1)


def check_share(owner: str, name: str, value: object) -> None:
    """Raise DegradationError if ``value`` is no share in [0, 1]."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise DegradationError(f"{owner}.{name} is {value!r}: it is a share, give a number from 0 to 1.")
