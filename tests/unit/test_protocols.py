"""A new driver and a new renderer work without a change of the package; two pipelines at once do not disturb each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import WIDTH
from test_student import made_student, trained_a_little
from transformers import PreTrainedConfig, PreTrainedModel, pipeline

from superface_hf import HubError, MediaError, Motion, MotionError, SuperFaceStudentConfig, bundled_motion
from superface_hf.animation.portrait import Portrait
from superface_hf.drivers.base import Driver, Piece
from superface_hf.drivers.combine import Held, WithMouth
from superface_hf.drivers.recorded import RecordedDriver, StillDriver
from superface_hf.media import SoundReader, VideoReader
from superface_hf.renderers.auto import renderer_of
from superface_hf.renderers.base import CropRenderer, Renderer
from superface_hf.renderers.threads import use_threads

RED = (255, 0, 0)
NOSE = 4


@dataclass
class Nodding:
    """A driver: the head goes down, frame by frame."""

    frames: int = 5
    fps: float = 12.5
    sound: SoundReader | None = None
    missing: tuple[int, ...] = ()

    def pieces(self) -> Iterator[Piece]:
        for index in range(self.frames):
            still = Motion.neutral(1, self.fps)
            yield Piece(replace(still, translation=still.translation + np.array([0.0, 0.1 * index])))


@dataclass
class Speaking(Nodding):
    """A driver that speaks: all of its pieces have a mouth."""

    def pieces(self) -> Iterator[Piece]:
        for index in range(self.frames):
            motion = Motion.neutral(1, self.fps)
            yield Piece(motion, motion.mouth + 0.2 * index)


@dataclass
class Dotted:
    """A portrait whose landmarks are drawn as red dots."""

    portrait: Portrait

    @property
    def plate(self) -> np.ndarray:
        return self.portrait.picture

    def frames(self, landmarks, behind=None, transparent=False) -> list[np.ndarray]:
        pictures = [self.plate.copy() for _ in landmarks]
        for picture, points in zip(pictures, self.portrait.crop.to_pixels(landmarks.numpy()), strict=True):
            x, y = np.clip(points[:, :2], 0, np.array(picture.shape[1::-1]) - 1).astype(int).T
            picture[y, x] = RED
        return pictures


class DotConfig(PreTrainedConfig):
    model_type = "dots"


class DotRenderer(PreTrainedModel):
    """A renderer: any model with these members."""

    config_class = DotConfig
    image_size, side_by_side, brings_portrait = 64, 1, False

    def __init__(self, config: DotConfig) -> None:
        super().__init__(config)
        self.unused = torch.nn.Linear(1, 1)
        self.post_init()

    def own_portrait(self, image, face_model) -> None:
        return None

    def prepare(self, portrait, layers) -> Dotted:
        return Dotted(portrait)


@pytest.fixture
def dots(tracker):
    return pipeline("talking-face", model=DotRenderer(DotConfig()), tracker=tracker, device="cpu")


def lowest_dot(frame: np.ndarray) -> int:
    return int(np.flatnonzero((frame == RED).all(-1).any(1)).max())


class TestAToyDriverAndRenderer:
    def test_they_render_a_clip(self, dots, scene):
        clip = dots(scene, motion=Nodding())
        assert clip.frames.shape == (5, *scene.shape)
        assert clip.fps == 12.5
        lows = [lowest_dot(frame) for frame in clip.frames]
        assert lows == sorted(lows)
        assert lows[-1] > lows[0] + 5

    def test_they_stream_the_same_frames(self, dots, scene):
        stream = np.stack(list(dots.stream(scene, motion=Nodding())))
        assert np.array_equal(stream, dots(scene, motion=Nodding()).frames)

    def test_they_write_a_file(self, dots, scene, tmp_path):
        motion = dots.write(tmp_path / "dots.mp4", scene, motion=Nodding())
        assert len(motion) == 5
        assert len(list(VideoReader(tmp_path / "dots.mp4"))) == 5

    def test_the_driver_moves_the_embedded_kinds_of_renderers_too(self, quick_pipe, scene):
        frames = quick_pipe(scene, motion=Nodding()).frames.astype(int)
        assert np.abs(frames[4] - frames[0]).mean() > 0.5

    def test_a_renderer_that_cannot_dub_says_so(self, dots):
        with pytest.raises(MediaError, match="cannot dub"):
            dots(video=np.zeros((2, 64, 64, 3), np.uint8), audio=np.zeros(800, np.float32), sampling_rate=16000)

    def test_another_frame_rate_than_the_drivers_is_refused(self, dots, scene):
        with pytest.raises(MotionError, match=r"12\.5 frames a second"):
            dots(scene, motion=Nodding(), fps=25)

    def test_what_is_no_renderer_is_refused(self, small_teacher):
        with pytest.raises(HubError, match="renders faces"):
            renderer_of(SimpleNamespace(config=DotConfig(), name_or_path="dots"))
        assert isinstance(renderer_of(small_teacher), CropRenderer)


class TestCombinations:
    def test_a_combination_of_drivers_is_a_driver(self, dots, scene):
        both = WithMouth(Nodding(3), Speaking(7), "hold")
        assert isinstance(both, Driver)
        clip = dots(scene, motion=both)
        assert len(clip) == 7
        assert np.ptp(clip.motion.mouth, axis=0).max() > 0.5
        heights = clip.motion.translation[:, 1]
        assert heights[2] > heights[0]
        assert np.allclose(heights[2:], heights[2])

    def test_it_ends_with_the_head_if_asked_to(self):
        both = WithMouth(Nodding(3), Speaking(7), "stop")
        assert both.frames == sum(map(len, both.pieces())) == 3

    def test_drivers_of_two_rates_are_not_combined(self):
        with pytest.raises(MotionError, match="one frame rate"):
            WithMouth(Nodding(3, 25.0), Speaking(3, 12.5))

    @pytest.mark.parametrize("driver", [RecordedDriver("nod"), StillDriver(3, 25.0), Held(Nodding())])
    def test_those_of_the_package_are_drivers(self, driver):
        assert isinstance(driver, Driver)
        assert sum(map(len, driver.pieces())) == driver.frames


class TestArguments:
    def test_all_three_ways_to_call_take_the_same(self, dots):
        import inspect

        def named(method) -> list[str]:
            return [
                name for name, each in inspect.signature(method).parameters.items() if each.kind is each.KEYWORD_ONLY
            ]

        assert named(dots.__call__) == named(dots.write) == named(dots.stream)
        assert {"video", "audio", "motion", "text", "edit", "regions", "fps"} <= set(named(dots.stream))

    @pytest.mark.parametrize("call", ["__call__", "stream"])
    def test_a_misspelt_one_is_refused_with_the_nearest(self, dots, scene, call):
        with pytest.raises(TypeError, match="did you mean 'motion'"):
            getattr(dots, call)(scene, motoin="nod")


class TestTwoPipelinesAtOnce:
    def test_they_give_the_frames_of_one_after_the_other(self, scene, face_points, tracker):
        def made(seed: int):
            torch.manual_seed(seed)
            student = made_student(
                SuperFaceStudentConfig.of_size("tiny", person=f"number {seed}"), scene, face_points()
            )
            return pipeline("talking-face", model=trained_a_little(student), tracker=tracker, device="cpu")

        pipes = [made(0), made(1)]
        motion = RecordedDriver(bundled_motion("nod")[:50], 6.0)
        alone = [np.stack(list(each.stream(motion=motion, seed=3))) for each in pipes]
        usual = torch.get_num_threads()
        with ThreadPoolExecutor(2) as pool:
            at_once = list(pool.map(lambda each: np.stack(list(each.stream(motion=motion, seed=3))), pipes))
        assert torch.get_num_threads() == usual
        assert alone[0].shape[2] == WIDTH
        for one, other in zip(alone, at_once, strict=True):
            assert np.abs(one.astype(int) - other).max() <= 1

    def test_a_teacher_with_two_batches_side_by_side_gives_the_frames_of_one_with_one(self, quick_pipe, scene):
        motion, usual, found = bundled_motion("nod")[:40], torch.get_num_threads(), []
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                found.append(quick_pipe(scene, motion=motion).frames)
        finally:
            torch.set_num_threads(usual)
        assert np.abs(found[0].astype(int) - found[1]).max() <= 1

    def test_one_that_works_on_one_thread_leaves_others_theirs(self):
        usual, seen = torch.get_num_threads(), []
        torch.set_num_threads(3)
        entered, leave = threading.Event(), threading.Event()

        def alone() -> None:
            use_threads(1)
            entered.set()
            leave.wait()
            seen.append(torch.get_num_threads())

        try:
            one = threading.Thread(target=alone)
            one.start()
            entered.wait()
            other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            other.start()
            other.join()
            leave.set()
            one.join()
            assert seen == [3, 1]
            assert torch.get_num_threads() == 3
        finally:
            torch.set_num_threads(usual)


def test_the_toy_is_a_renderer() -> None:
    assert isinstance(DotRenderer(DotConfig()), Renderer)
