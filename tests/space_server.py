"""Serves the web demo for tests: a small untrained teacher, and stand-ins that see a person in every bright picture."""

from __future__ import annotations

import io
import socket
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from conftest import GreyInpainter, OvalMatte
from PIL import Image

from superface_hf.models.tracker.base import Face
from superface_hf.space import Limits, Studio, build, launch

DARK = 40  # pictures darker than this show nobody


@dataclass
class BrightFaces:
    """A face in the middle of every bright picture."""

    mean: np.ndarray  # (478, 3)

    def find_faces(self, image: np.ndarray) -> list[Face]:
        if image.mean() < DARK:
            return []
        height, width = image.shape[:2]
        points = self.mean * 0.12 * min(height, width) + np.array([width / 2, height / 2, 0])
        return [Face.of(points.astype(np.float32), 1.0)]

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Face | None]:
        for frame in frames:
            yield next(iter(self.find_faces(frame)), None)


@dataclass
class Site:
    """A running app."""

    url: str
    demo: gr.Blocks
    student: Path | None


def quick_studio(teacher: Any, face_model: Any, student: Path | None = None) -> Studio:
    from transformers import pipeline

    tracker = BrightFaces(face_model.mean.numpy())
    layering = {"matte": OvalMatte(), "inpainter": GreyInpainter()}
    pipe = pipeline("talking-face", model=teacher, tracker=tracker, face_model=face_model, device="cpu", **layering)
    return Studio(pipe, student)


@contextmanager
def serving(studio: Studio, limits: Limits | None = None) -> Iterator[Site]:
    """On localhost, at a free port."""
    demo = build(studio, limits)
    launch(demo, server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True)
    try:
        yield Site(demo.local_url.rstrip("/"), demo, studio._student)
    finally:
        demo.close(verbose=False)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def wav(seconds: float, rate: int = 16000) -> bytes:
    """A hum that rises and falls."""
    time = np.arange(round(seconds * rate)) / rate
    samples = 0.4 * np.sin(2 * np.pi * 180 * time) * np.sin(2 * np.pi * 3 * time)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes((samples * 32767).astype(np.int16).tobytes())
    return file.getvalue()


def picture_of(colour: tuple[int, int, int], height: int = 180, width: int = 240) -> np.ndarray:
    """A bright picture; its left and right borders, where no face is moved, have a colour of their own."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [150 + 60 * np.sin(x / (9 + 4 * c) + c) * np.cos(y / (11 + 3 * c)) for c in range(3)]
    picture = np.stack(waves, axis=-1).astype(np.uint8)
    picture[:, :12], picture[:, -12:] = colour, colour
    return picture
