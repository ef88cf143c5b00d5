"""Drawn people before a plain background, and a folder of them packed as ``pack_pictures`` packs real ones."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from safetensors.torch import save_file

from superface_hf.data.pictures.judge import JUDGE, JUDGE_STAGES
from superface_hf.data.pictures.packed import write_packed
from superface_hf.models.backbone import LiteBackbone

RED, BLUE = (200, 40, 40), (40, 60, 180)


def head(picture: np.ndarray, x: int, y: int, width: int, body: bool = True) -> np.ndarray:
    """Draws a head, and shoulders down to the picture's end."""
    cv2.ellipse(picture, (x, y), (round(0.65 * width), round(0.8 * width)), 0, 0, 360, RED, -1)
    if body:
        cv2.rectangle(picture, (x - width // 4, y), (x + width // 4, y + width), RED, -1)
        cv2.rectangle(picture, (x - round(1.2 * width), y + width), (x + round(1.2 * width), len(picture)), RED, -1)
    return picture


def place(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BLUE, np.uint8)


def tick_by_look(patch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Lets a second pass whenever these modules look at the clock, so that no test depends on the machine's speed."""
    seconds = itertools.count()
    for module in modules:
        patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))


def pack_drawn_people(folder: Path) -> Path:
    """Eight to train with and two held out."""
    rows, pictures, mattes = [], [], []
    rng = np.random.default_rng(0)
    for number in range(10):
        picture = rng.integers(0, 80, (96, 96, 3), np.uint8)
        head(picture, 48 + number, 40, 30)
        matte = cv2.resize((picture[..., 0] > 150).astype(np.uint8) * 255, (256, 256))
        rows.append(
            {"name": f"drawn{number}", "split": "val" if number > 7 else "train", "kind": "clip" if number % 2 else "portrait",
             "faces": 1, "centre_x": (48 + number) / 96, "centre_y": 40 / 96, "face_width": 30 / 96}
        )  # fmt: skip
        pictures.append(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
        mattes.append(cv2.imencode(".png", matte)[1].tobytes())
    write_packed(folder, rows, pictures, mattes)
    save_file(LiteBackbone(JUDGE_STAGES).half().state_dict(), folder / JUDGE)
    return folder
