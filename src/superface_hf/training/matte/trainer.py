"""Continue the training of the matte network, from the embedded weights, on packed pictures that stay on the device::

    python -m superface_hf.data.pictures.pack ...
    superface train matte --set shards=.shards_matte --out runs/matte

The same command continues from the newest checkpoint in ``out``; the finished weights are in its ``final``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pictures.augment import MatteBatch, around_face, draw_batch
from ...data.pictures.packed import PackedPictures, load_packed
from ...data.pictures.random_windows import sample
from ...hub import weights_folder
from ...models.matte.modeling_matte import SuperFaceMatteModel
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import cosine_after_warmup

STORED_SIZE = 384  # pixels of the pictures that windows are taken from
REACH = 3.4  # of the windows that are validated, in widths of the face


@dataclass
class MatteTrainingConfig:
    """How the matte network is trained.

    Attributes:
        shards: folder made by ``superface_hf.data.pictures.pack``.
        out: folder for checkpoints, the log and at last the weights.
        init: folder of weights to begin with; None begins with the embedded ones.
        steps, minutes: the learning rate reaches zero at whichever comes first; reading the pictures counts.
        batch_size: windows a step, in each process.
        learning_rate: the highest, after ``warmup`` steps.
        weight_decay: of AdamW.
        ema: decay of the averaged weights that are released.
        clip_norm: longer gradients are shortened to this.
        checkpoint_minutes: how often to save, and to measure the averaged weights.
        seed: of everything that is drawn.
    """

    shards: Path = Path(".shards_matte")
    out: Path = Path("runs/matte")
    init: Path | None = None
    steps: int = number(1_000_000, low=1)
    minutes: float = number(7.0, low=0.01)
    batch_size: int = number(96, low=1)
    learning_rate: float = number(5e-4, low=0)
    warmup: int = number(40, low=0)
    weight_decay: float = number(0.01, low=0)
    ema: float = number(0.998, low=0, high=1)
    clip_norm: float = number(2.0, low=1e-3)
    checkpoint_minutes: float = number(2.0, low=0)
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"
    seed: int = number(0, low=0)


def matte_loss(logits: Tensor, batch: MatteBatch) -> dict[str, Tensor]:
    """Return the loss: cross-entropy, more of it along outlines; the overlap as a whole; and the outline's steepness."""
    logits = logits.float()
    wanted, known = batch.mattes, batch.known
    edge = F.max_pool2d(wanted, 9, 1, 4) + F.max_pool2d(-wanted, 9, 1, 4)
    weight = known * (1 + 3 * edge)
    entropy = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight).sum() / weight.sum()
    found = torch.sigmoid(logits)
    both = (found * wanted * known).sum((1, 2, 3))
    either = ((found + wanted - found * wanted) * known).sum((1, 2, 3))
    overlap = (1 - (both + 1) / (either + 1)).mean()
    steep = torch.stack([((_slope(found, d) - _slope(wanted, d)).abs() * known[..., :-1, :-1]).mean() for d in (2, 3)])
    return {"entropy": entropy, "overlap": overlap, "steepness": steep.sum()}


def _slope(x: Tensor, dim: int) -> Tensor:
    return torch.diff(x, dim=dim)[..., : x.shape[-2] - 1, : x.shape[-1] - 1]


@torch.no_grad()
def overlaps(network: nn.Module, data: PackedPictures, size: int, batch: int = 32) -> Tensor:
    """Return the intersection over union (N,) with the labels, in the windows of inference."""
    results = []
    for numbers in torch.arange(len(data), device=data.faces.device).split(batch):
        maps = around_face(data.faces[numbers], REACH)
        wanted = sample(data.mattes[numbers], maps, size) > 0.5
        found = network(sample(data.pictures[numbers], maps, size)).logits > 0
        both, either = (found & wanted).sum((1, 2, 3)), (found | wanted).sum((1, 2, 3))
        results.append(both / either.clamp_min(1))
    return torch.cat(results)


def measure_matte(network: nn.Module, held_out: PackedPictures, size: int) -> dict[str, float]:
    """Return the mean intersection over union: of all pictures, of clips and of portraits; and the lowest of any."""
    found = overlaps(network, held_out, size)
    clips = torch.tensor([kind == "clip" for kind in held_out.kinds], device=found.device)
    return {
        "iou": float(found.mean()),
        "iou_clips": float(found[clips].mean()),
        "iou_portraits": float(found[~clips].mean()),
        "iou_lowest": float(found.min()),
    }


def run(config: MatteTrainingConfig, until: int | None = None) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    torch.backends.cudnn.benchmark = True
    accelerator = accelerator_for(config.mixed_precision)
    network = channels_last(SuperFaceMatteModel.from_pretrained(config.init or weights_folder("matte")))
    averaged = averaged_copy(network, accelerator.device)
    training = TrainingRun(
        config.out, accelerator, averaged, config.ema, config.checkpoint_minutes, config, log_every=50,
        steps=config.steps, minutes=config.minutes, seed=config.seed,
    )  # fmt: skip
    size = network.config.image_size
    stored = min(STORED_SIZE, size * 3 // 2)
    data = load_packed(config.shards, "train", stored, accelerator.device, one_face=True)
    held_out = load_packed(config.shards, "val", stored, accelerator.device, one_face=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    model, optimizer = accelerator.prepare(network.train(), optimizer)
    training.resume()
    for step in training.steps_left(until):
        batch = draw_batch(data, config.batch_size, size)
        with accelerator.autocast():
            logits = model(batch.pictures.to(memory_format=torch.channels_last)).logits
        terms = matte_loss(logits, batch)
        loss = terms["entropy"] + 0.5 * terms["overlap"] + 2 * terms["steepness"]
        rate = config.learning_rate * cosine_after_warmup(step, config.warmup, training.progress)
        training.descend(loss, model, optimizer, rate, config.clip_norm)
        shown = {name: term.detach() for name, term in {"loss": loss, **terms}.items()}
        training.tick(shown, measure=lambda: measure_matte(averaged, held_out, size))
    training.save(measure=lambda: measure_matte(averaged, held_out, size))
    training.release()
    return training.newest_weights
