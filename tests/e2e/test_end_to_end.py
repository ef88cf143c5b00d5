"""The main job on a real photograph, with the embedded weights, offline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from superface_hf import Motion, NoFaceError, bundled_motion
from superface_hf.media import VideoReader, load_sound, write_mp4
from superface_hf.metrics.image import psnr
from superface_hf.pipelines.demo import contact_sheet
from superface_hf.utils.assets import SPEECH

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def face_crop(astronaut) -> np.ndarray:
    """The astronaut's head and shoulders, (256, 256, 3)."""
    return astronaut[0:256, 96:352]


@pytest.fixture(scope="module")
def driving(pipe, face_crop, tmp_path_factory):
    """A driving video with known motion, with sound: the photograph itself, nodding and speaking."""
    motion = Motion.concatenate([bundled_motion("nod")[10:22], bundled_motion("speak")[10:16]])
    clip = pipe(face_crop, motion=motion)
    path = tmp_path_factory.mktemp("driving") / "driving.mp4"
    tone = 0.3 * np.sin(np.arange(32000) / 6).astype(np.float32)
    write_mp4(path, clip.frames, 25, tone, 16000)
    return path


def landmarks_of(pipe, frames) -> np.ndarray:
    found = [pipe.tracker.find_faces(frame) for frame in frames]
    assert all(found)
    return np.stack([faces[0].landmarks for faces in found])


def mouth_gap(landmarks: np.ndarray) -> np.ndarray:
    """How far the inner lips are apart, in distances between the outer eye corners."""
    eyes = np.linalg.norm(landmarks[..., 263, :2] - landmarks[..., 33, :2], axis=-1)
    return (landmarks[..., 14, 1] - landmarks[..., 13, 1]) / eyes


def test_a_photograph_follows_a_driving_video(pipe, astronaut, driving, tmp_path):
    clip = pipe(astronaut, video=driving)
    assert clip.frames.shape == (18, *astronaut.shape)
    assert clip.fps == 25
    assert len(clip.audio) / clip.sampling_rate == pytest.approx(18 / 25)
    assert clip.missing == []
    driver = landmarks_of(pipe, list(VideoReader(driving))[::2])
    result = landmarks_of(pipe, clip.frames[::2])
    moved = [track[:, 1, 1] - track[:, 1, 1].mean() for track in (driver, result)]  # the tip of the nose, up and down
    assert np.corrcoef(*moved)[0, 1] > 0.7
    clip.save(tmp_path / "out.mp4")
    assert VideoReader(tmp_path / "out.mp4").sound() is not None


def test_a_smaller_photo_frame_keeps_its_surroundings(pipe, astronaut):
    clip = pipe(astronaut, motion=bundled_motion("look_around")[10:60:10])
    assert (clip.frames[:, :200, :40] == astronaut[:200, :40]).all()
    # The torso follows the head a little; far below, it rests.
    assert np.abs(clip.frames[:, 440:].astype(int) - astronaut[440:]).mean() < 1


def test_at_rest_the_photograph_stays_as_it_is(pipe, astronaut):
    clip = pipe(astronaut, motion=Motion.neutral(1, 25))
    change = np.abs(clip.frames[0].astype(int) - astronaut)
    assert change.mean() < 0.5
    assert np.abs(clip.frames[0].astype(float).mean((0, 1)) - astronaut.mean((0, 1))).max() < 0.5


def test_a_slider_opens_the_mouth_and_another_shuts_one_eye(pipe, face_crop):
    opened = landmarks_of(pipe, [pipe(face_crop, edit={"jawOpen": 0.7}).frames[0], face_crop])
    assert mouth_gap(opened)[0] > mouth_gap(opened)[1] + 0.08
    winking = pipe(face_crop, edit={"eyeBlinkLeft": 1.0})
    before = pipe.preprocess(face_crop)
    after = pipe.face_model.animate(before.shape, winking.motion)[0].numpy()
    left, right = ((374, 386), (145, 159))  # the middles of the lower and the upper lid
    gaps = [[points[low, 1] - points[up, 1] for low, up in (left, right)] for points in (before.landmarks, after)]
    assert gaps[1][0] < 0.2 * gaps[0][0]
    assert gaps[1][1] > 0.8 * gaps[0][1]
    assert np.abs(winking.frames[0].astype(int) - face_crop).max() > 30


def test_a_person_held_still_does_not_shake(pipe, face_crop):
    """A photograph filmed by a noisy camera in changing light: the result's landmarks rest within 0.2% of the face's width."""
    random = np.random.default_rng(0)
    frames = []
    for index in range(16):
        lit = np.asarray(ImageEnhance.Brightness(Image.fromarray(face_crop)).enhance(1 + 0.05 * np.sin(index)))
        frames.append(np.clip(lit + random.normal(0, 4, lit.shape), 0, 255).astype(np.uint8))
    clip = pipe(face_crop, video=frames, fps=25)
    landmarks = pipe.face_model.animate(pipe.preprocess(face_crop).shape, clip.motion)[..., :2].numpy()
    shake = np.linalg.norm(landmarks - landmarks.mean(0), axis=-1).mean()
    assert shake / np.ptp(landmarks[0, :, 0]) < 0.002


def test_streaming_shows_the_same_as_the_clip(pipe, face_crop, driving):
    frames = list(VideoReader(driving))[:6]
    # What rest is, a stream learns on the way: here changes since the first frame count.
    clip = pipe(face_crop, video=frames, relative=True)
    stream = np.stack(list(pipe.stream(face_crop, video=frames, relative=True)))
    assert stream.shape == clip.frames.shape
    assert np.abs(stream.astype(int) - clip.frames).mean() < 3


def test_interpolated_frames_can_hardly_be_told_from_rendered_ones(pipe, face_crop):
    """On a CPU the teacher's networks run for key frames. Speech, with its idle head."""
    sound = load_sound(SPEECH)
    told = {"audio": sound.samples[: int(1.2 * sound.rate)], "sampling_rate": sound.rate, "seed": 1}
    calls = []
    with pipe.model.generator.register_forward_hook(lambda _, seen, __: calls.append(len(seen[0]))):
        quick = pipe(face_crop, **told).frames
        keys = sum(calls)
        whole = pipe(face_crop, **told, batch_size=1).frames
    assert keys < 0.7 * len(quick)
    assert sum(calls) - keys == len(whole)
    closest = [psnr(one / 255, other / 255) for one, other in zip(quick, whole, strict=True) if (one != other).any()]
    assert len(closest) > 5
    assert min(closest) > 45


def test_frames_without_a_face_are_bridged(pipe, face_crop, driving, warnings_logged):
    frames = list(VideoReader(driving))[:12]
    for index in (5, 6):
        frames[index] = np.full_like(frames[index], 127)
    clip = pipe(face_crop, video=frames, fps=25)
    assert clip.missing == [5, 6]
    assert len(warnings_logged) == 1


def test_a_picture_and_a_video_without_a_face_are_refused(pipe, astronaut, driving):
    grey = np.full((300, 300, 3), 127, np.uint8)
    with pytest.raises(NoFaceError):
        pipe(grey, video=driving)
    with pytest.raises(NoFaceError):
        pipe(astronaut, video=[grey] * 4)


def test_two_people_are_two_faces(pipe, astronaut):
    pair = np.concatenate([astronaut[:256], astronaut[:256]], axis=1)
    first, second = (pipe(pair, edit={"jawOpen": 0.8}, face=index).frames[0].astype(int) for index in (0, 1))
    halves = [
        np.abs(frame - pair)[:, part].max() for frame in (first, second) for part in (slice(0, 512), slice(512, 1024))
    ]
    assert sorted(half > 30 for half in halves) == [False, False, True, True]
    assert (halves[0] > 30) != (halves[2] > 30)


def test_a_contact_sheet_shows_frames_in_order():
    frames = np.stack([np.full((8, 16, 3), 10 * index, np.uint8) for index in range(12)])
    sheet = contact_sheet(frames, columns=3, rows=2, cell=32)
    assert sheet.shape == (32, 96, 3)
    assert sheet[0, 0, 0] == 0
    assert sheet[-1, -1, 0] == 110


def test_the_whole_range_of_a_motion_is_survived(pipe, face_crop):
    """Far more than a person can do: the result is odd, but it is a picture, and nothing fails."""
    wild = replace(Motion.neutral(3, 25), rotation=np.array([[0, 1.2, 0], [1.0, 0, 0], [0, 0, 1.5]]))
    wild = replace(wild, mouth=np.full_like(wild.mouth, 6.0), eyes=np.full_like(wild.eyes, -6.0))
    assert pipe(face_crop, motion=wild, relative=False).frames.std() > 10
