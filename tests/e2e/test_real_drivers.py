"""Drivers as people have them: two people, a first frame in the middle of a word, cuts, one picture, a quiet recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from conftest import FACE_SIZE, HEIGHT, WIDTH, frames_of
from PIL import Image

from superface_hf import Motion, MotionError, SeveralFacesError, UnknownNameError
from superface_hf.animation.rest import calmest, unrest
from superface_hf.drivers.audio import speech_to_motion
from superface_hf.drivers.following import SpeechHeard, follow_face
from superface_hf.drivers.loudness import LoudnessNormalizer, speech_level
from superface_hf.drivers.video import video_to_motion
from superface_hf.drivers.watching import levels_of
from superface_hf.face_model.lips import CLOSED, mouth_opening
from superface_hf.face_model.topology import LEFT_LIDS, lid_gap
from superface_hf.media import Sound, load_picture, load_sound, write_mp4
from superface_hf.models.embedded import load_audio_to_lip
from superface_hf.models.tracker.base import Face
from superface_hf.pipelines.driving import changes_of, driver_of
from superface_hf.pipelines.request import Request
from superface_hf.utils.assets import PORTRAIT, SPEECH

FPS = 25.0
OPEN, SHUT, TURNED = {"jawOpen": 0.7}, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, [0.0, 0.5, 0.0]


@dataclass
class Crowd:
    """Sees the faces of a script, frame by frame."""

    script: list[list[Face]]

    def find_faces(self, image: np.ndarray) -> list[Face]:
        return self.script.pop(0)

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Face | None]:
        for frame in frames:
            yield next(iter(self.find_faces(frame)), None)


@pytest.fixture
def meshes(face_model):
    """Landmarks (T, 478, 3) in pixels of somebody who moves, at a place and of a size."""

    def make(motion: Motion, x: float = WIDTH / 2, y: float = HEIGHT / 2, size: float = FACE_SIZE) -> np.ndarray:
        from superface_hf.face_model.linear import FaceShape

        points = face_model.animate(FaceShape(face_model.mean), motion).numpy()
        return (points * size + np.array([x, y, 0])).astype(np.float32)

    return make


def speaking(frames: int, phase: float = 0.0, strength: float = 0.5) -> Motion:
    """A mouth that opens and shuts twice a second."""
    wide = strength * np.clip(np.sin(4 * np.pi * np.arange(frames) / FPS + phase), 0, 1)
    parts = [Motion.neutral(1, FPS).edit({"jawOpen": float(value)}) for value in wide]
    return Motion.concatenate(parts)


def holding(frames: int, turn: list[float] | None = None, **shapes: float) -> Motion:
    motion = Motion.neutral(frames, FPS).edit(shapes)
    return motion if turn is None else replace(motion, rotation=np.repeat([turn], frames, axis=0))


def two_people(meshes, left: Motion, right: Motion) -> Crowd:
    """The one on the right is smaller."""
    pairs = zip(meshes(left, 90, 120, 60), meshes(right, 240, 120, 50), strict=True)
    return Crowd([[Face.of(one, 1.0), Face.of(other, 1.0)] for one, other in pairs])


def shots(crowd: Crowd, pictures: Iterable[np.ndarray], face) -> list[float | None]:
    """Where the followed face is, from left to right."""
    seen = follow_face(crowd, pictures, face)
    return [None if each.face is None else float(each.face.box[[0, 2]].mean()) for each in seen]


class TestWhoIsImitated:
    def test_an_index_chooses_in_the_driving_video(self, quick_pipe, scene, meshes):
        nods = replace(Motion.neutral(12, FPS), rotation=np.linspace(0, 0.3, 12)[:, None] * np.array([1.0, 0, 0]))
        for face, moves in ((0, False), (1, True)):
            quick_pipe._tracker = quick_pipe.__dict__["tracker"] = two_people(meshes, Motion.neutral(12, FPS), nods)
            driver = driver_of(Request(video=frames_of(12), driving_face=face), quick_pipe)
            rotation = Motion.concatenate([piece.motion for piece in driver.pieces()]).rotation
            assert (np.ptp(rotation[:, 0]) > 0.1) == moves

    def test_the_one_whose_mouth_moves_speaks(self, meshes):
        crowd = two_people(meshes, Motion.neutral(50, FPS), speaking(50))
        assert shots(crowd, frames_of(50), "speaking") == pytest.approx([240] * 50, abs=5)
        crowd = two_people(meshes, speaking(50), Motion.neutral(50, FPS))
        assert shots(crowd, frames_of(50), "speaking") == pytest.approx([90] * 50, abs=5)

    def test_of_two_who_chew_and_speak_the_sound_tells(self, meshes, tmp_path):
        clock = np.arange(2 * 16000) / 16000
        sound = (0.5 * np.clip(np.sin(4 * np.pi * clock), 0, 1) * np.sin(2000 * clock)).astype(np.float32)
        write_mp4(tmp_path / "two.mp4", frames_of(50) + 50, FPS, sound, 16000)
        from superface_hf.media import VideoReader

        heard = SpeechHeard(FPS, levels_of(VideoReader(tmp_path / "two.mp4")))
        crowd = two_people(meshes, speaking(50, np.pi, 0.6), speaking(50, 0.0, 0.5))
        seen = follow_face(crowd, frames_of(50), "speaking", speech=heard)
        assert {round(float(each.face.box[[0, 2]].mean()), -1) for each in seen} == {240}

    def test_a_stream_chooses_too(self, quick_pipe, scene, meshes):
        crowd = two_people(meshes, Motion.neutral(8, FPS), speaking(8))
        quick_pipe._tracker = quick_pipe.__dict__["tracker"] = crowd
        crowd.script.insert(0, [Face.of(meshes(Motion.neutral(1, FPS))[0], 1.0)])  # the portrait
        frames = list(quick_pipe.stream(scene, video=(frame for frame in frames_of(8)), driving_face=1))
        assert len(frames) == 8
        assert np.abs(frames[3].astype(int) - frames[0]).max() > 10

    def test_what_does_not_exist_is_said_with_the_arguments_name(self, quick_pipe, scene, meshes):
        with pytest.raises(UnknownNameError, match="driving_face must be"):
            quick_pipe(scene, video=frames_of(3), driving_face="loudest")
        with pytest.raises(SeveralFacesError, match="driving_face=4"):
            list(follow_face(two_people(meshes, *[Motion.neutral(3, FPS)] * 2), frames_of(3), 4, name="driving_face"))


class TestAChosenFaceIsFoundAgain:
    """A wide shot of two people, then cameras that show one of them, somewhere else and larger."""

    @pytest.fixture
    def people(self) -> list[np.ndarray]:
        from pathlib import Path

        import superface_hf

        other = Path(superface_hf.__file__).parent / "assets/space/example_photo.jpg"
        return [load_picture(PORTRAIT)[20:220, 120:320], load_picture(other)]

    def shot(self, people: list[np.ndarray], places: dict[int, tuple[int, int, int]], face_model):
        """A picture, and its faces, largest first: person -> left, top and side of their picture in it."""
        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        faces = []
        for number, (left, top, side) in places.items():
            picture[top : top + side, left : left + side] = np.asarray(
                Image.fromarray(people[number]).resize((side, side))
            )
            middle = np.array([left + side / 2, top + side / 2, 0])
            faces.append(Face.of((face_model.mean.numpy() * side * 0.28 + middle).astype(np.float32), 1.0))
        return picture, sorted(faces, key=lambda face: -face.area)

    @pytest.mark.parametrize("chosen", [0, 1])
    def test_by_its_look_and_nobody_else_is(self, people, face_model, chosen):
        wide = self.shot(people, {0: (10, 20, 130), 1: (190, 60, 110)}, face_model)
        close = [self.shot(people, {number: (60, 10, 220)}, face_model) for number in (0, 1)]
        swapped = self.shot(people, {1: (10, 60, 140), 0: (200, 60, 110)}, face_model)
        film = [*[wide] * 3, *[close[1 - chosen]] * 40, *[close[chosen]] * 3, *[swapped] * 3]
        crowd = Crowd([faces for _, faces in film])
        places = shots(crowd, [picture for picture, _ in film], chosen)
        assert places[:3] == pytest.approx([[75, 245][chosen]] * 3, abs=3)
        assert places[3:43] == [None] * 40
        assert places[43:46] == pytest.approx([170] * 3, abs=3)
        assert places[46:] == pytest.approx([[255, 80][chosen]] * 3, abs=3)

    def test_twins_are_told_by_their_place(self, people, face_model):
        wide = self.shot([people[0]] * 2, {0: (10, 20, 130), 1: (190, 60, 110)}, face_model)
        nobody = (np.full((HEIGHT, WIDTH, 3), 90, np.uint8), [])
        moved = self.shot([people[0]] * 2, {0: (20, 25, 130), 1: (180, 60, 110)}, face_model)
        film = [*[wide] * 3, *[nobody] * 30, *[moved] * 2]
        places = shots(Crowd([faces for _, faces in film]), [picture for picture, _ in film], 1)
        assert places[-2:] == pytest.approx([235] * 2, abs=3)


class TestADriversRest:
    """What a driver does in the first frame is not rest."""

    def driven(self, quick_pipe, tracker, scene, points, stream: bool = False, **options) -> Motion:
        tracker.script = list(points)
        if stream:
            recorded: list[Motion] = []
            from superface_hf.animation.retargeting import Retargeter

            request = Request(video=frames_of(len(points)), **options)
            driver = driver_of(request, quick_pipe, live=True)
            retarget = Retargeter(quick_pipe.preprocess(scene), changes_of(request, driver.fps), quick_pipe.face_model)
            recorded = [retarget(piece.motion, piece.mouth, piece.rest)[0] for piece in driver.pieces()]
            return Motion.concatenate(recorded)
        return quick_pipe(scene, video=frames_of(len(points)), **options).motion

    @pytest.mark.parametrize("stream", [False, True])
    def test_an_open_mouth_in_the_first_frame_leaves_the_mouth_free(self, quick_pipe, tracker, scene, meshes, stream):
        talk = Motion.concatenate([holding(5, **OPEN), holding(10), speaking(25)])
        openings = mouth_opening(self.driven(quick_pipe, tracker, scene, meshes(talk), stream).mouth)
        wanted = mouth_opening(talk.mouth)
        assert openings[2] > 0.6 * wanted[2]
        assert openings[10] < 2 * CLOSED
        assert openings.max() > 0.6 * wanted.max()
        assert np.corrcoef(openings, wanted)[0, 1] > 0.9

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_puckered_lip_in_the_first_frame_does_not_stay(self, quick_pipe, tracker, scene, meshes, stream):
        pucker = {"mouthPucker": 0.9, "mouthFunnel": 0.4}
        talk = Motion.concatenate([holding(5, **pucker), holding(10), speaking(25)])
        mouth = self.driven(quick_pipe, tracker, scene, meshes(talk), stream).mouth
        own = quick_pipe.preprocess(scene).motion.mouth
        towards = Motion.neutral(1, FPS).edit(pucker).mouth[0]
        strength = (mouth - own) @ towards / (towards @ towards)
        # While it streams, one frame cannot tell a puckered mouth from a narrow one.
        assert strength[2] > (0.35 if stream else 0.6)
        assert np.abs(strength[13 if stream else 8 : 15]).max() < 0.2
        openings, wanted = mouth_opening(mouth)[15:], mouth_opening(talk.mouth)[15:]
        assert openings.max() > 0.6 * wanted.max()
        assert np.corrcoef(openings, wanted)[0, 1] > 0.9

    @pytest.mark.parametrize("stream", [False, True])
    def test_shut_eyes_in_the_first_frame_do_not_make_sleepy_ones(self, quick_pipe, tracker, scene, meshes, stream):
        wakes = Motion.concatenate([holding(6, **SHUT), holding(34)])
        scores = self.driven(quick_pipe, tracker, scene, meshes(wakes), stream).to_arkit()[:, [8, 9]].mean(1)
        own = quick_pipe.preprocess(scene).motion.to_arkit()[0, [8, 9]].mean()
        assert scores[2] > own + 0.2
        assert scores[30] == pytest.approx(own, abs=0.1)
        wide = self.driven(quick_pipe, tracker, scene, meshes(wakes), stream).eyes[30]
        assert wide == pytest.approx(quick_pipe.preprocess(scene).motion.eyes[0], abs=0.25)

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_turned_head_in_the_first_frame_is_turned(self, quick_pipe, tracker, scene, meshes, stream):
        turns = Motion.concatenate([holding(8, TURNED), holding(40)])
        rotation = self.driven(quick_pipe, tracker, scene, meshes(turns), stream).rotation
        own = quick_pipe.preprocess(scene).motion.rotation[0]
        assert np.abs(rotation[3] - own)[1] > 0.35
        assert rotation[40] == pytest.approx(own, abs=0.06)

    def test_a_cut_does_not_stretch_the_head(self, quick_pipe, tracker, scene, meshes):
        still = Motion.neutral(10, FPS)
        points = [*meshes(still, 60, 70, 25), *meshes(still, 200, 150, 90)]
        own = quick_pipe.preprocess(scene).motion
        for stream in (False, True):
            moved = self.driven(quick_pipe, tracker, scene, points, stream)
            assert moved.scale == pytest.approx(np.repeat(own.scale, 20), rel=0.02)
            assert moved.translation == pytest.approx(np.repeat(own.translation, 20, 0), abs=0.02)
        tracker.script = points
        driven = video_to_motion(frames_of(20), FPS, tracker, quick_pipe.face_model)
        assert driven.shots == (0, 10)
        fast = quick_pipe(scene, motion=driven, fps=40).motion
        assert fast.scale == pytest.approx(np.repeat(own.scale, 32), rel=0.02)
        assert self.driven(quick_pipe, tracker, scene, points, relative=True).scale.max() > 1.4 * own.scale[0]

    def test_a_single_picture_means_its_expression(self, quick_pipe, tracker, scene, meshes):
        smile = holding(1, TURNED, mouthSmileLeft=0.8, mouthSmileRight=0.8, jawOpen=0.5, browInnerUp=0.7)
        own = quick_pipe.preprocess(scene).motion
        tracker.script = list(meshes(smile))
        for video in ([scene], scene, Image.fromarray(scene)):
            clip = quick_pipe(scene, video=video)
            assert len(clip) == 1
            assert mouth_opening(clip.motion.mouth) == pytest.approx(mouth_opening(smile.mouth), rel=0.3)
            assert clip.motion.to_arkit()[0] @ smile.to_arkit()[0] > 0.5 * np.square(smile.to_arkit()[0]).sum()
            assert clip.motion.rotation == pytest.approx(own.rotation, abs=1e-4)

    def test_a_portrait_with_shut_eyes_opens_them(self, quick_pipe, tracker, scene, meshes):
        tracker.faces = [Face.of(meshes(holding(1, **SHUT))[0], 1.0)]
        portrait, face_model = quick_pipe.preprocess(scene), quick_pipe.face_model
        usual = lid_gap(face_model.mean[None].numpy(), LEFT_LIDS)[0]

        def opening(motion: Motion) -> float:
            points = face_model.animate(portrait.shape, motion[5]).numpy() / motion.scale[5]
            return float(lid_gap(points, LEFT_LIDS)[0] / usual)

        still = meshes(Motion.neutral(12, FPS))
        assert opening(self.driven(quick_pipe, tracker, scene, still, relative=True)) < 0.4
        assert opening(self.driven(quick_pipe, tracker, scene, still)) > 0.7

    def test_a_motion_that_leaves_the_mouth_alone_keeps_the_portraits(self, quick_pipe, tracker, scene, meshes):
        tracker.faces = [Face.of(meshes(holding(1, mouthSmileLeft=0.6, mouthSmileRight=0.6))[0], 1.0)]
        own = quick_pipe.preprocess(scene).motion
        nod = replace(Motion.neutral(8, FPS), rotation=0.1 * np.sin(np.arange(8)[:, None]) * np.array([1.0, 0, 0]))
        assert quick_pipe(scene, motion=nod).motion.mouth == pytest.approx(np.repeat(own.mouth, 8, 0), abs=1e-4)

    def test_rest_is_calm_and_straight(self):
        poses = [holding(1, **OPEN), holding(1, **SHUT), holding(1, TURNED), Motion.neutral(1, FPS)]
        costs = [float(unrest(pose)[0]) for pose in poses]
        assert min(costs[:3]) > 2 > 0.5 > costs[3]

    def test_another_word_for_relative_is_refused(self, quick_pipe, scene):
        with pytest.raises(UnknownNameError, match="auto"):
            quick_pipe(scene, motion=Motion.neutral(2, FPS), relative="always")


class TestLoudness:
    @pytest.fixture(scope="class")
    @classmethod
    def voice(cls):
        return load_audio_to_lip(None, "cpu")

    @pytest.fixture(scope="class")
    @classmethod
    def sentence(cls) -> np.ndarray:
        return load_sound(SPEECH).mono()

    def test_at_its_own_level_a_sentence_keeps_its_mouth(self, voice, sentence):
        plain = voice.predict(sentence, FPS)
        mouth = speech_to_motion(Sound(sentence, 16000), FPS, voice, level=speech_level([sentence], 16000)).mouth
        assert np.sqrt(np.square(mouth - plain).mean()) < 0.05 * np.sqrt(np.square(plain).mean())

    @pytest.mark.parametrize(("known", "least"), [(True, 0.995), (False, 0.95)])
    def test_quiet_speech_opens_the_mouth_as_far(self, voice, sentence, known, least):
        quiet = sentence * np.float32(10**-1.5)
        level = speech_level([quiet], 16000) if known else None
        loud, soft = (
            mouth_opening(mouth)
            for mouth in (
                voice.predict(sentence, FPS),
                speech_to_motion(Sound(quiet, 16000), FPS, voice, level=level).mouth,
            )
        )
        assert soft.std() == pytest.approx(loud.std(), rel=0.05)
        assert np.corrcoef(soft, loud)[0, 1] > least

    def test_steady_noise_and_silence_are_never_taken_for_quiet_speech(self):
        noise = (10**-3 * np.random.default_rng(0).normal(size=5 * 16000)).astype(np.float32)
        for quiet in (noise, np.zeros_like(noise)):
            assert np.square(LoudnessNormalizer(16000).push(quiet)).mean() <= 2 * np.square(quiet).mean()
            assert np.array_equal(LoudnessNormalizer(16000, -18.0).push(quiet), quiet)
        assert speech_level([np.zeros(16000, np.float32)], 16000) == -18

    def test_pieces_of_any_size_give_the_same(self):
        sound = (np.random.default_rng(0).normal(size=40000) * np.repeat([0.2, 0.01, 0.3, 0.05], 10000)).astype(
            np.float32
        )
        one, many = LoudnessNormalizer(16000), LoudnessNormalizer(16000)
        joined = np.concatenate([many.push(part) for part in np.array_split(sound, 37)])
        np.testing.assert_allclose(joined, one.push(sound), rtol=1e-4, atol=1e-6)

    def test_articulation_strengthens_and_calms_but_shut_lips_stay_shut(self, quick_pipe, voice, sentence):
        quick_pipe._audio_to_lip = voice
        openings = {}
        for strength in (0.5, 1.0, 1.5):
            request = Request(audio=sentence[:32000], sampling_rate=16000, articulation=strength, idle=False)
            mouth = np.concatenate([piece.mouth for piece in driver_of(request, quick_pipe).pieces()])
            openings[strength] = mouth_opening(mouth)
        assert openings[0.5].max() < 0.75 * openings[1.0].max() < 0.75 * openings[1.5].max()
        shut = openings[1.0] < CLOSED / 2
        assert shut.any()
        assert openings[1.5][shut].max() < CLOSED

    @pytest.mark.parametrize("strength", [0.4, 1.6, float("nan")])
    def test_more_is_refused(self, quick_pipe, scene, strength):
        with pytest.raises(MotionError, match=r"articulation .* 0\.5 and 1\.5"):
            quick_pipe(scene, audio=np.zeros(1600, np.float32), sampling_rate=16000, articulation=strength)


def test_a_motion_that_begins_at_rest_is_measured_from_there_however_fast_it_moves():
    motion = Motion.neutral(6, 25)
    rotation = np.array(motion.rotation)
    rotation[1:5] = [(0, 0.35, 0), (0, -0.35, 0), (0.25, 0, 0), (0, 0, 0.5)]
    assert np.array_equal(calmest(replace(motion, rotation=rotation)).rotation, motion.rotation[:1])
