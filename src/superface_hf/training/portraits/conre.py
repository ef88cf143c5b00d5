"""ConRe, a recipe for large sets: a contrastive loss brings voices and faces into one space.

After "See the Speaker" (arXiv 2510.26819). InfoNCE of voice embeddings against FaceSpace latents, with a memory bank, and
negatives of the speaker's own presentation only, so that presentation alone cannot win. It needs sets of VoxCeleb's or
AVSpeech's size (thousands of people). With the hundred people of the embedded weights it learns nothing that generalises, and
it is not used there::

    superface train conre --set pairs=PAIRS.npz --out runs/conre

``PAIRS.npz`` holds ``voices`` (N, 256), ``latents`` (N, D), ``masculine`` (N,) and ``person`` (N,), a row a recording. The same
command resumes from the newest checkpoint in ``out``; the finished weights are in its ``final``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...data.batch import Batch
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.checkpoints import write_network
from ..core.processes import accelerator_for
from ..core.randomness import torch_generator
from ..core.run import TrainingRun


@dataclass
class ConReTrainingConfig:
    """How ConRe is trained.

    Attributes:
        pairs: the file of pairs.
        out: folder for checkpoints, the log and at last the weights.
        size: of the common space.
        batch, bank: pairs of a step in each process, and of earlier steps that are remembered as negatives.
        temperature: of InfoNCE.
        steps, learning_rate: of AdamW.
        momentum: of the averaged encoders, whose outputs the bank holds, and which are released.
        checkpoint_minutes: how often to save.
        seed: of everything that is drawn.
    """

    pairs: Path = Path("pairs.npz")
    out: Path = Path("runs/conre")
    size: int = number(128, low=1)
    batch: int = number(256, low=2)
    bank: int = number(8192, low=0)
    temperature: float = number(0.07, low=1e-3)
    steps: int = number(20000, low=1)
    learning_rate: float = number(3e-4, low=0)
    momentum: float = number(0.999, low=0, high=1)
    checkpoint_minutes: float = number(3.0, low=0)
    seed: int = number(0, low=0)


@dataclass(eq=False)
class VoicePairs(Batch):
    """Recordings and faces of the same people.

    Attributes:
        voices: (B, 256) embeddings.
        latents: (B, D) of the face space.
        masculine: (B,) bool, the presentation.
        person: (B,) who it is, as a number.
    """

    voices: Tensor
    latents: Tensor
    masculine: Tensor
    person: Tensor

    @classmethod
    def load(cls, path: Path) -> VoicePairs:
        """Return all pairs of a file."""
        with np.load(path) as data:
            voices, latents = (torch.from_numpy(data[name]).float() for name in ("voices", "latents"))
            masculine, person = torch.from_numpy(data["masculine"]) > 0.5, torch.from_numpy(data["person"]).long()
        return cls(voices, latents, masculine, person)


class Bank:
    """The newest pairs of earlier steps: the embeddings of their voices and faces, (K, 2, E), and their numbers (K,)."""

    def __init__(self, size: int) -> None:
        self.keys, self.rows = torch.zeros(0, 2, size), torch.zeros(0, dtype=torch.long)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps."""
        return {"keys": self.keys, "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a :meth:`state_dict`."""
        self.keys, self.rows = state["keys"], state["rows"]


class ConRe(nn.Module):
    """Two projections into a common space: of voices (B, 256) and of faces (B, D); both come out with length 1."""

    def __init__(self, voice_size: int, face_size: int, size: int) -> None:
        super().__init__()
        self.voice = _projection(voice_size, size)
        self.face = _projection(face_size, size)

    def forward(self, voices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        normalize = nn.functional.normalize
        return normalize(self.voice(voices), dim=1), normalize(self.face(faces), dim=1)


def info_nce(queries: Tensor, keys: Tensor, same_person: Tensor, same_group: Tensor, temperature: float) -> Tensor:
    """Return the loss of queries (B, E) whose own keys are the first B of (K, E).

    Args:
        same_person: (B, K) true where a key is of the query's own person, and so no negative.
        same_group: (B, K) true where it is of the query's presentation: only those are negatives.
    """
    scores = queries @ keys.T / temperature
    own = torch.arange(len(queries), device=queries.device)
    allowed = same_group & ~same_person
    allowed[own, own] = True
    return nn.functional.cross_entropy(scores.masked_fill(~allowed, float("-inf")), own)


def train(pairs: VoicePairs, config: ConReTrainingConfig, until: int | None = None) -> tuple[TrainingRun, list[float]]:
    """Train to the end, or to step ``until``; continue from the newest checkpoint in ``config.out``.

    Returns:
        The run, whose averaged network is the result, and the loss of every step.
    """
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    model = ConRe(pairs.voices.shape[1], pairs.latents.shape[1], config.size)
    slow = averaged_copy(model, accelerator.device)
    bank = Bank(config.size)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate)
    network, optimizer = accelerator.prepare(model, optimizer)
    accelerator.register_for_checkpointing(bank)
    run = TrainingRun(
        config.out, accelerator, slow, config.momentum, config.checkpoint_minutes, config, steps=config.steps,
        seed=config.seed,
    )  # fmt: skip
    run.resume()
    losses = []
    for step in run.steps_left(until):
        generator = torch_generator(config.seed, step, accelerator.process_index)
        rows = torch.randint(len(pairs.voices), (min(config.batch, len(pairs.voices)),), generator=generator)
        batch = pairs.mapped(lambda values, rows=rows: values[rows]).to(accelerator.device)  # type: ignore[misc]
        loss = _loss(network, slow, batch, pairs, rows, bank, config)
        run.descend(loss, network, optimizer, config.learning_rate, float("inf"))
        losses.append(float(loss.detach()))
        run.tick({"loss": loss.detach()})
    run.save()
    return run, losses


def _loss(
    network: nn.Module, slow: nn.Module, batch: VoicePairs, pairs: VoicePairs, rows: Tensor, bank: Bank,
    config: ConReTrainingConfig,
) -> Tensor:  # fmt: skip
    """Return the InfoNCE loss in both directions, against the batch's own keys and the bank's; the batch's keys join the
    bank."""
    voice, face = network(batch.voices, batch.latents)
    with torch.no_grad():
        fresh = torch.stack(slow(batch.voices, batch.latents), 1)
    keys, of = torch.cat([fresh, bank.keys.to(fresh)]), torch.cat([rows, bank.rows])
    device = fresh.device
    same_person = batch.person[:, None] == pairs.person[of].to(device)[None]
    same_group = batch.masculine[:, None] == pairs.masculine[of].to(device)[None]
    bank.keys, bank.rows = keys[: config.bank].cpu(), of[: config.bank]
    loss = info_nce(voice, keys[:, 1], same_person, same_group, config.temperature)
    return loss + info_nce(face, keys[:, 0], same_person, same_group, config.temperature)


def run(config: ConReTrainingConfig, until: int | None = None) -> Path | None:
    """Train to the end, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    training, _ = train(VoicePairs.load(config.pairs), config, until)
    if training.progress == 1 and training.accelerator.is_main_process:
        write_network(training.averaged, training.final)
    return training.newest_weights


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 2 * outputs), nn.SiLU(), nn.Linear(2 * outputs, outputs))
