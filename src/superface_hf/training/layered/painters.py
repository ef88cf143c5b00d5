"""Trains the painters of mouth and eyes alone, in their windows, as a CPU can: a window costs a hundredth of a frame.

    python -m superface_hf.training.layered.painters --shards shards/ --out runs/painters --minutes 50

The windows are what the untrained layers make of them; the teacher's painters see nothing else. Judges are pixels, a pretrained
network and discriminators of mouths and eyes. Weights are written to ``--out`` as ``painters.safetensors``.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...face_model.linear import FaceModel
from ...face_model.mesh_image import OPENING_CHANNELS
from ...layers.motion import beside_seams, layer_flow
from ...models.painters.painter import draw_region, region_shape
from ...models.painters.windows import EYES, MOUTH, Region, RegionWindow
from ...models.teacher.configuration_teacher import SuperFaceTeacherConfig
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel
from ..adversarial import PatchDiscriminator, discriminator_loss, feature_matching, generator_loss
from ..perceptual import PerceptualDistance
from ..run import channels_last
from .batches import DRAWN, LARGEST_TURN, LIGHT, SHARP_SIDE
from .shards import PackedClip, load_shards
from .train import HEARD, HEARD_FULLY, WARM, backbone

PLACE_JITTER, SIZE_JITTER = 0.06, 1.1
# Losses: pixels (more where the mouth is open), perceptual distance, discriminators.
PIXELS, PERCEPTUAL, ADVERSARIAL, MATCHING = 3.0, 0.12, 0.04, 1.0
OPEN = 4.0


@dataclass(eq=False)
class Views:
    """Windows of one kind: (B, 3, h, w) warped, the portrait's own, and wanted; the drawing; and both shapes."""

    warped: Tensor
    own: Tensor
    wanted: Tensor
    drawn: Tensor
    shapes: Tensor
    sharp: Tensor

    @classmethod
    def joined(cls, parts: list[Views]) -> Views:
        names = ("warped", "own", "wanted", "drawn", "shapes", "sharp")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class WindowPairs:
    """Draws pairs of frames of one person and cuts windows out of them; persons are drawn evenly."""

    def __init__(self, clips: list[PackedClip], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        persons: dict[int, list[PackedClip]] = {}
        for clip in clips:
            if clip.sources:
                persons.setdefault(clip.person, []).append(clip)
        self.persons = list(persons.values())
        self.canonical = FaceModel.default().mean

    def draw(self, count: int) -> tuple[Views, Views]:
        """Mouths, and twice as many eyes."""
        mouths, eyes = [], []
        for _ in range(count):
            source, own, target, moved, sharp = self._pair()
            mouths.append(self._view(source, own, target, moved, MOUTH, sharp))
            eyes += [self._view(source, own, target, moved, eye, sharp) for eye in EYES]
        return Views.joined(mouths), Views.joined(eyes)

    def _pair(self) -> tuple[Tensor, Tensor, Tensor, Tensor, bool]:
        """Source and target (1, 3, S, S), and their landmarks (1, 478, 3)."""
        clips = self.persons[self.rng.integers(len(self.persons))]
        clip = clips[self.rng.integers(len(clips))]
        source = int(self.rng.integers(len(clip.sources)))
        at = clip.sources[source]
        drawn = self.rng.integers(len(clip.frames), size=3 * DRAWN)
        turned = np.linalg.norm(clip.rotation[drawn] - clip.rotation[at], axis=1)
        drawn = drawn[np.argsort(np.maximum(turned, LARGEST_TURN), kind="stable")][:DRAWN]
        # Half of the pairs open or close the mouth most of some.
        chosen = int(drawn[0])
        if self.rng.random() < 0.5:
            chosen = int(drawn[np.abs(clip.opening[drawn] - clip.opening[at]).argmax()])
        meshes = clip.driving(source, torch.tensor([chosen]))
        pictures = clip.frames[[at, chosen]].permute(0, 3, 1, 2).float() / 255
        gamma = math.exp(self.rng.uniform(-LIGHT, LIGHT))
        gains = torch.from_numpy(np.exp(self.rng.uniform(-0.12, 0.12, size=3)).astype(np.float32))
        pictures = (pictures**gamma * gains[:, None, None]).clamp(0, 1)
        own = clip.source_landmarks[source][None]
        return pictures[:1], own, pictures[1:], meshes, pictures.shape[-1] >= SHARP_SIDE

    def _view(self, source: Tensor, own: Tensor, target: Tensor, moved: Tensor, region: Region, sharp: bool) -> Views:
        window, rest = self._jittered(moved, region), RegionWindow.around(own, region)
        inside, at_rest = window.enter(moved), rest.enter(own)
        grid = window.grid()
        warped = F.grid_sample(
            source, self._places(window, own, moved), mode="bicubic", padding_mode="border", align_corners=False
        ).clamp(0, 1)
        wanted = F.grid_sample(target, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)
        drawn = torch.cat((draw_region(inside, window, self.canonical), draw_region(at_rest, rest, None)), dim=1)
        shapes = torch.stack((region_shape(at_rest, region), region_shape(inside, region)), dim=1)
        return Views(warped, rest.cut(source), wanted, drawn, shapes, torch.tensor([sharp]))

    @staticmethod
    def _places(window: RegionWindow, own: Tensor, moved: Tensor) -> Tensor:
        """Where the layers find each cell of the window in the source: (1, h, w, 2)."""
        height, width = window.size
        source, driving = window.enter(own), window.enter(moved)
        layer = layer_flow(source, driving, width // 4)
        flow = F.interpolate(beside_seams(layer, layer, source, driving), size=(width, width), mode="bilinear")
        top = (width - height) // 2
        flow = flow[:, :, top : top + height].permute(0, 2, 3, 1)
        # The window's unit is half of its width, along both of its axes.
        unit = window.across.norm(dim=-1)[:, None]
        down = window.down / window.down.norm(dim=-1, keepdim=True) * unit
        moves = flow[..., :1] * window.across[:, None, None] + flow[..., 1:] * down[:, None, None]
        return window.grid() + moves

    def _jittered(self, points: Tensor, region: Region) -> RegionWindow:
        window = RegionWindow.around(points, region)
        u, v = self.rng.uniform(-PLACE_JITTER, PLACE_JITTER, size=2)
        size = math.exp(math.log(SIZE_JITTER) * self.rng.uniform(-1, 1))
        centre = window.centre + float(u) * window.across + float(v) * window.down
        return RegionWindow(centre, size * window.across, size * window.down, window.size)


class PaintersTrainer:
    """One training on one device."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        torch.manual_seed(arguments.seed)
        teacher = SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size("base"))
        parts = {"mouth": teacher.mouth_painter, "eyes": teacher.eye_painter}
        self.painters = channels_last(nn.ModuleDict(parts)).train()
        self.averaged = copy.deepcopy(self.painters).eval().requires_grad_(False)
        judges = {name: PatchDiscriminator(OPENING_CHANNELS, arguments.judge_width) for name in parts}
        self.judges = channels_last(nn.ModuleDict(judges))
        self.optimizer = torch.optim.AdamW(
            self.painters.parameters(), arguments.rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.judges_optimizer = torch.optim.AdamW(self.judges.parameters(), arguments.rate / 2, betas=(0.5, 0.99))
        self.perceptual = channels_last(PerceptualDistance(backbone(arguments.perceptual)))
        self.step, self.seconds = 0, 0.0
        self.out = Path(arguments.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self._resume()

    def train(self) -> None:
        arguments = self.arguments
        device = torch.device("cpu")
        clips, _ = load_shards(Path(arguments.shards), "train", device, 2, arguments.most, arguments.stride)
        pairs = WindowPairs(clips, arguments.seed + self.step)
        print(f"{len(clips)} clips, {len(pairs.persons)} persons", flush=True)
        limit = 60 * arguments.minutes
        started, before = time.monotonic(), self.seconds
        told = saved = started
        sums: dict[str, float] = {}
        since = self.step
        while self.seconds < limit and self.step < arguments.steps:
            for name, value in self._step(pairs.draw(arguments.batch), self.seconds / limit).items():
                sums[name] = sums.get(name, 0.0) + float(value)
            self.step += 1
            now = time.monotonic()
            self.seconds = before + now - started
            if now - told > arguments.tell:
                count = self.step - since
                rate = round(count * arguments.batch / (now - told), 2)
                values = {name: round(value / count, 4) for name, value in sums.items()}
                print(json.dumps({"step": self.step, "s": round(self.seconds), "faces/s": rate, **values}), flush=True)
                told, since, sums = now, self.step, {}
            if now - saved > 60 * arguments.every:
                self.save()
                saved = now
        self.save()

    def _step(self, views: tuple[Views, Views], progress: float) -> dict[str, Tensor]:
        rate = min(1, progress / WARM + 0.01) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        heard = min(1.0, max(0.0, (progress - HEARD) / (HEARD_FULLY - HEARD)))
        for optimizer, highest in ((self.optimizer, 1.0), (self.judges_optimizer, 0.5)):
            for group in optimizer.param_groups:
                group["lr"] = self.arguments.rate * rate * highest
        terms: dict[str, Tensor] = {}
        judged = []
        loss = torch.zeros(())
        self.judges.requires_grad_(False)
        for name, view in zip(("mouth", "eyes"), views, strict=True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.arguments.bf16):
                keep, paint = self.painters[name](view.warped, view.own, view.drawn, view.shapes)
                rendered = keep * view.warped + paint
                # After the mesh's drawing come how open the driver is (mouth, eyes, iris), and the same of the source.
                openings = F.interpolate(view.drawn[:, -6:-3].float(), scale_factor=2.0)
                weight = 1 + OPEN * openings[:, :2].sum(1, keepdim=True)
                found = {
                    "pixels": PIXELS * ((rendered - view.wanted).abs() * weight).mean(),
                    "perceptual": PERCEPTUAL * self.perceptual(rendered, view.wanted),
                }
                if heard and view.sharp.any():
                    chosen = view.sharp
                    fake = self.judges[name](rendered[chosen], openings[chosen])
                    with torch.no_grad():
                        real = self.judges[name](view.wanted[chosen], openings[chosen])
                    found["adversarial"] = heard * ADVERSARIAL * generator_loss(fake)
                    found["matching"] = heard * MATCHING * feature_matching(real, fake)
            loss = loss + torch.stack([term.float() for term in found.values()]).sum()
            terms.update({f"{name}.{key}": term.detach() for key, term in found.items()})
            judged.append((name, view, rendered.detach(), openings))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.painters.parameters(), 1.0)
        if bool(norm.isfinite()):
            self.optimizer.step()
            share = min(self.arguments.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                ours = list(self.averaged.parameters())
                torch._foreach_lerp_(ours, [p.detach() for p in self.painters.parameters()], 1 - share)
        self.optimizer.zero_grad(set_to_none=True)
        if progress > HEARD / 2:
            self._teach_judges(judged)
        return terms

    def _teach_judges(self, judged: list[Any]) -> None:
        self.judges.requires_grad_(True)
        losses = []
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.arguments.bf16):
            for name, view, rendered, openings in judged:
                chosen = view.sharp
                if chosen.any():
                    real = self.judges[name](view.wanted[chosen], openings[chosen])
                    losses.append(discriminator_loss(real, self.judges[name](rendered[chosen], openings[chosen])))
        if losses:
            torch.stack(losses).sum().backward()
            self.judges_optimizer.step()
            self.judges_optimizer.zero_grad(set_to_none=True)

    def save(self) -> None:
        names = {"mouth": "mouth_painter", "eyes": "eye_painter"}
        weights = {
            f"{names[part]}.{name}": value.half().contiguous()
            for part, painter in self.averaged.items()
            for name, value in painter.state_dict().items()
        }
        _replace(self.out / "painters.safetensors", weights)
        state = {"painters": self.painters, "judges": self.judges}
        flat = {f"{part}.{k}": v.contiguous() for part, module in state.items() for k, v in module.state_dict().items()}
        _replace(self.out / "resume.safetensors", flat)
        (self.out / "progress.json").write_text(json.dumps({"step": self.step, "seconds": self.seconds}))

    def _resume(self) -> None:
        if not (self.out / "progress.json").exists():
            return
        progress = json.loads((self.out / "progress.json").read_text())
        self.step, self.seconds = progress["step"], progress["seconds"]
        stored = load_file(self.out / "resume.safetensors")
        for part, module in (("painters", self.painters), ("judges", self.judges)):
            module.load_state_dict({k[len(part) + 1 :]: v for k, v in stored.items() if k.startswith(f"{part}.")})
        self.averaged.load_state_dict(self.painters.state_dict())


def _replace(path: Path, tensors: dict[str, Tensor]) -> None:
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.replace(path)


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--steps", type=int, default=10**9, help="stop after so many steps, for tries")
    parser.add_argument("--batch", type=int, default=8, help="faces; each has a mouth and two eyes")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.995)
    parser.add_argument("--judge-width", type=int, default=24)
    parser.add_argument("--every", type=float, default=3, help="minutes between checkpoints")
    parser.add_argument("--tell", type=float, default=30, help="seconds between lines of the log")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--stride", type=int, default=2, help="use every so many-th of the packed frames, to save memory"
    )
    parser.add_argument("--most", type=int, help="load so many clips only, for tries")
    parser.add_argument("--perceptual", help="safetensors of EfficientNet-Lite0, where its wheel is missing")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


if __name__ == "__main__":
    PaintersTrainer(parsed()).train()
