"""Dubbing: a video gets another mouth, and nothing else changes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from superface_hf.animation.doubts import UNSURE
from superface_hf.animation.mouth_region import MouthRegion
from superface_hf.animation.mouth_swap import TOUCHING, MouthSwap, Person, lip_gap
from superface_hf.errors import MotionError, NoFaceError, SeveralFacesError, UnknownNameError
from superface_hf.face_model.coordinates import Square
from superface_hf.face_model.lips import CLOSED, mouth_opening
from superface_hf.media import VideoReader, write_mp4
from superface_hf.models.tracker.base import Face
from superface_hf.motion import Motion
from superface_hf.pipelines.dubbing import Dubber

FPS = 25.0
OPENING = np.eye(30)[0] * -1.0  # the first coefficient opens the mouth below zero


@pytest.fixture
def talk(scene) -> VideoReader:
    """Six frames that can be told apart by their corner."""
    return VideoReader([_numbered(scene, index) for index in range(6)], FPS)


@pytest.fixture
def tracker(tracker, face_points):
    """The person of the video sways a little."""
    tracker.script = [face_points(158 + index, 130, 56) for index in range(6)]
    return tracker


@pytest.fixture
def dubber(small_teacher, tracker, matte) -> Dubber:
    return Dubber(small_teacher, tracker, matte=matte)


def _numbered(scene: np.ndarray, index: int) -> np.ndarray:
    picture = scene.copy()
    picture[:8, :8] = 40 * index
    return picture


def _number(picture: np.ndarray) -> int:
    return int(picture[0, 0, 0]) // 40


def _mouths(frames: int, opening: float = 1.0) -> np.ndarray:
    return np.repeat(opening * OPENING[None], frames, axis=0)


def test_outside_of_the_mouth_every_pixel_stays_as_it_is(dubber, talk):
    originals = list(talk)
    for original, dubbed in zip(originals, dubber.frames(talk, _mouths(6, 3.0)), strict=True):
        painted = np.zeros(original.shape[:2], np.float32)
        painted[dubbed.box] = dubbed.mask
        assert 0 < (painted > 0).mean() < 0.2
        np.testing.assert_array_equal(dubbed.picture[painted == 0], original[painted == 0])
        assert (dubbed.picture != original).any()


def test_what_may_be_no_persons_face_is_said_once(dubber, tracker, talk, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("superface_hf.pipelines.dubbing.logger.warning", said.append)
    monkeypatch.setattr(tracker, "seen_alone", lambda picture, face: 0.9, raising=False)
    list(dubber.frames(talk, _mouths(6)))
    assert not said
    monkeypatch.setattr(tracker, "seen_alone", lambda picture, face: 0.1)
    list(dubber.frames(talk, _mouths(6)))
    assert said == [UNSURE]


def test_what_was_passed_in_is_not_painted_on(dubber, talk):
    originals = [picture.copy() for picture in talk]
    list(dubber.frames(talk, _mouths(6, 3.0)))
    np.testing.assert_array_equal(np.stack(list(talk)), np.stack(originals))


def test_a_frame_without_a_face_passes_untouched_and_the_run_goes_on(dubber, tracker, talk):
    tracker.script[2] = None
    originals, dubbed = list(talk), list(dubber.frames(talk, _mouths(6, 3.0)))
    assert [frame.motion is None for frame in dubbed] == [False, False, True, False, False, False]
    np.testing.assert_array_equal(dubbed[2].picture, originals[2])


def test_a_mouth_comes_and_goes_gently_where_the_face_gets_lost(dubber, tracker, talk):
    tracker.script[4:] = [None, None]
    frames = list(dubber.frames(talk, _mouths(6, 3.0)))[:4]
    changes = [np.abs(d.picture.astype(int) - s).sum() for d, s in zip(frames, talk, strict=False)]
    assert changes[0] > changes[2] > changes[3] > 0


def test_a_video_without_a_face_is_an_error_even_if_the_speech_never_ends(dubber, tracker, talk):
    tracker.script = [None]
    with pytest.raises(NoFaceError, match="6 frames of the video"):
        list(dubber.frames(talk, itertools.repeat(np.zeros(30))))
    assert tracker.frames_read == 6


@pytest.mark.parametrize(
    ("when_short", "order"),
    [
        ("bounce", [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1, 2]),
        ("hold", [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5]),
        ("stop", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_short_video_bounces_holds_or_stops(dubber, talk, when_short, order):
    dubbed = dubber.frames(talk, _mouths(13), when_short)
    assert [_number(frame.picture) for frame in dubbed] == order


def test_a_video_of_one_frame_can_bounce(dubber, scene):
    assert len(list(dubber.frames(VideoReader([scene], FPS), _mouths(3), "bounce"))) == 3


def test_after_the_last_word_the_video_goes_on_with_a_mouth_that_closes(dubber, talk, face_model):
    swap = MouthSwap(face_model, MouthRegion(face_model).weights)
    frames = list(dubber.frames(talk, _mouths(2, 3.0)))
    assert [_number(frame.picture) for frame in frames] == [0, 1, 2, 3, 4, 5]
    left = [np.abs(frame.motion.mouth[0] - swap.shut()).max() for frame in frames[1:]]
    assert all(after < 0.6 * before for before, after in itertools.pairwise(left))


def test_the_motion_is_the_persons_own_with_the_new_mouth(dubber, tracker, talk):
    mouths = _mouths(6) * np.arange(6)[:, None]
    motions = [frame.motion for frame in dubber.frames(talk, mouths)]
    np.testing.assert_allclose([motion.mouth[0] for motion in motions], mouths)
    square = Square.around_picture(240, 320)
    centres = np.array([square.to_pixels(np.append(motion.translation[0], 0))[0] for motion in motions])
    assert np.abs(centres - 160.5 - np.linspace(-2.5, 2.5, 6)).max() < 2  # the person sways by a pixel a frame


def test_only_a_few_frames_wait_so_memory_does_not_grow(dubber, tracker, talk):
    dubbed = dubber.frames(talk, itertools.repeat(np.zeros(30)))
    for count in range(1, 16):
        next(dubbed)
        assert tracker.frames_read <= count + 13


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_do_not_change_the_result(small_teacher, tracker, matte, talk, batch_size):
    tracker.script[3] = None
    whole = [
        frame.picture for frame in Dubber(small_teacher, tracker, matte=matte, batch_size=6).frames(talk, _mouths(6))
    ]
    parts = [
        frame.picture
        for frame in Dubber(small_teacher, tracker, matte=matte, batch_size=batch_size).frames(talk, _mouths(6))
    ]
    assert np.abs(np.stack(whole).astype(int) - np.stack(parts)).max() <= 1


def test_an_index_chooses_a_face_and_follows_it(small_teacher, tracker, matte, talk, face_points):
    near, far = face_points(90, 120, 50), face_points(240, 120, 40)
    tracker.faces = [Face.of(near, 1.0), Face.of(far, 1.0)]
    for face, expected in (("largest", 158), (1, 240)):
        tracker.script = [face_points(158, 130, 56)]
        dubbed = list(Dubber(small_teacher, tracker, matte=matte, face=face).frames(talk, _mouths(6)))
        middles = [(frame.box[1].start + frame.box[1].stop) / 2 for frame in dubbed]
        assert middles == pytest.approx([expected] * 6, abs=3)
    with pytest.raises(SeveralFacesError, match="face=2"):
        list(Dubber(small_teacher, tracker, matte=matte, face=2).frames(talk, _mouths(6)))
    with pytest.raises(SeveralFacesError, match="allows one"):
        list(Dubber(small_teacher, tracker, matte=matte, face="only").frames(talk, _mouths(6)))


def test_another_shot_is_another_person(dubber, tracker, talk, face_points, monkeypatch):
    people = []
    monkeypatch.setattr(
        "superface_hf.pipelines.dubbing.Person", lambda model: people.append(Person(model)) or people[-1]
    )
    tracker.script[3:] = [face_points(60, 80, 30)] * 3
    list(dubber.frames(talk, _mouths(6)))
    assert len(people) == 2


def test_wrong_arguments_are_refused_with_a_sentence(small_teacher, tracker, matte, dubber, talk):
    with pytest.raises(UnknownNameError, match="bounce, hold, stop"):
        dubber.frames(talk, _mouths(6), "loop")
    with pytest.raises(UnknownNameError, match="largest"):
        Dubber(small_teacher, tracker, matte=matte, face="first")
    with pytest.raises(MotionError, match="30 finite coefficients"):
        list(dubber.frames(talk, np.zeros((6, 5))))
    with pytest.raises(MotionError, match="finite"):
        list(dubber.frames(talk, np.full((6, 30), np.nan)))


@pytest.mark.parametrize("own", [0.0, 2.0])
def test_lips_that_are_meant_to_be_shut_touch_whatever_they_did_before(face_model, own):
    swap = MouthSwap(face_model, MouthRegion(face_model).weights)
    landmarks, motion = _talking(face_model, own)
    shut = swap(landmarks, motion, swap.shut(), 1.0)
    assert lip_gap(shut / motion.scale[0]) <= TOUCHING + 1e-4


def test_an_open_mouth_is_as_open_as_its_coefficients_say_on_every_face(face_model):
    swap = MouthSwap(face_model, MouthRegion(face_model).weights)
    mouth = _mouths(1, 3.0)[0]
    meant = mouth_opening(mouth)
    assert meant > 2 * CLOSED
    for own in (0.0, 2.0):
        landmarks, motion = _talking(face_model, own)
        assert lip_gap(swap(landmarks, motion, mouth, 1.0) / motion.scale[0]) == pytest.approx(meant, abs=0.01)


def test_only_the_lower_face_moves(face_model):
    region = MouthRegion(face_model)
    landmarks, motion = _talking(face_model, 0.0)
    moved = MouthSwap(face_model, region.weights)(landmarks, motion, _mouths(1, 4.0)[0], 1.0)
    still = region.weights == 0
    np.testing.assert_array_equal(moved[still], landmarks[still])
    assert still[[33, 263, 1, 10, 168]].all()  # eyes, nose, forehead
    assert (region.weights[[0, 17, 61, 291, 152]] > 0.9).all()  # lips and chin


def test_the_painted_region_fades_to_nothing_and_covers_mouth_and_chin(face_model, face_points):
    region, points = MouthRegion(face_model), face_points()
    opened = points.copy()
    opened[152, 1] += 15
    box, mask = region.mask(points, opened, 240, 320)
    painted = np.zeros((240, 320), np.float32)
    painted[box] = mask
    assert max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) < 0.02
    columns, rows = opened[[0, 17, 61, 291, 152], :2].astype(int).T
    assert (painted[rows, columns] > 0.95).all()
    columns, rows = opened[[33, 263, 1, 10], :2].astype(int).T
    assert (painted[rows, columns] == 0).all()


def test_a_face_at_the_pictures_edge_is_dubbed(small_teacher, tracker, matte, face_points, talk):
    tracker.script = [face_points(5, 236, 56)]
    assert all(
        frame.motion is not None for frame in Dubber(small_teacher, tracker, matte=matte).frames(talk, _mouths(6))
    )


def _talking(face_model, opening: float) -> tuple[np.ndarray, Motion]:
    """Landmarks of the mean face with a mouth, and their motion."""
    mouth = _mouths(1, opening)
    points = face_model.mean.numpy() + (mouth @ face_model.bases["mouth"].flatten(1).numpy()).reshape(-1, 3)
    return points.astype(np.float32), replace(Motion.neutral(1, FPS), mouth=mouth)


@pytest.mark.parametrize("kept", [1, 3])
def test_a_file_plays_backward_as_it_plays_forward(tmp_path, scene, monkeypatch, kept):
    monkeypatch.setattr("superface_hf.media.video.BLOCK_BYTES", 0)
    monkeypatch.setattr("superface_hf.media.video.BLOCK_FRAMES", kept)
    frames = [np.roll(scene, 4 * index, axis=1) for index in range(11)]
    write_mp4(tmp_path / "talk.mp4", frames, 30.0)
    video = VideoReader(tmp_path / "talk.mp4")
    forward, backward = list(video), list(video.backwards())
    np.testing.assert_array_equal(np.stack(backward[::-1]), np.stack(forward))
    np.testing.assert_array_equal(np.stack(list(video.backwards())), np.stack(backward))
