"""Fixtures of all tests: the embedded weights, and stand-ins that make a scene predictable.

Torch is imported where it is used: the process that hands tests out to workers imports this file too, and they would wait
for it.
"""

from __future__ import annotations

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here may need a network
# Workers share the cores already. A thread of one would wait for a thread of another, and take a third more CPU time. Before
# torch is loaded; processes that tests start do the same. What several threads do is asked by tests that set their number.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import superface_hf  # noqa: F401 - before torch, which reads how its threads wait when it is loaded

if TYPE_CHECKING:
    import torch

    from superface_hf import FaceModel, Motion, SuperFaceTeacherModel
    from superface_hf.models.tracker.base import Face

HEIGHT, WIDTH = 240, 320
FACE_AT = (160.0, 130.0)  # pixels
FACE_SIZE = 60.0  # pixels from eye corner to eye corner


# The files that take longest, in this order. They begin first, so that at the end no worker waits for another one's long file.
LONGEST = (
    "test_docs",
    "test_space_browser",
    "test_runtimes",
    "test_every_trainer",
    "test_teacher_training",
    "test_space_load",
    "test_distillation",
    "test_end_to_end",
    "test_batch",
    "test_commands",
    "test_space_calls",
    "test_live",
    "test_strangers_files",
    "test_student",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish() -> None:
    """Leave the million objects of what is imported out of every later garbage collection."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def not_in_real_time() -> Iterator[None]:
    """Fail where a test leaves its process in another scheduling class.

    As root, libsvtav1 puts the thread that encodes into real time, for good. All that this process starts inherits it, and a
    Chromium in real time brings the whole machine to a standstill.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    from superface_hf import FaceModel

    return FaceModel.default()


@pytest.fixture(scope="session")
def face_points(face_model):
    """Landmarks (478, 3) in pixels of the mean face, at a place and of a size."""

    def make(x: float = FACE_AT[0], y: float = FACE_AT[1], size: float = FACE_SIZE) -> np.ndarray:
        return (face_model.mean.numpy() * size + np.array([x, y, 0])).astype(np.float32)

    return make


@pytest.fixture
def scene() -> np.ndarray:
    """A smooth picture with some texture, (240, 320, 3) uint8."""
    return smooth_picture().copy()


@cache
def smooth_picture() -> np.ndarray:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [128 + 80 * np.sin(x / (9 + 4 * c) + c) * np.cos(y / (11 + 3 * c)) for c in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


@dataclass
class ScriptedTracker:
    """Finds what it is told: ``faces`` in any picture, ``script`` frame by frame (None: no face) in any video."""

    faces: list[Face]
    script: list[np.ndarray | None] = field(default_factory=list)
    frames_read: int = 0

    def find_faces(self, image: np.ndarray) -> list[Face]:
        return self.faces

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Face | None]:
        from superface_hf.models.tracker.base import Face

        for index, _ in enumerate(frames):
            self.frames_read += 1
            points = self.script[index % len(self.script)]
            yield None if points is None else Face.of(points, 1.0)


@pytest.fixture
def tracker(face_points) -> ScriptedTracker:
    """Sees one face in the scene, and a driving person who sways and comes nearer."""
    from superface_hf.models.tracker.base import Face

    sway = [face_points(150 + 6 * np.sin(t / 3), 120 + 3 * np.cos(t / 4), 50 + 0.3 * t) for t in range(12)]
    return ScriptedTracker([Face.of(face_points(), 1.0)], list(sway))


@pytest.fixture(scope="session")
def small_teacher(face_model) -> SuperFaceTeacherModel:
    """A teacher of 128 pixels, untrained: the plain mesh flow. Renders quickly."""
    import torch

    from superface_hf import SuperFaceTeacherConfig, SuperFaceTeacherModel

    torch.manual_seed(0)
    model = SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size("tiny"))
    model.canonical.copy_(face_model.mean)
    return model.eval()


class OvalMatte:
    """Sees a person as an oval where a face is expected in the square that it is shown."""

    config = SimpleNamespace(image_size=64)
    device = "cpu"

    def __call__(self, pixels: torch.Tensor) -> SimpleNamespace:
        import torch

        y, x = (torch.arange(64) + 0.5).div(64)[:, None], (torch.arange(64) + 0.5)[None].div(64)
        inside = 1 - ((x - 0.5) / 0.24).square() - ((y - 0.47) / 0.32).square()
        return SimpleNamespace(logits=(12 * inside).expand(len(pixels), 1, 64, 64))


class GreyInpainter:
    """Paints grey where a person was."""

    config = SimpleNamespace(working_size=64)
    device = "cpu"

    def __call__(self, pixels: torch.Tensor, known: torch.Tensor) -> SimpleNamespace:
        import torch

        return SimpleNamespace(pictures=torch.lerp(torch.full_like(pixels, 0.5), pixels, known))


@pytest.fixture(scope="session")
def matte() -> OvalMatte:
    return OvalMatte()


@pytest.fixture
def quick_pipe(small_teacher, tracker, matte):
    """The pipeline with a small teacher, a scripted tracker, and stand-ins that make layers."""
    from transformers import pipeline

    return pipeline(
        "talking-face", model=small_teacher, tracker=tracker, matte=matte, inpainter=GreyInpainter(), device="cpu"
    )


@pytest.fixture(scope="session")
def pipe():
    """The pipeline as users get it: the embedded teacher and tracker."""
    from transformers import pipeline

    return pipeline("talking-face", device="cpu")


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    from superface_hf.media import load_picture
    from superface_hf.utils.assets import PORTRAIT

    return load_picture(PORTRAIT)


@pytest.fixture
def warnings_logged(monkeypatch) -> list[str]:
    """The warnings that the pipeline logs."""
    from superface_hf.drivers import watching
    from superface_hf.pipelines import rendering

    messages: list[str] = []
    for module in (watching, rendering):
        monkeypatch.setattr(module.logger, "warning", messages.append)
    return messages


def frames_of(count: int) -> np.ndarray:
    """A driving video whose pictures do not matter, (T, 240, 320, 3)."""
    return np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)


def swaying(frames: int, fps: float = 25.0, far: float = 0.1) -> Motion:
    """A head that sways and a mouth that opens."""
    from superface_hf import Motion

    motion = Motion.neutral(frames, fps)
    time = np.arange(frames)[:, None] / fps
    return replace(
        motion,
        rotation=0.2 * np.sin(4 * time) * np.array([0.3, 1.0, 0.1]),
        translation=far * np.sin(3 * time) * np.array([1.0, 0.2]),
        mouth=np.sin(9 * time) * np.ones_like(motion.mouth),
    )
