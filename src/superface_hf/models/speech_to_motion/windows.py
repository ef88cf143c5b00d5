"""Sample windows of motion for sound that comes in pieces; each window has its own noise and continues the one before.

A window starts ``OVERLAP`` frames before the end of the previous one. In each step of the scheduler these frames are blended
with the previous window's: the first is the previous window's, the last is new. So nothing jumps where windows meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...errors import MotionError
from ...motion import Motion
from .conditioning import MOUTH, SpeechFeatures, empty_condition, scaled_condition
from .motion_vector import motion_size, region_slices, to_vectors
from .noise import scheduler_for

if TYPE_CHECKING:
    from ..audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from .denoiser import MotionDenoiser
    from .lip_refiner import LipRefiner
    from .motion_statistics import MotionStatistics
    from .performance import Performance

# The most that a reference's usual lids and brows change the motion, in spreads; more is attributed to its person's face.
MEAN_LIMIT = 1.0


OVERLAP = 12  # frames that two windows share
# Weights of neighbouring frames, a Gaussian with a standard deviation of one frame: a heavy head does nothing faster, and what
# the network lets it do faster is noise.
STEADY = torch.softmax(-0.5 * torch.arange(-3.0, 4.0) ** 2, dim=0).tolist()
STYLE_DRAW = 2**31 - 1  # the number of the style's random draw, which no window has


class MotionWindowSampler:
    """Samples rows of ``motion_vector`` for a sound that comes in pieces. Memory does not grow with its length.

    Args:
        denoiser, statistics, lip_refiner, audio_to_lip, scheduler: see
            :class:`~superface_hf.pipelines.speech_to_motion.SpeechToMotionPipeline`.
        settings: the settings of the motion.
        previous: the motion to continue; None starts freely.
        seed: the seed of the noise; each window's noise follows from the seed and the window's number.
        spoken: whether rows hold the mouth that speaks; otherwise they hold its offset to audio-to-lip's mouth.
    """

    def __init__(
        self,
        denoiser: MotionDenoiser,
        statistics: MotionStatistics,
        lip_refiner: LipRefiner,
        audio_to_lip: SuperFaceAudioToLipModel,
        scheduler: Any,
        settings: Performance,
        previous: Motion | None,
        seed: int,
        spoken: bool = False,
    ) -> None:
        self._denoiser, self._statistics, self._refiner = denoiser, statistics, lip_refiner
        self._settings, self._seed, self._window, self._spoken = settings, seed, 0, spoken
        self._scheduler = scheduler
        self._features = SpeechFeatures(audio_to_lip, denoiser.config.fps)
        config = denoiser.config
        self._rows = np.empty((0, config.condition_size), np.float32)
        self._heard = empty_condition(config.known_frames, config.condition_size)
        if settings.style is None:
            self._style = statistics.drawn_style(torch.Generator().manual_seed(_mixed(seed, STYLE_DRAW)))
        else:
            self._style = statistics.style(settings.style)
        self._offset = self._mean_of(settings.style)
        if settings.emotion is not None:
            self._offset = self._offset + statistics.emotion(settings.emotion)
        self._known = None if previous is None else self._scaled(previous)
        # (1, OVERLAP, motion_size), scaled: the last window's version of the frames that come next.
        self._shared: Tensor | None = None

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Add samples (N,), and yield the windows (frames, motion_size) that are known now."""
        yield from self.hear(self._features.push(samples))

    def hear(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Add features (n, condition_size), with the mouth not scaled, and yield windows as :meth:`push` does."""
        self._rows = np.concatenate([self._rows, rows])
        frames = self._denoiser.config.frames
        while len(self._rows) >= frames:
            heard, self._rows = self._rows[:frames], self._rows[frames - OVERLAP :]
            yield self._made(heard)[: frames - OVERLAP]

    def flush(self) -> Iterator[np.ndarray]:
        """End the sound, and yield the remaining windows, the last one cut."""
        yield from self.hear(self._features.flush())
        if len(self._rows):
            yield self._made(self._rows)

    @torch.inference_mode()
    def _made(self, heard: np.ndarray) -> np.ndarray:
        """Return the next window, with as many rows as ``heard`` has."""
        config, device = self._denoiser.config, self._denoiser.device
        count = len(heard)
        rest = empty_condition(config.frames - count, config.condition_size)
        condition = np.concatenate([self._heard, scaled_condition(heard, self._statistics), rest])
        passed = count - OVERLAP  # frames that no later window makes again; only the last window has fewer
        self._heard = condition[max(0, passed) : max(0, passed) + config.known_frames]
        told = torch.from_numpy(condition)[None].to(device, self._denoiser.dtype)
        clean = self._denoised(told)
        past = torch.zeros_like(clean[:, : config.known_frames]) if self._known is None else self._known
        self._known = torch.cat([past, clean[:, : max(0, passed)]], dim=1)[:, -config.known_frames :]
        self._shared = clean[:, passed:count] if passed > 0 else None
        rows = self._statistics.played(clean[0].float()).cpu().numpy()
        change = self._lips(told, torch.cat([past, clean], dim=1))[0, config.known_frames :].float().cpu().numpy()
        played = self._played(rows, change)[:count]
        if self._spoken:
            played[:, region_slices()["mouth"]] += heard[:, -MOUTH:]
        return played

    def _denoised(self, condition: Tensor) -> Tensor:
        """Return a scaled sample (1, frames, motion_size) from this window's noise."""
        config, device = self._denoiser.config, condition.device
        scheduler = scheduler_for(self._scheduler, self._settings.num_inference_steps, device)
        generator = torch.Generator().manual_seed(_mixed(self._seed, self._window))
        self._window += 1
        sample = torch.randn((1, config.frames, config.motion_size), generator=generator).to(device, condition.dtype)
        guidance = self._settings.guidance_scale
        both = guidance != 1
        heard = torch.tensor([True, False] if both else [True], device=device)
        copies = len(heard)
        condition = condition.expand(copies, -1, -1)
        known = None if self._known is None else self._known.expand(copies, -1, -1)
        style = self._style.to(device, condition.dtype).expand(copies, -1)
        for step in scheduler.timesteps:
            clean = self._denoiser(sample.expand(copies, -1, -1), step, condition, known, None, heard, style)
            if both:
                clean = clean[1:] + guidance * (clean[:1] - clean[1:])
            sample = scheduler.step(self._steadied(self._joined(clean)), step, sample).prev_sample
        return sample

    def _steadied(self, clean: Tensor) -> Tensor:
        """Return (1, frames, motion_size) with the head smoothed over time."""
        part = region_slices()["head"]
        head, reach = clean[..., part], len(STEADY) // 2
        before = head[:, :1].expand(-1, reach, -1) if self._known is None else self._known[:, -reach:, part]
        padded = torch.cat([before, head, head[:, -1:].expand(-1, reach, -1)], dim=1)
        smooth = sum(weight * padded[:, place : place + head.shape[1]] for place, weight in enumerate(STEADY))
        return torch.cat([clean[..., : part.start], smooth], dim=2)

    def _joined(self, clean: Tensor) -> Tensor:
        """Return (1, frames, motion_size) that starts as the previous window ended."""
        if self._shared is None:
            return clean
        shared = self._shared
        place = (torch.arange(shared.shape[1], device=clean.device) + 0.5) / shared.shape[1]
        weight = (0.5 + 0.5 * torch.cos(math.pi * place)).to(clean.dtype)[:, None]
        begun = weight * shared + (1 - weight) * clean[:, : len(weight)]
        return torch.cat([begun, clean[:, len(weight) :]], dim=1)

    def _lips(self, condition: Tensor, clean: Tensor) -> Tensor:
        """Return the offset (1, known + frames, M) to audio-to-lip's mouth, in its own unit."""
        part = region_slices()["mouth"]
        gate = self._refiner.config.gate
        if gate == 0:
            return torch.zeros_like(clean[..., part])
        return gate * self._refiner(condition, clean[..., part]) * self._statistics.spread[part]

    def _played(self, rows: np.ndarray, lips: np.ndarray) -> np.ndarray:
        """Apply the settings to rows: regions, strength, style and emotion."""
        slices, asked = region_slices(), self._settings.regions
        played = np.zeros_like(rows)
        for region, part in slices.items():
            if region in asked:
                strength = self._settings.strength if region in ("head", "brows") else 1.0
                played[:, part] = strength * rows[:, part]
        played[:, slices["mouth"]] = lips
        return played + self._offset

    def _mean_of(self, style: Motion | str | None) -> np.ndarray:
        """Return the usual position (motion_size,) of lids and brows in a reference motion."""
        offset = np.zeros(motion_size(), np.float32)
        if isinstance(style, Motion):
            spread = self._statistics.spread.cpu().numpy()
            for region in ("eyes", "brows"):
                part = region_slices()[region]
                limit = MEAN_LIMIT * spread[part]
                offset[part] = np.clip(np.median(getattr(style, region), axis=0), -limit, limit)
        return offset

    def _scaled(self, previous: Motion) -> Tensor:
        """Return the last frames of a motion of this pipeline, scaled, (1, known_frames, motion_size).

        Raises:
            MotionError: the motion is too short.
        """
        config = self._denoiser.config
        motion = previous if previous.fps == config.fps else previous.resample(config.fps)
        if len(motion) < config.known_frames:
            raise MotionError(
                f"previous= needs at least {config.known_frames} frames at {config.fps:g} a second, not {len(motion)}."
            )
        motion = motion[-config.known_frames :]
        rows = to_vectors(motion, Motion.neutral(1, motion.fps)) - self._offset
        mouth = region_slices()["mouth"]
        rows[:, mouth] = motion.mouth
        scaled = self._statistics.scale(torch.from_numpy(rows)[None].to(self._denoiser.device)) / self._statistics.gain
        return scaled.to(self._denoiser.dtype)


def _mixed(seed: int, number: int) -> int:
    """Return a different seed for each number."""
    words = np.random.SeedSequence([seed, number]).generate_state(2)
    return int(words[0]) << 20 ^ int(words[1])


class Resampled:
    """Resamples rows that come in pieces, by linear interpolation; the last row is held."""

    def __init__(self, fps: float, to: float) -> None:
        self._step = fps / to
        self._rows: np.ndarray | None = None
        self._first = self._done = 0

    def push(self, rows: np.ndarray) -> np.ndarray:
        """Add rows (n, C), and return the resampled rows (m, C) that are known now."""
        self._rows = rows if self._rows is None else np.concatenate([self._rows, rows])
        return self._read(math.inf)

    def flush(self, total: int) -> np.ndarray:
        """Return the remaining rows up to ``total``."""
        if self._rows is None:
            return np.empty((0, motion_size()), np.float32)
        lacking = math.ceil(self._step * total) + 2 - self._first - len(self._rows)
        self._rows = np.concatenate([self._rows, np.repeat(self._rows[-1:], max(0, lacking), axis=0)])
        return self._read(total)

    def _read(self, limit: float) -> np.ndarray:
        assert self._rows is not None
        known = self._first + len(self._rows)
        stop = int(min(limit, math.floor(round((known - 1) / self._step, 6)) + 1))
        position = np.round(np.arange(self._done, max(self._done, stop)) * self._step, 6)
        before = np.floor(position).astype(int)
        share = (position - before)[:, None].astype(np.float32)
        after = np.minimum(before + 1, known - 1) - self._first
        before -= self._first
        rows = (1 - share) * self._rows[before] + share * self._rows[after]
        self._done += len(rows)
        passed = min(max(0, math.floor(round(self._done * self._step, 6)) - self._first), len(self._rows) - 1)
        self._rows, self._first = self._rows[passed:], self._first + passed
        return rows
