"""Trains the matte network on, on packed pictures, for a given time on one device.

python -m superface_hf.training.matte.trainer --shards DIR --out DIR --minutes 7
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pictures.augment import MatteBatch, around_face, draw_batch
from ...data.pictures.packed import PackedPictures, load_packed
from ...data.pictures.random_windows import sample
from ...hub import weights_folder
from ...models.matte.modeling_matte import SuperFaceMatteModel
from ..core.timed_run import TimedRun, clip_gradients, release

STORED_SIZE = 384  # pixels of the pictures that windows are taken from
REACH = 3.4  # of the windows that are validated, in widths of the face
LEARNING_RATE = 5e-4


def matte_loss(logits: Tensor, batch: MatteBatch) -> dict[str, Tensor]:
    """Cross-entropy, more of it along outlines; the overlap as a whole; and the outline's steepness."""
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
    """(N,) intersection over union with the labels, in the windows of inference."""
    results = []
    for numbers in torch.arange(len(data), device=data.faces.device).split(batch):
        maps = around_face(data.faces[numbers], REACH)
        wanted = sample(data.mattes[numbers], maps, size) > 0.5
        found = network(sample(data.pictures[numbers], maps, size)).logits > 0
        both, either = (found & wanted).sum((1, 2, 3)), (found | wanted).sum((1, 2, 3))
        results.append(both / either.clamp_min(1))
    return torch.cat(results)


def train(
    shards: Path, out: Path, state: Path, minutes: float, batch: int, device: str, start: Path | None = None
) -> None:
    """Trains until the time is over, or goes on where a state lies.

    Args:
        start: folder of the checkpoint to begin with; by default the embedded one.
    """
    began = time.monotonic()
    network = SuperFaceMatteModel.from_pretrained(start or weights_folder("matte"))
    size = network.config.image_size
    stored = min(STORED_SIZE, size * 3 // 2)
    data = load_packed(shards, "train", stored, device, one_face=True)
    held_out = load_packed(shards, "val", stored, device, one_face=True)
    print(f"{len(data)} pictures, {len(held_out)} held out, {time.monotonic() - began:.1f} s to read", flush=True)
    network = network.to(device, memory_format=torch.channels_last)
    fused = device.startswith("cuda")
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=fused)
    run = TimedRun(out, state, "matte", network, {"optimizer": optimizer}, minutes, began)

    def validate(average: nn.Module) -> dict[str, float]:
        found = overlaps(average, held_out, size)
        clips = torch.tensor([kind == "clip" for kind in held_out.kinds], device=found.device)
        return {"iou": float(found.mean()), "iou_clips": float(found[clips].mean()),
                "iou_portraits": float(found[~clips].mean()), "iou_lowest": float(found.min())}  # fmt: skip

    network.train()
    going = run.step == 0 or run.progress < 1
    while going:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * run.rate()
        seen = draw_batch(data, batch, size)
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            logits = network(seen.pictures.to(memory_format=torch.channels_last)).logits
        terms = matte_loss(logits, seen)
        loss = terms["entropy"] + 0.5 * terms["overlap"] + 2 * terms["steepness"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(network, 2.0)
        optimizer.step()
        going = run.tick({"loss": loss, **terms}, batch, validate)


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the matte network.")
    parser.add_argument("--shards", type=Path, required=True, help="folder made by superface_hf.data.pictures.pack")
    parser.add_argument("--out", type=Path, required=True, help="for matte.safetensors and the log")
    parser.add_argument("--state", type=Path, help="for what a training goes on from; by default the same as --out")
    parser.add_argument("--minutes", type=float, default=7, help="everything included")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--init", type=Path, help="checkpoint to begin with; by default the embedded one")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="when done, also write a checkpoint here")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    state = options.state or options.out
    train(options.shards, options.out, state, options.minutes, options.batch, options.device, options.init)
    if options.release:
        model = SuperFaceMatteModel.from_pretrained(options.init or weights_folder("matte"))
        release(options.out / "matte.safetensors", model, options.release)


if __name__ == "__main__":
    main()
