"""The teacher's trainer trains, and goes on exactly where it stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from superface_hf.face_model.linear import FaceModel

pytest.importorskip("accelerate")

from test_teacher import tiny

from superface_hf.training.prepare import encode_jpeg, write_clip
from superface_hf.training.reenactment_data import PairSampling, ReenactmentPairs
from superface_hf.training.teacher import TeacherTrainer, TeacherTrainingConfig

SIDE = 96


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of a made-up face that slides over a coloured slope, as ``training.prepare`` writes them."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "clips").mkdir()
    rng = np.random.default_rng(0)
    face = FaceModel.default().mean.numpy() * 0.2 * SIDE + np.array([SIDE / 2, SIDE / 2, 0.0])
    slope = np.linspace(0, 200, SIDE)[:, None] + np.linspace(0, 50, SIDE)[None]
    with open(folder / "clips.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["clip", "repo", "path"])
        for name in ("train_000", "train_001"):
            table.writerow([f"{name}.mp4", "here", f"{name}/clip.mp4"])
            steps = np.arange(6)
            landmarks = np.stack([face + np.array([2.0 * step, 0, 0]) for step in steps]).astype(np.float32)
            tint = rng.uniform(0.5, 1.0, size=3)
            pictures = [(np.roll(slope, 2 * step, axis=1)[..., None] * tint).astype(np.uint8) for step in steps]
            write_clip(
                folder / "clips" / f"{name}.npz",
                split="train",
                fps=25.0,
                size=(SIDE, SIDE),
                landmarks=landmarks,
                blendshapes=np.zeros((6, 52), np.float32),
                found=np.ones(6, bool),
                jpeg_index=steps,
                jpegs=[encode_jpeg(picture, 95) for picture in pictures],
            )
    return folder


def config(prepared: Path, out: Path, steps: int) -> TeacherTrainingConfig:
    return TeacherTrainingConfig(
        prepared=str(prepared),
        out=str(out),
        steps=steps,
        batch_size=2,
        warmup=1,
        decay=1,
        perceptual=0.0,
        stills=0.0,
        workers=0,
        compile=False,
        validate_every=0,
        mixed_precision="no",
    )


def test_pairs_are_reproducible_and_in_range(prepared):
    sampling = PairSampling(image_size=64)
    first, again = (ReenactmentPairs(prepared, 10, seed=3, sampling=sampling)[7] for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert first["source"].shape == (3, 64, 64)
    assert first["source_landmarks"].shape == (478, 3)
    assert first["source_landmarks"][:, :2].abs().max() <= 1.0


def test_training_moves_the_weights_and_writes_a_loadable_checkpoint(prepared, tmp_path):
    trainer = TeacherTrainer(config(prepared, tmp_path, steps=3), tiny())
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert any(not torch.equal(p, old) for p, old in zip(trainer.model.parameters(), before, strict=True))
    progress = json.loads((tmp_path / "checkpoint" / "progress.json").read_text())
    assert progress["step"] == 3
    assert (tmp_path / "checkpoint" / "averaged" / "model.safetensors").exists()


def test_a_resumed_training_ends_with_the_same_weights(prepared, tmp_path):
    whole = TeacherTrainer(config(prepared, tmp_path / "whole", steps=4), tiny())
    whole.train()
    stopped = TeacherTrainer(config(prepared, tmp_path / "parts", steps=4), tiny())
    stopped.train(until=2)
    resumed = TeacherTrainer(config(prepared, tmp_path / "parts", steps=4), tiny())
    resumed.train()
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.averaged.parameters(), resumed.averaged.parameters(), strict=True):
        assert torch.equal(a, b)
