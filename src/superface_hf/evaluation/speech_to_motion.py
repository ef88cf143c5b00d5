"""Evaluate the motion diffusion on held-out people, beside chance, the idle driver and real motion.

::

    python -m superface_hf.evaluation.speech_to_motion --data $SUPERFACE_DATA --cache .cache/speech_to_motion --out results
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..drivers.idle import IdleMotion
from ..face_model.lips import mouth_opening
from ..metrics.movement import (
    WINDOW,
    head_beat_correlation,
    head_diversity,
    head_jitter,
    head_spread,
    motion_frechet_distance,
)
from ..models.speech_to_motion.conditioning import MOUTH
from ..models.speech_to_motion.motion_vector import from_vectors
from ..models.speech_to_motion.performance import Performance
from ..models.speech_to_motion.windows import OVERLAP, MotionWindowSampler
from ..motion import Motion
from ..pipelines.speech_to_motion import SpeechToMotionPipeline
from ..training.audio_to_lip.validation import correlation
from ..training.speech_to_motion.clips import FPS, MotionClip, load_motion_clips

SEEDS = 5
WINDOW_HOP = 75 - OVERLAP  # frames from one window of the embedded diffusion to the next
Mover = Callable[[MotionClip, int], Motion]


def diffused(pipeline: SpeechToMotionPipeline, performance: Performance) -> Mover:
    """Return the pipeline's motion for a clip's sound, including the mouth."""

    def move(clip: MotionClip, seed: int) -> Motion:
        sampler = MotionWindowSampler(
            pipeline.denoiser, pipeline.statistics, pipeline.lip_refiner, pipeline.audio_to_lip, pipeline.scheduler,
            performance, None, seed,
        )  # fmt: skip
        rows = np.concatenate([*sampler.hear(clip.condition), *sampler.flush()])
        motion = from_vectors(rows, FPS)
        return replace(motion, mouth=motion.mouth + clip.condition[:, -MOUTH:])

    return move


def idling(clip: MotionClip, seed: int) -> Motion:
    """Return the idle driver's motion."""
    motion = IdleMotion(seed=seed).motion(len(clip.vectors), FPS, clip.loudness)
    return replace(motion, mouth=clip.condition[:, -MOUTH:])


def still(clip: MotionClip, seed: int) -> Motion:
    """Return a motion in which only the mouth moves."""
    return replace(Motion.neutral(len(clip.vectors), FPS), mouth=clip.condition[:, -MOUTH:])


def figures(move: Mover, clips: Sequence[MotionClip], seeds: int = SEEDS) -> dict[str, list[float]]:
    """Return each figure once per seed, except the diversity, which compares seeds."""
    real = [from_vectors(clip.vectors, FPS) for clip in clips]
    made = [[move(clip, 1000 * seed + number) for number, clip in enumerate(clips)] for seed in range(seeds)]
    spread = head_spread(real)
    table: dict[str, list[float]] = {
        "motion_frechet_distance": [motion_frechet_distance(motions, real) for motions in made],
        "head_beat_correlation": [
            float(np.mean([head_beat_correlation(m, clip.loudness) for m, clip in zip(motions, clips, strict=True)]))
            for motions in made
        ],
        "head_jitter": [float(np.mean([head_jitter(motion) for motion in motions])) for motions in made],
        "mouth_opening_correlation": [
            float(np.mean([_in_step(motion, clip) for motion, clip in zip(motions, clips, strict=True)]))
            for motions in made
        ],
        "head_step_where_windows_meet": [joins[0] for joins in map(head_steps, made)],
        "head_step_elsewhere": [joins[1] for joins in map(head_steps, made)],
        "head_diversity": [float(np.mean([head_diversity([m[n] for m in made]) for n in range(len(clips))]))],
    }
    for index, axis in enumerate(("pitch", "yaw", "roll")):
        table[f"{axis}_spread_of_real"] = [float(head_spread(motions)[index] / spread[index]) for motions in made]
    return table


def head_steps(motions: Sequence[Motion]) -> tuple[float, float]:
    """Return how far the head goes in a frame, degrees: the mean where two windows of the embedded diffusion meet, and
    elsewhere."""
    meeting, elsewhere = [], []
    for motion in motions:
        steps = np.degrees(np.linalg.norm(np.diff(motion.rotation, axis=0), axis=1))
        meets = np.arange(1, len(motion)) % WINDOW_HOP == 0
        meeting.append(steps[meets])
        elsewhere.append(steps[~meets])
    return float(np.concatenate(meeting).mean()), float(np.concatenate(elsewhere).mean())


def references(shown: Sequence[MotionClip], unseen: Sequence[MotionClip]) -> dict[str, float]:
    """Return the figures of real motion: other people against the evaluated ones, two halves of those, and the true
    head with the sound."""
    mine, others = ([from_vectors(clip.vectors, FPS) for clip in clips] for clips in (unseen, shown))
    wrong = [*unseen[1:], unseen[0]]
    chance = []
    for motion, clip in zip(mine, wrong, strict=True):
        frames = min(len(motion), len(clip.loudness))
        chance.append(head_beat_correlation(motion[:frames], clip.loudness[:frames]))
    return {
        "motion_frechet_distance_of_other_people": motion_frechet_distance(others, mine),
        "motion_frechet_distance_of_halves": motion_frechet_distance(mine[::2], mine[1::2]),
        "head_beat_correlation": float(
            np.mean([head_beat_correlation(motion, clip.loudness) for motion, clip in zip(mine, unseen, strict=True)])
        ),
        "head_beat_correlation_with_another_sound": float(np.mean(chance)),
        "head_jitter": float(np.mean([head_jitter(motion) for motion in mine])),
        **dict(zip(("pitch", "yaw", "roll"), map(float, head_spread(mine)), strict=True)),
    }


def measurable(clips: Sequence[MotionClip]) -> list[MotionClip]:
    """Return the longest stretch of each clip that lasts at least two seconds."""
    longest: dict[str, MotionClip] = {}
    for clip in clips:
        if len(clip.vectors) >= max(WINDOW, len(longest[clip.name].vectors) + 1 if clip.name in longest else 0):
            longest[clip.name] = clip
    return list(longest.values())


def _in_step(motion: Motion, clip: MotionClip) -> float:
    return correlation(mouth_opening(motion.mouth), mouth_opening(clip.vectors[:, :MOUTH]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="what superface_hf.data.speech.tracked_clips wrote")
    parser.add_argument("--model", help="folder or Hub id of a pipeline (default: the embedded one)")
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="of the diffusion and what it is beside; variants have one"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = SpeechToMotionPipeline.from_pretrained
    pipeline = load(options.model) if options.model else SpeechToMotionPipeline.embedded()
    clips = measurable(load_motion_clips(options.data, options.cache))
    unseen, shown = ([clip for clip in clips if clip.held_out == held] for held in (True, False))
    movers = {"still": still, "idle driver": idling, "diffusion": diffused(pipeline, Performance())}
    variants = {
        "guidance 1": Performance(guidance_scale=1.0),
        "guidance 0 (hears nothing)": Performance(guidance_scale=0.0),
        "style calm": Performance(style="calm"),
        "style lively": Performance(style="lively"),
        "happiness": Performance(emotion="happiness"),
    }
    movers |= {f"diffusion, {name}": diffused(pipeline, performance) for name, performance in variants.items()}
    results: dict[str, object] = {
        "people": len({clip.person for clip in unseen}), "clips": len(unseen), "real": references(shown, unseen)
    }  # fmt: skip
    for name, move in movers.items():
        measured = figures(move, unseen, 1 if name.startswith("diffusion, ") else options.seeds)
        summary = {key: [round(float(np.mean(v)), 4), round(float(np.std(v)), 4)] for key, v in measured.items()}
        results[name] = summary
        print(name, {key: value[0] for key, value in summary.items()}, flush=True)
    validation = [clip for clip in unseen if clip.validation]
    for name, move in (("audio-to-lip", still), ("refined", diffused(pipeline, Performance()))):
        results[f"mouth on validation clips, {name}"] = figures(move, validation, 1)["mouth_opening_correlation"]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speech_to_motion.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results["real"], indent=1))


if __name__ == "__main__":
    main()
