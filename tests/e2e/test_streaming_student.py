"""A student that streams: frames come with the sound, in order, the same as in a clip, and nothing piles up."""

from __future__ import annotations

import threading
import time
import weakref

import numpy as np
import pytest
import torch
from test_student import made_student, trained_a_little
from transformers import pipeline

from superface_hf import Motion, SuperFaceAudioToLipConfig, SuperFaceAudioToLipModel, SuperFaceStudentConfig
from superface_hf.face_model.coordinates import Square
from superface_hf.layers.paste_back import PasteBack, RenderedCrops, cut_out, resize
from superface_hf.renderers.student import StudentPortrait
from superface_hf.renderers.threads import in_order

RATE, FPS = 16000, 25


@pytest.fixture(scope="module")
def ears() -> SuperFaceAudioToLipModel:
    torch.manual_seed(0)
    return SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=16, dilations=[1, 2])).eval()


@pytest.fixture
def pipe(scene, face_points, tracker, ears):
    student = made_student(SuperFaceStudentConfig.of_size("tiny", person="the scene"), scene, face_points())
    return pipeline("talking-face", model=trained_a_little(student), tracker=tracker, audio_to_lip=ears, device="cpu")


@pytest.fixture(params=[1, 3])
def threads(request):
    """One thread renders frame after frame, several render side by side."""
    usual = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(usual)


def noise(seconds: float) -> np.ndarray:
    return 0.2 * np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32)


def chunks_of(sound: np.ndarray, seconds: float = 0.02):
    size = round(seconds * RATE)
    yield from (sound[start : start + size] for start in range(0, len(sound), size))


class TestFrames:
    @pytest.mark.usefixtures("threads")
    @pytest.mark.parametrize("seconds", [0.02, 0.5])
    def test_they_are_those_of_the_clip(self, pipe, seconds):
        sound = noise(1.0)
        clip = pipe(audio=sound, sampling_rate=RATE)
        stream = np.stack(list(pipe.stream(audio=chunks_of(sound, seconds), sampling_rate=RATE)))
        assert stream.shape == clip.frames.shape == (FPS, 240, 320, 3)
        assert np.abs(stream.astype(int) - clip.frames).max() <= 1

    @pytest.mark.usefixtures("threads")
    def test_a_file_is_written_with_the_frames_of_the_clip(self, pipe, tmp_path):
        motion = pipe.write(tmp_path / "out.mp4", audio=noise(0.6), sampling_rate=RATE, batch_size=1)
        clip = pipe(audio=noise(0.6), sampling_rate=RATE)
        assert len(motion) == len(clip)
        np.testing.assert_array_equal(motion.mouth, clip.motion.mouth)

    @pytest.mark.usefixtures("threads")
    def test_each_comes_as_soon_as_the_sound_up_to_its_look_ahead_is_there(self, pipe, ears):
        given = []

        def microphone():
            for chunk in chunks_of(noise(1.0)):
                given.append(len(chunk))
                yield chunk

        needed = []
        for _ in pipe.stream(audio=microphone(), sampling_rate=RATE):
            needed.append(sum(given) / RATE)
        late = np.array(needed) - np.arange(len(needed)) / FPS
        assert late.max() <= ears.stream(FPS).latency + 0.04 + 1e-6  # a window of the features, and a chunk
        assert late[0] <= 0.2 + 1e-6

    def test_all_is_ready_before_the_first_sound_is_asked_for(self, pipe, monkeypatch):
        asked, rendered = [], []
        frames = StudentPortrait.frames

        def watched(*arguments):
            rendered.append(bool(asked))
            return frames(*arguments)

        def microphone():
            asked.append(True)
            yield from chunks_of(noise(0.5))

        monkeypatch.setattr(StudentPortrait, "frames", watched)
        stream = pipe.stream(audio=microphone(), sampling_rate=RATE)
        assert rendered == [False]  # warm, and nobody has been listened to
        next(stream)
        assert rendered == [False, True]

    def test_what_goes_wrong_with_the_sound_reaches_the_caller(self, pipe):
        def broken():
            yield from chunks_of(noise(0.5))
            raise OSError("the microphone was pulled out")

        frames = []
        with pytest.raises(OSError, match="pulled out"):
            frames.extend(pipe.stream(audio=broken(), sampling_rate=RATE))
        assert len(frames) > 5


class TestMemory:
    def test_a_stream_keeps_no_motion_but_the_last(self, pipe, monkeypatch):
        alive: list[weakref.ref] = []
        made = Motion.__post_init__

        def counted(motion):
            made(motion)
            alive.append(weakref.ref(motion))

        monkeypatch.setattr(Motion, "__post_init__", counted)
        stream = pipe.stream(audio=chunks_of(noise(2.2)), sampling_rate=RATE)
        held = []
        for number, _ in enumerate(stream):
            if number in (10, 40):
                held.append(sum(reference() is not None for reference in alive))
        assert held[1] <= held[0] + 3

    def test_frames_that_were_taken_are_let_go(self, pipe):
        taken = [weakref.ref(frame) for frame in pipe.stream(audio=chunks_of(noise(0.6)), sampling_rate=RATE)]
        assert sum(reference() is not None for reference in taken) <= 1

    def test_a_stream_that_is_left_leaves_no_threads(self, pipe):
        usual = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            stream = pipe.stream(motion="nod")
            next(stream)
            assert any(thread.name.startswith("superface") for thread in threading.enumerate())
            stream.close()
            assert not any(thread.name.startswith("superface") for thread in threading.enumerate())
        finally:
            torch.set_num_threads(usual)


class TestInOrder:
    def test_results_keep_the_order_of_their_items(self):
        def work(item):
            time.sleep(0.002 * (item % 3))
            return item

        assert list(in_order(work, [range(9), [9], [], [10, 11]], 3)) == list(range(12))

    def test_side_by_side_torch_uses_one_thread_each_and_as_many_as_before_elsewhere(self):
        usual = torch.get_num_threads()
        torch.set_num_threads(3)
        try:
            seen = list(in_order(lambda _: torch.get_num_threads(), [range(6), [0]], 2))
            assert seen == [1] * 6 + [3]  # alone, an item gets all threads
            assert torch.get_num_threads() == 3
            others: list[int] = []
            other = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
            other.start()
            other.join()
            assert others == [3]
        finally:
            torch.set_num_threads(usual)

    def test_the_next_group_is_not_asked_for_before_the_last_one_is_done(self):
        asked = []

        def groups():
            for number in range(3):
                asked.append(number)
                yield [number, number]

        results = in_order(lambda item: item, groups(), 2)
        assert [next(results), next(results)] == [0, 0]
        assert asked == [0]

    def test_an_error_comes_in_its_items_place(self):
        results = in_order(lambda item: 1 // item, [[2, 1, 0, 1]], 2)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)


class TestPasteBack:
    @pytest.mark.parametrize("side", [100, 128, 200])
    def test_a_picture_that_was_not_changed_comes_back(self, scene, side):
        """Whether the renderer's crop is finer or coarser than the picture's."""
        crop, size = Square(60, 20, side), 128
        frame = cut_out(scene, crop, size)
        rest = RenderedCrops(frame, frame, torch.zeros(1, 2, 64, 64))
        pasted = PasteBack(scene, crop, size)(rest)[0]
        assert np.abs(pasted.astype(int) - scene).max() <= 1

    def test_fine_detail_is_carried_along_but_not_onto_what_is_painted(self, scene):
        rng = np.random.default_rng(0)
        fine = (scene * 0.5 + 64 + rng.integers(-40, 40, scene.shape)).astype(np.uint8)
        crop, size = Square(40, 20, 200), 64
        frame = cut_out(fine, crop, size)
        painted = frame.clone()
        painted[..., 24:40, 24:40] += 0.5
        pasted = PasteBack(fine, crop, size)(RenderedCrops(painted, frame, torch.zeros(1, 2, 32, 32)))[0].astype(float)
        smooth = resize(painted, 200)[0].mul(255).permute(1, 2, 0).numpy()
        texture = np.abs(pasted[20:220, 40:240] - smooth).mean(-1)
        assert texture[40:60, 40:60].mean() > 5  # where nothing was painted
        assert texture[90:110, 90:110].mean() < 1  # in the middle of what was


def test_the_demo_of_the_student_writes_a_video_and_its_sheet(pipe, tmp_path, monkeypatch):
    from superface_hf import cli
    from superface_hf.pipelines import demo

    pipe.model.save_pretrained(tmp_path / "student")
    monkeypatch.setattr(demo, "weights_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(demo, "SPEECH", {"array": noise(0.5), "sampling_rate": RATE})
    assert cli.main(["demo", "--student", "-o", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["student.mp4", "student.png"]
