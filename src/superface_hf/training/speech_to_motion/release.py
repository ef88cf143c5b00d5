"""Puts the parts of a trained motion diffusion together, as they are shipped: in half precision, with styles and emotions.

::

    python -m superface_hf.training.speech_to_motion.release runs/speech_to_motion/final runs/lip_refiner \\
        .cache/emotions.npz -o src/superface_hf/weights/speech_to_motion
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler

from ...models.speech_to_motion.denoiser import MotionDenoiser
from ...models.speech_to_motion.lip_refiner import LipRefiner
from ...models.speech_to_motion.motion_statistics import STYLE_PARTS, MotionStatistics
from .emotions import shown

# Styles by how many standard deviations they are from the usual one, over the people who were trained on.
STYLES = {"calm": -1.0, "usual": 0.0, "lively": 1.0}


def complete_statistics(scales: MotionStatistics, emotions: dict[str, np.ndarray]) -> MotionStatistics:
    """The same scales, with styles and emotions by name."""
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


def release(diffusion: Path, refiner: Path, emotions: Path, out: Path) -> None:
    """Writes ``denoiser``, ``statistics``, ``lip_refiner`` and ``scheduler`` below ``out``."""
    with np.load(emotions) as offsets:
        measured = {name: offsets[name] for name in offsets.files}
    MotionDenoiser.from_pretrained(diffusion / "denoiser").half().save_pretrained(out / "denoiser")
    scales = MotionStatistics.from_pretrained(diffusion / "statistics")
    complete_statistics(scales, measured).save_pretrained(out / "statistics")
    LipRefiner.from_pretrained(refiner).half().save_pretrained(out / "lip_refiner")
    DDIMScheduler.from_pretrained(diffusion / "scheduler").save_pretrained(out / "scheduler")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("diffusion", type=Path, help="the diffusion's final folder")
    parser.add_argument("refiner", type=Path, help="the lip refiner's folder")
    parser.add_argument("emotions", type=Path, help="what emotions.py wrote")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    release(options.diffusion, options.refiner, options.emotions, options.out)


if __name__ == "__main__":
    main()
