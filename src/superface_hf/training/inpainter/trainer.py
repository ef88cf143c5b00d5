"""Trains the inpainter on packed pictures, for a given time on one device.

    python -m superface_hf.training.inpainter.trainer --shards DIR --out DIR --minutes 7

What it paints is judged by pixels, by the features of an ImageNet network (their places and, for texture, their means of
products), and by a discriminator of patches that learns along.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pictures.holes import HoleBatch, draw_holes, fixed_holes
from ...data.pictures.packed import load_packed
from ...models.inpainter.configuration_inpainter import SuperFaceInpainterConfig
from ...models.inpainter.modeling_inpainter import SuperFaceInpainterModel
from ..core.timed_run import Stateful, TimedRun, clip_gradients, release
from ..losses.patch_discriminator import PatchDiscriminator, feature_matching
from ..losses.perceptual import PerceptualDistance, packed_distance

STORED_SIZE = 384  # pixels of the pictures that windows are taken from
TRAINED_SIZE = 256  # pixels of the windows
LEARNING_RATE, JUDGE_RATE = 1e-3, 2e-4
# The discriminator says nothing before this part of the training, and has its say after the second.
JUDGED_FROM, JUDGED_FULLY = 0.08, 0.15
BORDER = 3.0  # how much more a pixel at the hole's border counts than one far inside


@dataclass(frozen=True)
class LossWeights:
    """What each term counts."""

    pixels: float = 4.0
    perceptual: float = 1.0
    texture: float = 30.0
    adversarial: float = 0.15
    matching: float = 20.0


class PictureJudge:
    """What does not learn: pixels, features and textures of the part that is asked for."""

    def __init__(self, distance: PerceptualDistance) -> None:
        self.distance = distance

    def __call__(self, painted: Tensor, batch: HoleBatch) -> dict[str, Tensor]:
        """Terms of the loss; ``painted`` is the true picture where nothing was asked."""
        wanted, asked = batch.pictures, batch.asked
        near = F.avg_pool2d(F.pad(1 - asked, (12, 12, 12, 12), mode="replicate"), 25, 1)
        weight = asked * (1 + BORDER * near)
        pixels = ((painted - wanted).abs() * weight).sum() / (3 * weight.sum()).clamp_min(1)
        found, true = self._features(painted), self._features(wanted)
        perceptual, texture = pixels.new_zeros(()), pixels.new_zeros(())
        for f, t in zip(found, true, strict=True):
            here = F.interpolate(asked, size=f.shape[-2:], mode="area") + 0.02
            f, t = f.float(), t.detach().float()
            apart = F.normalize(f, dim=1, eps=1e-4) - F.normalize(t, dim=1, eps=1e-4)
            perceptual = perceptual + (apart.square().sum(1, keepdim=True) * here).sum() / here.sum()
            texture = texture + (_products(f, here) - _products(t, here)).abs().mean()
        return {"pixels": pixels, "perceptual": perceptual, "texture": texture}

    def _features(self, pictures: Tensor) -> list[Tensor]:
        return self.distance.backbone((pictures - self.distance.mean) / self.distance.std)[:4]


def _products(features: Tensor, weight: Tensor) -> Tensor:
    """(B, C, C) means of products of channels (Gatys et al. 2016), of features brought to the same strength."""
    # (half precision, in which products would be taken, is too coarse for the differences between them)
    features = features / features.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-3)
    flat = (features * weight.sqrt()).flatten(2)
    with torch.autocast(flat.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / weight.flatten(1).sum(1)[:, None, None] / features.shape[1]


def patch_loss(judged: list[list[Tensor]], asked: Tensor, real: bool) -> Tensor:
    """Hinge loss of the discriminator's judgements; painted pictures are painted only where something was asked."""
    losses = []
    for features in judged:
        verdict = features[-1].float()
        if real:
            losses.append(F.relu(1 - verdict).mean())
            continue
        here = F.interpolate(asked, size=verdict.shape[-2:], mode="area")
        losses.append((F.relu(1 + verdict) * here + F.relu(1 - verdict) * (1 - here) * 0.2).mean() * 2)
    return torch.stack(losses).mean()


def passing_loss(judged: list[list[Tensor]], asked: Tensor) -> Tensor:
    """How far what was painted is from passing as real."""
    losses = []
    for features in judged:
        verdict = features[-1].float()
        here = F.interpolate(asked, size=verdict.shape[-2:], mode="area")
        losses.append((-verdict * here).sum() / here.sum().clamp_min(1))
    return torch.stack(losses).mean()


@torch.no_grad()
def hole_figures(
    network: nn.Module, held_out: HoleBatch, distance: PerceptualDistance, batch: int = 16
) -> dict[str, float]:
    """Perceptual distance and PSNR in the asked part of held-out holes, of the network's paint and of the plain fill."""
    sums: dict[str, list[Tensor]] = {"perceptual": [], "perceptual_fill": [], "psnr": [], "psnr_fill": []}
    for start in range(0, len(held_out.pictures), batch):
        picture, known, asked = (x[start : start + batch] for x in (held_out.pictures, held_out.known, held_out.asked))
        output = network(picture, known)
        for name, painted in (("", output.pictures), ("_fill", output.fill)):
            together = torch.where(asked > 0, painted, picture)
            sums[f"perceptual{name}"].append(distance(together, picture) * len(picture))
            error = ((together - picture).square() * asked).sum((1, 2, 3)) / (3 * asked.sum((1, 2, 3))).clamp_min(1)
            sums[f"psnr{name}"].append((-10 * error.clamp_min(1e-6).log10()).sum())
    return {name: float(torch.stack(values).sum()) / len(held_out.pictures) for name, values in sums.items()}


def train(
    shards: Path, out: Path, state: Path, minutes: float, batch: int, device: str,
    config: SuperFaceInpainterConfig | None = None, size: int = TRAINED_SIZE, weights: LossWeights | None = None,
) -> None:  # fmt: skip
    """Trains on windows of ``size`` until the time is over, or goes on where a state lies."""
    began = time.monotonic()
    weights = weights or LossWeights()
    data = load_packed(shards, "train", STORED_SIZE, device)
    held_out = fixed_holes(load_packed(shards, "val", STORED_SIZE, device), size)
    print(
        f"{len(data)} pictures, {len(held_out.pictures)} held out, {time.monotonic() - began:.1f} s to read", flush=True
    )
    network = SuperFaceInpainterModel(config or SuperFaceInpainterConfig())
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[arg-type]
    critic = PatchDiscriminator(condition=1, width=48).to(device)
    distance = packed_distance(shards, device)
    judge = PictureJudge(distance)
    fused = device.startswith("cuda")
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.99), weight_decay=1e-3, fused=fused
    )
    critics = torch.optim.AdamW(critic.parameters(), lr=JUDGE_RATE, betas=(0.5, 0.99), fused=fused)
    kept: dict[str, Stateful] = {"optimizer": optimizer, "critic": critic, "critics": critics}
    run = TimedRun(out, state, "inpainter", network, kept, minutes, began)
    kind = device.split(":")[0]
    network.train()
    going = run.step == 0 or run.progress < 1
    while going:
        for optimizer_of, peak in ((optimizer, LEARNING_RATE), (critics, JUDGE_RATE)):
            for group in optimizer_of.param_groups:
                group["lr"] = peak * run.rate()
        seen = draw_holes(data, batch, size)
        with torch.autocast(kind, torch.bfloat16):
            painted = network(seen.pictures, seen.known).pictures
            painted = torch.where(seen.asked > 0, painted, seen.pictures)
            terms = judge(painted, seen)
        loss = weights.pixels * terms["pixels"] + weights.perceptual * terms["perceptual"]
        loss = loss + weights.texture * terms["texture"]
        if weights.adversarial and run.progress >= JUDGED_FROM:
            say = min(1.0, (run.progress - JUDGED_FROM) / (JUDGED_FULLY - JUDGED_FROM))
            more = _judged(critic, critics, painted, seen, kind)
            loss = loss + say * (weights.adversarial * more["passing"] + weights.matching * more["matching"])
            terms = {**terms, **more}
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(network, 1.0)
        optimizer.step()
        going = run.tick(terms, batch, lambda average: hole_figures(average, held_out, distance))


def _judged(
    critic: nn.Module, critics: torch.optim.Optimizer, painted: Tensor, seen: HoleBatch, kind: str
) -> dict[str, Tensor]:
    """Lets the discriminator learn from a batch, and say what it thinks of it."""
    critic.requires_grad_(True)
    with torch.autocast(kind, torch.bfloat16):
        real, fake = critic(seen.pictures, seen.asked), critic(painted.detach(), seen.asked)
        loss = patch_loss(real, seen.asked, True) + patch_loss(fake, seen.asked, False)
    critics.zero_grad(set_to_none=True)
    loss.backward()
    clip_gradients(critic, 10.0)
    critics.step()
    critic.requires_grad_(False)
    with torch.autocast(kind, torch.bfloat16):
        fake = critic(painted, seen.asked)
        with torch.no_grad():
            real = critic(seen.pictures, seen.asked)
    return {
        "critic": loss.detach(),
        "passing": passing_loss(fake, seen.asked),
        "matching": feature_matching(real, fake),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the inpainter.")
    parser.add_argument("--shards", type=Path, required=True, help="folder made by superface_hf.data.pictures.pack")
    parser.add_argument("--out", type=Path, required=True, help="for inpainter.safetensors and the log")
    parser.add_argument("--state", type=Path, help="for what a training goes on from; by default the same as --out")
    parser.add_argument("--minutes", type=float, default=7, help="everything included")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=TRAINED_SIZE, help="of the windows, pixels")
    parser.add_argument("--config", type=Path, help="config.json of the network; by default as published")
    parser.add_argument("--adversarial", type=float, default=LossWeights.adversarial, help="0: no discriminator")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="when done, also write a checkpoint here")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    config = SuperFaceInpainterConfig.from_json_file(options.config) if options.config else SuperFaceInpainterConfig()
    weights, state = LossWeights(adversarial=options.adversarial), options.state or options.out
    train(
        options.shards, options.out, state, options.minutes, options.batch, options.device,
        config, options.size, weights,
    )  # fmt: skip
    if options.release:
        release(options.out / "inpainter.safetensors", SuperFaceInpainterModel(config), options.release)


if __name__ == "__main__":
    main()
