"""The training of one part of the tracker: what detector, regressor and both refiners share."""

from __future__ import annotations

import copy
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ...data.batch import Batch
from ...models.backbone import LiteBackbone
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.checkpoints import WEIGHTS_FILE, write_network
from ..core.randomness import numpy_generator, torch_generator
from ..core.run import TrainingRun
from ..core.schedules import cosine_after_warmup

BatchT = TypeVar("BatchT", bound=Batch)
LOG_EVERY = 50  # steps


@dataclass
class PartTrainingConfig:
    """How long a part of the tracker is trained, on what, and where to.

    Attributes:
        prepared: a set of ``superface prepare --labels mediapipe``.
        out: folder for checkpoints, the log and at last the weights.
        steps, minutes: the learning rate reaches zero at whichever comes first.
        batch: items a step, in each process.
        learning_rate: the highest, of AdamW.
        weight_decay: of AdamW.
        checkpoint_seconds: how often to save, and to measure the averaged weights.
        seed: of everything that is drawn.
    """

    prepared: Path = Path(".cache/prepared")
    out: Path = Path("runs/tracker_part")
    steps: int = number(1_000_000, low=1)
    minutes: float = number(15.0, low=0.01)
    batch: int = number(12, low=1)
    learning_rate: float = number(2e-3, low=0)
    weight_decay: float = number(0.02, low=0)
    checkpoint_seconds: float = number(150.0, low=0)
    seed: int = number(0, low=0)


@dataclass
class DomainShares:
    """How much of a training each kind of picture gets.

    Attributes:
        clips: frames of the clips.
        portraits_small, portraits_large: the two tables of portraits.
    """

    clips: float = number(0.5, low=0)
    portraits_small: float = number(0.27, low=0)
    portraits_large: float = number(0.23, low=0)

    @property
    def shares(self) -> dict[str, float]:
        """The shares by the names of the kinds."""
        return {
            "clips": self.clips,
            "portraits_small": self.portraits_small,
            "portraits_large": self.portraits_large,
        }


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step in one process."""

    numpy: np.random.Generator
    torch: torch.Generator

    @classmethod
    def of(cls, *numbers: int) -> Draws:
        """Return the random numbers that follow from whole numbers: the seed, the step, the process."""
        return cls(numpy_generator(*numbers), torch_generator(*numbers))


@dataclass(frozen=True)
class Part(Generic[BatchT]):
    """A part of the tracker, and how it learns.

    Attributes:
        network: what is trained.
        rates: groups of parameters, each with its highest learning rate.
        draw: a batch by the random numbers of a step.
        loss: the terms of a batch's loss by their names; ``loss`` is what is minimised.
        measure: measures a network on people who are not trained on.
        ema: decay of the averaged weights, which are the result.
        warmup: steps over which the learning rate rises.
        clip_norm: longer gradients are shortened to this.
        frozen_stages: see :func:`frozen_modules`.
    """

    network: nn.Module
    rates: list[tuple[list[nn.Parameter], float]]
    draw: Callable[[Draws], BatchT]
    loss: Callable[[nn.Module, BatchT], Mapping[str, Tensor]]
    measure: Callable[[nn.Module], Mapping[str, float]]
    ema: float
    warmup: int = 100
    clip_norm: float = 1.0
    frozen_stages: int = 0


def train_part(
    part: Part[BatchT], config: PartTrainingConfig, accelerator: Accelerator, until: int | None = None,
    settle: Callable[[nn.Module], None] | None = None,
) -> Path | None:  # fmt: skip
    """Train until steps or minutes are over, or to step ``until``; continue from the newest checkpoint in ``config.out``.

    Args:
        settle: changes the averaged weights in the end, before they are written.

    Returns:
        The file of the weights, as far as they got; None in all processes except the main one.
    """
    freeze_stages(part.network, part.frozen_stages)
    groups = [{"params": [p for p in parameters if p.requires_grad]} for parameters, _ in part.rates]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    averaged = averaged_copy(part.network, accelerator.device)
    network, optimizer = accelerator.prepare(part.network, optimizer)
    run = TrainingRun(
        config.out, accelerator, averaged, part.ema, config.checkpoint_seconds / 60, config, log_every=LOG_EVERY,
        steps=config.steps, minutes=config.minutes, seed=config.seed,
    )  # fmt: skip
    run.resume()
    for step in run.steps_left(until):
        batch = part.draw(Draws.of(config.seed, step, accelerator.process_index)).to(accelerator.device)
        train_mode(network, accelerator.unwrap_model(network), part.frozen_stages)
        terms = part.loss(network, batch)
        factor = cosine_after_warmup(step, part.warmup, run.progress)
        run.descend(terms["loss"], network, optimizer, [factor * peak for _, peak in part.rates], part.clip_norm)
        run.tick({name: term.detach() for name, term in terms.items()}, measure=lambda: part.measure(averaged))
    run.save(measure=lambda: part.measure(averaged))
    if not accelerator.is_main_process:
        return None
    if run.progress < 1:
        return run.out / "checkpoint" / "averaged" / WEIGHTS_FILE
    final = copy.deepcopy(averaged)
    if settle is not None:
        settle(final)
    write_network(final, run.final)
    return run.final / WEIGHTS_FILE


def frozen_modules(backbone: LiteBackbone, stages: int) -> list[nn.Module]:
    """Return the stem and the first ``stages`` stages, which keep their ImageNet weights; none at 0."""
    return [backbone.stem, *backbone.stages[:stages]] if stages else []


def freeze_stages(network: nn.Module, stages: int) -> None:
    """Take a network's frozen stages out of training, so that no gradient is computed for them."""
    for module in frozen_modules(typing.cast(LiteBackbone, network.backbone), stages) if stages else []:
        module.requires_grad_(False)


def train_mode(wrapped: nn.Module, network: nn.Module, stages: int) -> None:
    """Bring a network into training mode, except for the batch norms of its frozen stages."""
    wrapped.train()
    for module in frozen_modules(typing.cast(LiteBackbone, network.backbone), stages) if stages else []:
        module.eval()


def backbone_and_heads(network: nn.Module, backbone_rate: float, rate: float) -> list[tuple[list[nn.Parameter], float]]:
    """Return the parameters of a network on an ImageNet backbone, in two groups with a learning rate each."""
    named = list(network.named_parameters())
    backbone = [parameter for name, parameter in named if name.startswith("backbone.")]
    heads = [parameter for name, parameter in named if not name.startswith("backbone.")]
    return [(backbone, backbone_rate), (heads, rate)]
