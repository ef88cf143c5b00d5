"""Trains the teacher on pairs of frames of one person.

::

    python -m superface_hf.training.teacher --prepared .cache/prepared --out runs/teacher

Resumes by itself from the newest checkpoint in ``--out``; ``--init`` starts from released weights instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..face_model.linear import FaceModel
from ..face_model.mesh_image import OPENING_CHANNELS, opening_image
from ..face_model.topology import LEFT_EYE, LIPS, RIGHT_EYE
from ..models.teacher.configuration_teacher import SuperFaceTeacherConfig
from ..models.teacher.modeling_teacher import SuperFaceTeacherModel, TeacherOutput
from .adversarial import PatchDiscriminator, discriminator_loss, feature_matching, generator_loss
from .losses import PerceptualDistance, coarse_l2, coarse_warp_l1, pyramid_l1, region_weights, windows
from .reenactment_data import PairSampling, ReenactmentPairs
from .run import TrainingRun, channels_last, falling_rate, parse_config
from .still_pairs import StillPairs
from .teacher_validation import ValidationClips, validate

# Sides of the windows that the perceptual distance looks at, in 32nds of the picture's side (the face's at half resolution).
FACE_WINDOW, MOUTH_WINDOW, EYE_WINDOW = 9, 7, 5


@dataclass
class TeacherTrainingConfig:
    """What is trained, on what, for how long.

    Attributes:
        prepared: folder written by ``training.prepare``.
        out: folder for checkpoints, logs and validation sheets.
        init: folder with weights to start from; None starts from the plain mesh flow.
        steps, batch_size: length of the training.
        learning_rate: of AdamW after ``warmup`` steps; over the last ``decay`` steps it falls linearly to a twentieth.
        region_emphasis, opening_emphasis: how much more an error on lips and eyes counts, and one inside open ones.
        perceptual: weight of the perceptual distance (0 leaves it out).
        coarse: weight of the squared error at an eighth of the resolution.
        flow: weight of the error of small copies of the source after the flow, which shows the flow the way from far off.
        warp: weight of the error of the warped pixels alone, which trains the flow where the mask would excuse it.
        generated: weight of the error of the painted pixels alone, which trains them also where the mask keeps the warped.
        keep: weight of the pull toward keeping warped pixels.
        adversarial, matching: weights of a discriminator of mouths and eyes, and of the match of its features; 0 and 0
            train without one.
        ema: decay of the averaged weights that are released.
        stills: share of the pairs made from still portraits (see ``StillPairs``); 0 trains on clips alone.
        compile: whether to ``torch.compile`` the convolutional parts (a minute or two once, then about a third faster).
        validate_every, checkpoint_minutes: how often to look and to save.
    """

    prepared: str = ".cache/prepared"
    out: str = "runs/teacher"
    init: str | None = None
    steps: int = 4300
    batch_size: int = 8
    learning_rate: float = 6e-4
    warmup: int = 50
    decay: int = 480
    region_emphasis: float = 10.0
    opening_emphasis: float = 60.0
    perceptual: float = 0.01
    coarse: float = 4.0
    flow: float = 2.0
    warp: float = 0.6
    generated: float = 0.3
    keep: float = 0.0015
    adversarial: float = 0.03
    matching: float = 2.0
    ema: float = 0.995
    seed: int = 0
    workers: int = 1
    stills: float = 0.08
    compile: bool = True
    validate_every: int = 500
    checkpoint_minutes: float = 4.0
    mixed_precision: str = "bf16"


class TeacherLoss:
    """The training objective: pixels at four scales, perceptual distance, and a pull toward the warped pixel."""

    def __init__(self, config: TeacherTrainingConfig, device: torch.device) -> None:
        self.config = config
        self.perceptual = None
        if config.perceptual:
            from .imagenet import imagenet_backbone

            self.perceptual = channels_last(PerceptualDistance(imagenet_backbone()).to(device))

    def __call__(self, output: TeacherOutput, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        target = batch["target"]
        weights = region_weights(
            batch["target_landmarks"], target.shape[-1] // 2, config.region_emphasis, config.opening_emphasis
        )
        frames, wanted, warped, generated = (
            F.avg_pool2d(x, 2) for x in (output.frames, target, output.warped, output.generated)
        )
        terms = {
            "l1": pyramid_l1(frames, wanted, weights, levels=4),
            "warp": pyramid_l1(warped, wanted, weights, levels=1),
            "generated": pyramid_l1(generated, wanted, weights, levels=1),
            "keep": (1 - output.keep).mean(),
        }
        # Footage of half the resolution has nothing to say about the finest pixels.
        sharp = batch["sharp"][:, None, None, None].float()
        terms["fine"] = ((output.frames - target).abs() * sharp).mean()
        terms["coarse"] = coarse_l2(frames, wanted, factor=4)
        size = target.shape[-1]
        sizes = tuple(size // factor for factor in (16, 8, 4))
        terms["flow"] = coarse_warp_l1(batch["source"], output.motion.flow, target, sizes)
        loss = terms["l1"] + 0.5 * terms["fine"] + config.coarse * terms["coarse"] + config.flow * terms["flow"]
        loss = loss + config.warp * terms["warp"] + config.generated * terms["generated"] + config.keep * terms["keep"]
        if self.perceptual is not None:
            terms["perceptual"] = self.perceived(output, batch)
            loss = loss + config.perceptual * terms["perceptual"]
        return loss, {name: float(value.detach()) for name, value in terms.items()}

    def perceived(self, output: TeacherOutput, batch: dict[str, Tensor]) -> Tensor:
        """Perceptual distance of the face at half the resolution, and of the mouth and one eye at full resolution."""
        assert self.perceptual is not None
        frames, target, landmarks = output.frames, batch["target"], batch["target_landmarks"]
        halves = (F.avg_pool2d(frames, 2), F.avg_pool2d(target, 2))
        total = self.perceptual(*windows(landmarks[..., :2].mean(1), halves, FACE_WINDOW * frames.shape[-1] // 32))
        for rendered, wanted, _ in close_ups(output.frames, batch):
            total = total + self.perceptual(rendered, wanted)
        return total


def close_ups(frames: Tensor, batch: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Full-resolution windows at the mouth and at one eye, of the samples whose footage has that resolution.

    Returns, for mouth and eye: rendered, wanted (B', 3, s, s), and the drawing of how open they are (B', 3, s, s).
    """
    sharp = batch["sharp"]
    if not sharp.any():
        return []
    landmarks, size = batch["target_landmarks"][sharp], frames.shape[-1]
    with torch.autocast(frames.device.type, enabled=False):
        openings = opening_image(landmarks.float(), size // 2)
    pictures = (frames[sharp], batch["target"][sharp], F.interpolate(openings, scale_factor=2.0))
    eye = (LEFT_EYE, RIGHT_EYE)[int(torch.randint(2, ()))]
    return [
        windows(landmarks[:, points, :2].mean(1), pictures, share * size // 32)  # type: ignore[misc]
        for points, share in ((LIPS, MOUTH_WINDOW), (eye, EYE_WINDOW))
    ]


class Judge:
    """The discriminator of mouths and eyes, and its training."""

    def __init__(self, accelerator: Accelerator, config: TeacherTrainingConfig) -> None:
        self.accelerator, self.config = accelerator, config
        network = channels_last(PatchDiscriminator(OPENING_CHANNELS))
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.5 * config.learning_rate, betas=(0.5, 0.99))
        self.network, self.optimizer = accelerator.prepare(network, optimizer)

    def __call__(self, patches: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, dict[str, float]]:
        """What the judgement adds to the renderer's loss, for patches from :func:`close_ups`."""
        passing, matching = [], []
        for rendered, wanted, condition in patches:
            fake = self.network(rendered, condition)
            with torch.no_grad():
                real = self.network(wanted, condition)
            passing.append(generator_loss(fake))
            matching.append(feature_matching(real, fake))
        terms = {"passing": torch.stack(passing).mean(), "matching": torch.stack(matching).mean()}
        loss = self.config.adversarial * terms["passing"] + self.config.matching * terms["matching"]
        return loss, {name: float(value.detach()) for name, value in terms.items()}

    def learn(self, patches: list[tuple[Tensor, Tensor, Tensor]]) -> float:
        """One step of the discriminator on the same patches; returns its loss."""
        self.optimizer.zero_grad()
        with self.accelerator.autocast():
            losses = [
                discriminator_loss(self.network(wanted, condition), self.network(rendered.detach(), condition))
                for rendered, wanted, condition in patches
            ]
            loss = torch.stack(losses).mean()
        self.accelerator.backward(loss)
        self.optimizer.step()
        return float(loss.detach())


class TeacherTrainer:
    """One training run; ``train()`` goes on from the newest checkpoint, exactly where it stopped."""

    def __init__(self, config: TeacherTrainingConfig, model_config: SuperFaceTeacherConfig | None = None) -> None:
        self.config = config
        set_seed(config.seed)
        self.accelerator = Accelerator(mixed_precision=config.mixed_precision)
        if config.init:
            model = SuperFaceTeacherModel.from_pretrained(config.init, dtype=torch.float32)
        else:
            model = SuperFaceTeacherModel(model_config or SuperFaceTeacherConfig())
            model.canonical.copy_(FaceModel.default().mean)
        self.averaged = SuperFaceTeacherModel(model.config).eval().requires_grad_(False)
        self.averaged.load_state_dict(model.state_dict())
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        self.model, self.optimizer = self.accelerator.prepare(channels_last(model), optimizer)
        channels_last(self.averaged).to(self.accelerator.device)
        self.judge: Judge | None = None
        if config.adversarial or config.matching:
            self.judge = Judge(self.accelerator, config)
        self.loss = TeacherLoss(config, self.accelerator.device)
        out = Path(config.out)
        self.run = TrainingRun(out, self.accelerator, self.averaged, config.ema, config.checkpoint_minutes, config)
        if config.compile:
            # Only the convolutional parts: the geometry in between gains nothing and would be traced again for each shape.
            network = self.accelerator.unwrap_model(self.model)
            for part in (network.appearance_encoder, network.dense_motion.unet, network.generator):
                part.compile()

    def train(self, until: int | None = None) -> None:
        """Trains to the end, or to step ``until``; writes a checkpoint in both cases."""
        config = self.config
        self.run.resume()
        sampling = PairSampling(image_size=self.averaged.config.image_size, stills=config.stills)
        stills = StillPairs(Path(config.prepared)) if config.stills else None
        data = ReenactmentPairs(
            Path(config.prepared),
            config.steps * config.batch_size,
            config.seed,
            sampling,
            stills,
        )
        rest = Subset(data, range(self.run.step * config.batch_size, (until or config.steps) * config.batch_size))
        loader = self.accelerator.prepare(
            DataLoader(
                rest, config.batch_size, num_workers=config.workers, prefetch_factor=4 if config.workers else None
            )
        )
        validation = ValidationClips(Path(config.prepared)) if config.validate_every else None
        for batch in loader:
            self.run.tick(self._train_step(batch))
            step = self.run.step
            if validation is not None and step % config.validate_every == 0:
                sheet = self.run.out / f"validation_{step:06d}.png"
                self.run.log({"step": step, "validation": validate(self.averaged, validation, sheet)})
        self.run.save()

    def _train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        config = self.config
        rate = config.learning_rate * falling_rate(self.run.step, config.steps, config.warmup, config.decay)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = {key: value.to(self.accelerator.device) for key, value in batch.items()}
        for key in ("source", "target"):
            batch[key] = (batch[key].float() / 255).contiguous(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            output = self.model(batch["source"], batch["source_landmarks"], batch["target_landmarks"])
            loss, terms = self.loss(output, batch)
            patches = close_ups(output.frames, batch) if self.judge else []
            if self.judge and patches:
                judged, judged_terms = self.judge(patches)
                loss, terms = loss + judged, {**terms, **judged_terms}
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.judge and patches:
            terms["judge"] = self.judge.learn(patches)
        self.run.follow(self.model)
        return {**terms, "gradient": float(norm)}


if __name__ == "__main__":
    TeacherTrainer(parse_config(TeacherTrainingConfig, __doc__)).train()
