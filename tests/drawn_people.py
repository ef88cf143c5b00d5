"""Drawn people before a plain background, and a folder of them packed as ``pack_pictures`` packs real ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
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


def cartoon(eyes: float = 1.0, size: int = 512) -> np.ndarray:
    """A flat drawn face with outlines, before a plain wall; ``eyes`` is how large its eyes are, 1 is as on a photograph."""
    picture = np.full((size, size, 3), (120, 170, 200), np.uint8)
    line, skin, hair, white = (40, 28, 24), (244, 204, 172), (96, 52, 28), (252, 252, 250)

    def oval(x: float, y: float, wide: float, high: float, colour: tuple[int, int, int], edge: int = 4) -> None:
        where, half = (round(x * size), round(y * size)), (round(wide * size / 2), round(high * size / 2))
        cv2.ellipse(picture, where, half, 0, 0, 360, colour, -1, cv2.LINE_AA)
        if edge:
            cv2.ellipse(picture, where, half, 0, 0, 360, line, edge, cv2.LINE_AA)

    oval(0.5, 1.1, 0.9, 0.6, (70, 110, 60))
    cv2.rectangle(picture, (round(0.43 * size), round(0.7 * size)), (round(0.57 * size), round(0.86 * size)), skin, -1)
    oval(0.5, 0.42, 0.56, 0.66, hair)
    oval(0.5, 0.5, 0.46, 0.58, skin)
    oval(0.5, 0.26, 0.42, 0.16, hair, 0)
    for side in (-1, 1):
        x = 0.5 + side * 0.1
        oval(x, 0.46, min(0.09 * eyes, 0.19), 0.045 * eyes, white)
        oval(x, 0.46, 0.04 * eyes, 0.04 * eyes, (70, 100, 60), 2)
        oval(x, 0.46, 0.02 * eyes, 0.02 * eyes, line, 0)
        start, end = ((round((x + step * 0.045) * size), round((0.44 - 0.027 * eyes) * size)) for step in (-1, 1))
        cv2.line(picture, start, end, hair, 8, cv2.LINE_AA)
    cv2.ellipse(picture, (size // 2, round(0.57 * size)), (14, 8), 0, 20, 160, (190, 130, 100), 3, cv2.LINE_AA)
    cv2.ellipse(picture, (size // 2, round(0.655 * size)), (44, 13), 0, 0, 360, (190, 80, 80), -1, cv2.LINE_AA)
    cv2.line(
        picture, (size // 2 - 42, round(0.652 * size)), (size // 2 + 42, round(0.652 * size)), line, 3, cv2.LINE_AA
    )
    return picture
