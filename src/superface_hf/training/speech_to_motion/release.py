"""Put the parts of a trained motion diffusion together, as they are shipped: in half precision, with styles and emotions.

::

    python -m superface_hf.training.speech_to_motion.release runs/speech_to_motion/final runs/lip_refiner/final \\
        .cache/emotions.npz --data $SUPERFACE_DATA --cache .cache/speech_to_motion -o src/superface_hf/weights/speech_to_motion
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler

from ...models.speech_to_motion.denoiser import MotionDenoiser
from ...models.speech_to_motion.lip_refiner import LipRefiner
from ...models.speech_to_motion.motion_statistics import STYLE_PARTS, MotionStatistics
from ...models.speech_to_motion.motion_vector import region_slices
from ...models.speech_to_motion.performance import GUIDANCE, Performance
from .clips import MotionClip, load_motion_clips
from .emotions import shown
from .windows import MotionWindows

GAIN_WINDOWS, MOST_GAIN = 96, 2.0
MOVED = ("eyes", "brows", "gaze", "head")
# Styles by how many standard deviations they are from the usual one, over the people who were trained on.
STYLES = {"calm": -1.0, "usual": 0.0, "lively": 1.0}


def complete_statistics(scales: MotionStatistics, emotions: dict[str, np.ndarray]) -> MotionStatistics:
    """Add named styles and emotions to the scales."""
    emotions = shown(emotions)
    names = sorted(emotions)
    statistics = MotionStatistics(scales.config.motion_size, tuple(STYLES), tuple(names))
    for name in ("mean", "spread", "style_mean", "style_spread", "style_middle", "style_factor"):
        getattr(statistics, name).copy_(getattr(scales, name))
    codes = torch.tensor(list(STYLES.values()))[:, None].expand(-1, len(STYLE_PARTS)).clone()
    codes[:, STYLE_PARTS.index("mouth")] = 0  # the mouth is audio-to-lip's
    statistics.style_codes.copy_(codes)
    statistics.emotion_offsets.copy_(torch.from_numpy(np.stack([emotions[name] for name in names])))
    return statistics


@torch.inference_mode()
def measured_gain(
    denoiser: MotionDenoiser, statistics: MotionStatistics, scheduler: DDIMScheduler, clips: Sequence[MotionClip]
) -> torch.Tensor:
    """Return factors (motion_size,): how much further people go than what the diffusion makes of their sound and style, 1 to 2.

    Few steps, and a network that is not trained to the end, fall short of people's spread.
    """
    windows = MotionWindows(clips, statistics, 7, denoiser.config.frames, denoiser.config.known_frames, 0.5)
    batch = windows.collate([windows[index] for index in range(GAIN_WINDOWS)])
    before = denoiser.config.known_frames
    known, truth, valid = batch.motion[:, :before], batch.motion[:, before:], batch.valid[:, before:].bool()
    sample = torch.randn(truth.shape, generator=torch.Generator().manual_seed(7))
    deaf = torch.zeros(GAIN_WINDOWS, dtype=torch.bool)
    scheduler.set_timesteps(Performance().num_inference_steps)
    for step in scheduler.timesteps:
        heard, unheard = (
            denoiser(sample, step, batch.condition, known, batch.known_given, ears, batch.style)
            for ears in (~deaf, deaf)
        )
        sample = scheduler.step(unheard + GUIDANCE * (heard - unheard), step, sample).prev_sample
    gain = torch.ones(truth.shape[-1])
    for region in MOVED:
        part = region_slices()[region]
        gain[part] = (truth[..., part][valid].std(0) / sample[..., part][valid].std(0)).clamp(1, MOST_GAIN)
    return gain


def release(diffusion: Path, refiner: Path, emotions: Path, clips: Sequence[MotionClip], out: Path) -> None:
    """Write ``denoiser``, ``statistics``, ``lip_refiner`` and ``scheduler`` below ``out``."""
    with np.load(emotions) as offsets:
        measured = {name: offsets[name] for name in offsets.files}
    MotionDenoiser.from_pretrained(diffusion / "denoiser").half().save_pretrained(out / "denoiser")
    scales = MotionStatistics.from_pretrained(diffusion / "statistics")
    statistics = complete_statistics(scales, measured)
    denoiser = MotionDenoiser.from_pretrained(diffusion / "denoiser").eval()
    scheduler = DDIMScheduler.from_pretrained(diffusion / "scheduler")
    statistics.gain.copy_(measured_gain(denoiser, scales, scheduler, clips))
    statistics.save_pretrained(out / "statistics")
    LipRefiner.from_pretrained(refiner).half().save_pretrained(out / "lip_refiner")
    DDIMScheduler.from_pretrained(diffusion / "scheduler").save_pretrained(out / "scheduler")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("diffusion", type=Path, help="the diffusion's final folder")
    parser.add_argument("refiner", type=Path, help="the lip refiner's folder")
    parser.add_argument("emotions", type=Path, help="what emotions.py wrote")
    parser.add_argument("--data", type=Path, required=True, help="as of the training")
    parser.add_argument("--cache", type=Path, required=True, help="likewise: people's spread is measured there")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    people = [clip for clip in load_motion_clips(options.data, options.cache) if not clip.held_out]
    release(options.diffusion, options.refiner, options.emotions, people, options.out)


if __name__ == "__main__":
    main()
