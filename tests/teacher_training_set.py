"""A small made-up prepared set, and settings that train on it in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from superface_hf.data.jpeg import encode_jpeg
from superface_hf.data.prepared_set import PreparedClip, write_clips
from superface_hf.face_model.linear import FaceModel
from superface_hf.training.teacher.config import TeacherTrainingConfig
from superface_hf.utils.settings import build

SIDE = 96


def sliding_clip(name: str, split: str, tint: np.ndarray) -> PreparedClip:
    """A made-up face that slides over a coloured slope."""
    face = FaceModel.default().mean.numpy() * 0.2 * SIDE + np.array([SIDE / 2, SIDE / 2, 0.0])
    slope = np.linspace(0, 200, SIDE)[:, None] + np.linspace(0, 50, SIDE)[None]
    steps = np.arange(6)
    pictures = [(np.roll(slope, 2 * step, axis=1)[..., None] * tint).astype(np.uint8) for step in steps]
    return PreparedClip(
        name=name,
        split=split,
        fps=25.0,
        size=(SIDE, SIDE),
        landmarks=np.stack([face + np.array([2.0 * step, 0, 0]) for step in steps]).astype(np.float32),
        blendshapes=None,
        found=np.ones(6, bool),
        jpeg_index=steps,
        jpegs=[encode_jpeg(picture, 95) for picture in pictures],
        person=name,
    )


def write_set(folder: Path) -> Path:
    """Two clips to train on in a shard each, and one to validate on."""
    rng = np.random.default_rng(0)
    for number in range(2):
        clip = sliding_clip(f"train_{number:03d}", "train", rng.uniform(0.5, 1.0, size=3))
        write_clips(folder, "train", [clip], number)
    write_clips(folder, "val", [sliding_clip("val_000", "val", rng.uniform(0.5, 1.0, size=3))])
    return folder


def settings(prepared: Path, out: Path, **sections: dict[str, object]) -> TeacherTrainingConfig:
    """Four steps of two pairs, fast; ``sections`` change them."""
    values: dict[str, dict[str, object]] = {
        "model": {"size": "tiny"},
        "data": {
            "prepared": str(prepared),
            "workers": 0,
            "sampling": {"stills": 0.0, "temporal": 0.5},
            "masking": {"share": 0.25},
            "degradation": {"share": 0.5},
        },
        "loss": {"perceptual": 0.0, "keypoints": 0.0},
        "schedule": {"steps": 4, "warmup": 1, "decay": 1},
        "run": {
            "out": str(out),
            "batch_size": 2,
            "mixed_precision": "no",
            "compile": False,
            "validate_every": 0,
            "log_every": 1,
        },
    }
    for section, changes in sections.items():
        values.setdefault(section, {}).update(changes)
    return build(TeacherTrainingConfig, values)
