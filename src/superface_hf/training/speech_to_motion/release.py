"""Put the parts of a trained motion diffusion together, as they are shipped: in half precision, with styles and emotions.

::

    python -m superface_hf.training.speech_to_motion.release runs/speech_to_motion/final runs/lip_refiner/final \\
        .cache/emotions.npz --data $SUPERFACE_DATA --cache .cache/speech_to_motion -o src/superface_hf/weights/speech_to_motion
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler

from ...models.embedded import embedded_audio_to_lip
from ...models.speech_to_motion.denoiser import MotionDenoiser
from ...models.speech_to_motion.lip_refiner import LipRefiner
from ...models.speech_to_motion.motion_statistics import STYLE_PARTS, MotionStatistics
from ...models.speech_to_motion.motion_vector import region_slices
from ...models.speech_to_motion.performance import MOVED, Performance
from ...models.speech_to_motion.windows import MotionWindowSampler
from .clips import MotionClip, load_motion_clips
from .emotions import shown

MOST_GAIN = 2.0
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


def measured_gain(
    denoiser: MotionDenoiser, statistics: MotionStatistics, scheduler: Any, clips: Sequence[MotionClip]
) -> torch.Tensor:
    """Return factors (motion_size,), 1 to 2: how much further people go in a clip than the diffusion lets them.

    It is measured over whole clips, each window continuing the diffusion's own: a window that continues a real one is held
    where the real one was.
    """
    still, audio_to_lip = LipRefiner(gate=0.0), embedded_audio_to_lip()
    people, made = np.zeros(statistics.config.motion_size), np.zeros(statistics.config.motion_size)
    for number, clip in enumerate(clips):
        sampler = MotionWindowSampler(denoiser, statistics, still, audio_to_lip, scheduler, Performance(), None, number)
        people += clip.vectors.std(0)
        made += np.concatenate([*sampler.hear(clip.condition), *sampler.flush()]).std(0)
    gain = torch.ones(statistics.config.motion_size)
    for region in MOVED:
        part = region_slices()[region]
        gain[part] = torch.from_numpy(people[part] / made[part]).clamp(1, MOST_GAIN)
    return gain


def release(diffusion: Path, refiner: Path, emotions: Path, clips: Sequence[MotionClip], out: Path) -> None:
    """Write ``denoiser``, ``statistics``, ``lip_refiner`` and ``scheduler`` below ``out``."""
    with np.load(emotions) as offsets:
        measured = {name: offsets[name] for name in offsets.files}
    MotionDenoiser.from_pretrained(diffusion / "denoiser").half().save_pretrained(out / "denoiser")
    scales = MotionStatistics.from_pretrained(diffusion / "statistics")
    statistics = complete_statistics(scales, measured)
    denoiser = MotionDenoiser.from_pretrained(diffusion / "denoiser").eval()
    scheduler = DPMSolverMultistepScheduler.from_pretrained(diffusion / "scheduler")
    statistics.gain.copy_(measured_gain(denoiser, scales, scheduler, clips))
    statistics.save_pretrained(out / "statistics")
    LipRefiner.from_pretrained(refiner).half().save_pretrained(out / "lip_refiner")
    scheduler.save_pretrained(out / "scheduler")


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
