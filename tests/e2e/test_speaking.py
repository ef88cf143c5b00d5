"""A portrait that speaks: what sound, text and their combinations with video and motion do to a face."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import frames_of
from transformers import pipeline

from superface_hf import (
    MediaError,
    Motion,
    MotionError,
    SuperFaceAudioToLipConfig,
    SuperFaceAudioToLipModel,
    SuperFaceError,
    UnknownNameError,
)
from superface_hf.animation.portrait_mouth import PortraitMouth
from superface_hf.drivers import audio
from superface_hf.drivers.audio import follow_speech, speech_to_motion
from superface_hf.drivers.idle import IdleMotion
from superface_hf.drivers.loudness import LoudnessMeter
from superface_hf.face_model.linear import FaceShape
from superface_hf.face_model.lips import CLOSED, mouth_opening
from superface_hf.face_model.topology import INNER_LIPS
from superface_hf.media import Sound, SoundReader, VideoReader, load_sound, write_mp4
from superface_hf.models.tracker.base import Face
from superface_hf.motion.regions import ARRAYS

RATE = 16000


@pytest.fixture(scope="session")
def small_voice() -> SuperFaceAudioToLipModel:
    """An untrained audio-to-lip model: its mouths mean nothing, but they move with the sound."""
    torch.manual_seed(0)
    model = SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=16, dilations=[1, 2]))
    with torch.no_grad():
        next(p for p in reversed(list(model.parameters())) if p.ndim == 2).mul_(30)
    return model.eval()


@pytest.fixture
def speaking_pipe(small_teacher, tracker, small_voice):
    return pipeline("talking-face", model=small_teacher, tracker=tracker, audio_to_lip=small_voice, device="cpu")


def babble(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """Syllables of noise."""
    clock = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, len(clock))
    return (noise * np.clip(np.sin(2 * np.pi * 3 * clock), 0, 1)).astype(np.float32)


def swaying(frames: int, fps: float = 25.0) -> Motion:
    motion = Motion.neutral(frames, fps)
    turn = 0.2 * np.sin(np.arange(frames)[:, None] / 5) * np.array([0.3, 1.0, 0.1])
    return replace(motion, rotation=turn, eyes=np.sin(np.arange(frames)[:, None] / 4) * np.ones_like(motion.eyes) * 0.2)


def lip_gaps(points: torch.Tensor | np.ndarray) -> np.ndarray:
    """(T, 3): how far the inner lips are apart."""
    upper, lower = np.array(INNER_LIPS).T
    return np.asarray(points)[..., lower, 1] - np.asarray(points)[..., upper, 1]


class TestTheDriver:
    @pytest.mark.parametrize("size", [333, 4000, 50_000])
    @pytest.mark.parametrize("fps", [25, 29.97])
    def test_in_chunks_it_is_the_same_motion(self, small_voice, size, fps):
        sound = babble(2.03)
        whole = speech_to_motion(Sound(sound, RATE), fps, small_voice, IdleMotion(seed=2))
        chunks = (sound[start : start + size] for start in range(0, len(sound), size))
        joined = Motion.concatenate(list(follow_speech(chunks, fps, small_voice, IdleMotion(seed=2))))
        assert len(joined) == len(whole) == round(2.03 * fps)
        for name in ARRAYS:
            assert np.abs(getattr(joined, name) - getattr(whole, name)).max() < 1e-4

    def test_without_idle_motion_only_the_mouth_moves(self, small_voice):
        motion = speech_to_motion(Sound(babble(), RATE), 25, small_voice)
        assert np.ptp(motion.mouth, axis=0).max() > 0.05
        for name in ARRAYS:
            if name != "mouth":
                assert np.array_equal(getattr(motion, name), getattr(Motion.neutral(25, 25), name))

    def test_any_rate_and_channels_drive_alike(self, small_voice):
        expected = speech_to_motion(Sound(babble(), RATE), 25, small_voice).mouth
        stereo = np.stack([babble(), babble()], axis=1)
        assert np.abs(speech_to_motion(Sound(stereo, RATE), 25, small_voice).mouth - expected).max() < 1e-5

    def test_loudness_is_that_of_each_frames_own_time(self):
        sound = np.concatenate([np.zeros(640), np.full(640, 0.1), np.full(320, 1.0)]).astype(np.float32)
        meter = LoudnessMeter(25, RATE)
        parts = [meter.push(sound[:100]), meter.push(sound[100:1500]), meter.push(sound[1500:]), meter.flush()]
        assert np.concatenate(parts) == pytest.approx([-np.inf, -20, 0], abs=1e-3)

    def test_a_silent_sound_is_mentioned_and_works(self, small_voice, monkeypatch):
        warnings: list[str] = []
        monkeypatch.setattr(audio.logger, "warning", warnings.append)
        motion = speech_to_motion(Sound(np.zeros(RATE, np.float32), RATE), 25, small_voice)
        list(follow_speech([np.zeros(RATE, np.float32)], 25, small_voice))
        assert len(motion) == 25
        assert len(warnings) == 2
        assert "silent" in warnings[0]


class TestThePortraitsMouth:
    """The coefficients mean the mean face's lips; on any face they must do the same."""

    def gaps(self, shape: FaceShape, mouth: np.ndarray, face_model) -> np.ndarray:
        spoken = PortraitMouth(shape, np.zeros(mouth.shape[1]), face_model)(mouth)
        return lip_gaps(face_model.animate(shape, replace(Motion.neutral(len(mouth), 25), mouth=spoken)))

    def shapes(self, face_model) -> list[FaceShape]:
        """Faces whose lips are kept apart, cross, or are crooked."""
        shapes = []
        for change in (0.0, 0.03, -0.04):
            points = face_model.mean.clone()
            points[[17, 14, 87, 317, 84, 314], 1] += change
            shapes.append(FaceShape(points))
        crooked = face_model.mean.clone()
        crooked[317, 1] += 0.02
        return [*shapes, FaceShape(crooked)]

    def test_a_shut_mouth_is_shut_on_every_face(self, face_model):
        mean = Motion.neutral(1, 25)
        pressed = mean.edit({"jawOpen": -0.1, "mouthPressLeft": 0.6, "mouthPressRight": 0.6})
        for mouth in (mean.edit({"jawOpen": -0.1}).mouth, pressed.mouth):
            assert mouth_opening(mouth) < CLOSED
            for shape in self.shapes(face_model):
                gaps = self.gaps(shape, mouth, face_model)
                assert gaps.mean() < 0.015
                assert gaps.min() > -0.012

    def test_an_open_mouth_is_as_open_on_every_face(self, face_model):
        mouth = Motion.neutral(1, 25).edit({"jawOpen": 0.5}).mouth
        gaps = [self.gaps(shape, mouth, face_model).mean() for shape in self.shapes(face_model)]
        assert min(gaps) > 0.1
        assert np.ptp(gaps) < 0.01

    def test_opening_more_never_closes(self, face_model):
        mouth = np.concatenate([Motion.neutral(1, 25).edit({"jawOpen": x}).mouth for x in np.linspace(-0.1, 0.6, 40)])
        gaps = self.gaps(FaceShape(face_model.mean), mouth, face_model).mean(1)
        assert (np.diff(gaps) > -1e-4).all()


class TestAudio:
    def test_a_sound_gives_a_clip_as_long_as_it_is(self, speaking_pipe, scene):
        clip = speaking_pipe(scene, audio=babble(0.5), sampling_rate=RATE)
        assert clip.frames.shape == (12, *scene.shape)
        assert clip.fps == 25
        assert clip.sampling_rate == RATE
        assert len(clip.audio) == round(12 / 25 * RATE)
        assert np.array_equal(clip.audio, babble(0.5)[: len(clip.audio)])

    def test_sound_keeps_its_own_rate_and_channels_and_is_filled_up_to_the_last_frame(self, speaking_pipe, scene):
        both = np.stack([babble(0.47, 44100)] * 2, axis=1)
        clip = speaking_pipe(scene, audio=(both, 44100), fps=10)
        assert len(clip) == 5
        assert clip.audio.shape == (22050, 2)
        assert not clip.audio[round(0.47 * 44100) :].any()

    def test_the_mouth_is_taken_as_it_is_whatever_the_portrait_does(self, speaking_pipe, tracker, scene, face_model):
        """Two portraits, one that grins with its mouth open: lips are equally far apart from the first frame on."""
        grin = Motion.neutral(1, 25).edit({"jawOpen": 0.5, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8})
        gaps = []
        for motion in (Motion.neutral(1, 25), grin):
            points = face_model.animate(FaceShape(face_model.mean), motion)[0].numpy() * 60 + [160, 130, 0]
            tracker.faces = [Face.of(points.astype(np.float32), 1.0)]
            clip = speaking_pipe(scene, audio=babble(0.4), sampling_rate=RATE, idle=False)
            portrait = speaking_pipe.preprocess(scene)
            landmarks = face_model.animate(portrait.shape, clip.motion)
            gaps.append(lip_gaps(landmarks).mean(1) / float(portrait.motion.scale[0]))
        assert np.abs(gaps[0] - gaps[1]).max() < 0.02

    def test_it_starts_from_the_portraits_pose_and_idles_from_there(self, speaking_pipe, scene):
        own = speaking_pipe.preprocess(scene).motion
        motion = speaking_pipe(scene, audio=babble(1.2), sampling_rate=RATE).motion
        for name in ARRAYS:
            if name != "mouth":
                assert getattr(motion, name)[0] == pytest.approx(getattr(own, name)[0], abs=1e-5)
        assert np.abs(motion.rotation - own.rotation).max() > 0.005

    @pytest.mark.parametrize("idle", [False, 0])
    def test_idle_motion_is_off_with_one_argument(self, speaking_pipe, scene, idle):
        motion = speaking_pipe(scene, audio=babble(0.6), sampling_rate=RATE, idle=idle).motion
        for name in ("rotation", "eyes", "brows", "gaze"):
            assert np.ptp(getattr(motion, name), axis=0).max() < 1e-5

    def test_the_seed_chooses_the_idle_motion(self, speaking_pipe, scene):
        first, again, other = (
            speaking_pipe(scene, audio=babble(0.6), sampling_rate=RATE, seed=seed).motion for seed in (1, 1, 2)
        )
        assert np.array_equal(first.rotation, again.rotation)
        assert np.abs(first.rotation - other.rotation).max() > 0.001

    def test_a_blink_shuts_a_squinting_eye_no_further_than_shut(self, speaking_pipe, scene, face_model, tracker):
        lids = ((386, 374), (159, 145))
        for start in ({"eyeBlinkLeft": 0.6, "eyeBlinkRight": 0.6}, {"eyeWideLeft": 1, "eyeWideRight": 1}, {}):
            expression = Motion.neutral(1, 25).edit(start)
            points = face_model.animate(FaceShape(face_model.mean), expression)[0].numpy() * 60 + [160, 130, 0]
            tracker.faces = [Face.of(points.astype(np.float32), 1.0)]
            blink = Motion.concatenate(
                [Motion.neutral(1, 25), Motion.neutral(1, 25).edit({"eyeBlinkLeft": 1, "eyeBlinkRight": 1})]
            )
            portrait = speaking_pipe.preprocess(scene)
            landmarks = face_model.animate(portrait.shape, speaking_pipe(scene, motion=blink).motion)[1].numpy()
            gap = [(landmarks[low, 1] - landmarks[up, 1]) / portrait.motion.scale[0] for up, low in lids]
            assert np.abs(gap).max() < 0.025

    def test_edits_and_regions_are_laid_on_top(self, speaking_pipe, scene):
        plain, edited, replaced = (
            speaking_pipe(scene, audio=babble(0.4), sampling_rate=RATE, **options).motion
            for options in ({}, {"edit": {"jawOpen": 0.4}}, {"regions": {"head": swaying(20)}})
        )
        change = edited.mouth - plain.mouth
        assert np.abs(change).max() > 0.1
        assert change == pytest.approx(np.repeat(change[:1], len(change), 0), abs=1e-4)
        assert np.array_equal(replaced.mouth, plain.mouth)
        assert np.abs(replaced.rotation - plain.rotation).max() > 0.01

    def test_several_portraits_say_the_same(self, speaking_pipe, scene):
        clips = speaking_pipe([scene, scene], audio=babble(0.3), sampling_rate=RATE)
        assert [len(clip) for clip in clips] == [8, 8]
        assert np.array_equal(clips[0].motion.mouth, clips[1].motion.mouth)

    def test_it_is_written_as_it_would_be_saved(self, speaking_pipe, scene, tmp_path):
        write_mp4(tmp_path / "talk.mp4", frames_of(20) + 60, 25, babble(0.8, 44100), 44100)
        clip = speaking_pipe(scene, audio=tmp_path / "talk.mp4")
        motion = speaking_pipe.write(tmp_path / "out.mp4", scene, audio=tmp_path / "talk.mp4")
        reader = VideoReader(tmp_path / "out.mp4")
        assert len(motion) == len(clip) == len(list(reader))
        for name in ARRAYS:
            assert np.abs(getattr(motion, name) - getattr(clip.motion, name)).max() < 1e-4
        assert reader.sound().rate == 44100
        assert reader.sound().seconds == pytest.approx(len(clip) / 25, abs=0.1)

    @pytest.mark.parametrize(
        ("options", "error", "says"),
        [
            ({"audio": np.zeros(0), "sampling_rate": RATE}, MediaError, "empty"),
            ({"audio": np.full(RATE, np.nan), "sampling_rate": RATE}, MediaError, "NaN"),
            ({"audio": np.zeros(3), "sampling_rate": RATE}, MediaError, "3 samples"),
            ({"audio": np.zeros(RATE)}, MediaError, "sampling_rate="),
            ({"audio": "missing.wav"}, MediaError, "missing.wav"),
            ({"audio": b"no sound at all" * 9}, MediaError, "not a sound"),
            ({"audio": (x for x in [np.zeros(100)]), "sampling_rate": RATE}, MediaError, "stream"),
            ({"audio": babble(), "sampling_rate": RATE, "text": "Hello"}, MediaError, "not both"),
            ({"audio": babble(), "sampling_rate": RATE, "idle": 3.0}, MotionError, "strength"),
            ({"audio": babble(), "sampling_rate": RATE, "when_short": "loop"}, UnknownNameError, "bounce"),
            ({"audio": babble(), "sampling_rate": RATE, "edit": {"jaw": 1}}, UnknownNameError, "jaw"),
            ({"text": "Hello"}, SuperFaceError, "facebook/mms-tts-eng"),
        ],
    )
    def test_what_cannot_work_is_one_error_of_ours(self, speaking_pipe, scene, options, error, says):
        with pytest.raises(error, match=says):
            speaking_pipe(scene, **options)

    def test_a_silent_sound_gives_a_quiet_face(self, speaking_pipe, scene):
        clip = speaking_pipe(scene, audio=np.zeros(RATE // 2), sampling_rate=RATE)
        assert len(clip) == 12
        assert np.ptp(clip.motion.mouth, axis=0).max() < 0.5


class TestCombinations:
    def test_head_and_eyes_come_from_the_video_and_the_mouth_from_the_sound(self, speaking_pipe, scene):
        sound = {"audio": babble(0.4), "sampling_rate": RATE}
        both = speaking_pipe(scene, video=frames_of(12), **sound)
        video = speaking_pipe(scene, video=frames_of(12))
        alone = speaking_pipe(scene, **sound)
        assert len(both) == 10
        assert both.motion.rotation == pytest.approx(video.motion.rotation[:10], abs=1e-4)
        assert both.motion.translation == pytest.approx(video.motion.translation[:10], abs=1e-4)
        assert both.motion.mouth == pytest.approx(alone.motion.mouth, abs=1e-4)
        assert np.array_equal(both.audio, babble(0.4))

    @pytest.mark.parametrize(
        ("when_short", "order"),
        [
            ("bounce", [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]),
            ("hold", [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]),
            ("stop", [0, 1, 2, 3]),
        ],
    )
    def test_a_motion_that_is_shorter_goes_on_as_asked(self, speaking_pipe, scene, when_short, order):
        driver = swaying(4)
        options = {"motion": driver, "audio": babble(0.4), "sampling_rate": RATE, "when_short": when_short}
        clip = speaking_pipe(scene, **options)
        single = speaking_pipe(scene, motion=driver).motion
        assert clip.motion.rotation == pytest.approx(single.rotation[order], abs=1e-5)
        assert len(clip.audio) == len(order) / 25 * RATE
        assert len(list(speaking_pipe.stream(scene, **options))) == len(order)

    def test_a_video_gives_the_frame_rate(self, speaking_pipe, scene, tmp_path):
        write_mp4(tmp_path / "v.mp4", frames_of(10), 20)
        assert speaking_pipe(scene, video=tmp_path / "v.mp4", audio=babble(), sampling_rate=RATE).fps == 20
        clip = speaking_pipe(scene, video=tmp_path / "v.mp4", audio=babble(), sampling_rate=RATE, fps=10)
        assert (clip.fps, len(clip)) == (10, 10)

    def test_no_more_of_a_video_is_tracked_than_the_sound_needs(self, speaking_pipe, tracker, scene):
        speaking_pipe(scene, video=frames_of(200), audio=babble(0.4), sampling_rate=RATE)
        assert tracker.frames_read <= 30

    def test_where_no_face_is_seen_yet_it_speaks_already(self, speaking_pipe, tracker, scene):
        tracker.script[:4] = [None] * 4
        options = {"audio": babble(0.4), "sampling_rate": RATE}
        alone = speaking_pipe(scene, **options, idle=False).motion
        assert speaking_pipe(scene, video=frames_of(12), **options).missing == [0, 1, 2, 3]
        streamed = list(speaking_pipe.stream(scene, video=frames_of(12), **options))
        assert len(streamed) == len(alone)

    def test_a_bundled_motion_speaks(self, speaking_pipe, scene):
        clip = speaking_pipe(scene, motion="nod", audio=babble(0.3), sampling_rate=RATE)
        assert len(clip) == 8


class TestDubbing:
    """Which frames come out is tested with the dubber; here, that it is asked for as it should be."""

    def test_a_video_and_speech_without_a_picture_dub_the_video(
        self, speaking_pipe, tracker, tmp_path, warnings_logged
    ):
        tracker.script[2] = None
        video = frames_of(8) + 90
        options = {"video": video, "audio": babble(8 / 25), "sampling_rate": RATE}
        clip = speaking_pipe(**options)
        assert clip.frames.shape == video.shape
        assert clip.missing == [2]
        assert len(warnings_logged) == 1
        assert "1 of 8 frames" in warnings_logged[0]
        assert len(clip.motion) == len(clip) == 8
        assert np.array_equal(clip.frames[2], video[2])
        assert np.array_equal(clip.audio, babble(8 / 25))
        assert np.array_equal(np.stack(list(speaking_pipe.stream(**options))), clip.frames)
        assert len(speaking_pipe.write(tmp_path / "out.mp4", **options)) == 8

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"edit": {"jawOpen": 0.2}}, MotionError),
            ({"regions": {"mouth": swaying(2)}}, MotionError),
            ({"sampling_rate": None}, MediaError),
            ({"video": None, "portrait": False}, MediaError),
            ({"video": None, "portrait": False, "motion": "nod"}, MediaError),
        ],
    )
    def test_what_dubbing_cannot_do_is_one_error_of_ours(self, speaking_pipe, options, error):
        with pytest.raises(error):
            speaking_pipe(**{"video": frames_of(3), "audio": babble(), "sampling_rate": RATE, **options})


class TestStreaming:
    def chunks(self, sound: np.ndarray, size: int):
        yield from (sound[start : start + size] for start in range(0, len(sound), size))

    @pytest.mark.parametrize("size", [160, 1600, 9999])
    def test_chunks_of_any_size_give_the_same_frames(self, speaking_pipe, scene, size):
        whole, parts = (
            speaking_pipe.stream(scene, audio=self.chunks(babble(0.4), each), sampling_rate=RATE)
            for each in (RATE, size)
        )
        frames = np.stack(list(whole)).astype(int)
        assert len(frames) == 10
        assert np.abs(np.stack(list(parts)) - frames).max() <= 1

    def test_frames_come_while_the_sound_is_still_coming(self, speaking_pipe, scene):
        given = []

        def endless():
            while True:
                given.append(1)
                yield babble(0.02)

        stream = speaking_pipe.stream(scene, audio=endless(), sampling_rate=RATE)
        for count in range(1, 6):
            next(stream)
            assert len(given) * 0.02 <= (count - 1) / 25 + 0.2 + 0.02 + 1e-9

    def test_chunks_of_integers_at_another_rate_will_do(self, speaking_pipe, scene):
        sound = np.round(babble(0.4, 48000) * 32767).astype(np.int16)
        assert len(list(speaking_pipe.stream(scene, audio=self.chunks(sound, 960), sampling_rate=48000))) == 10

    def test_bad_chunks_are_refused(self, speaking_pipe, scene):
        with pytest.raises(MediaError, match="sampling_rate="):
            speaking_pipe.stream(scene, audio=self.chunks(babble(), 100))
        with pytest.raises(MediaError, match="NaN"):
            list(speaking_pipe.stream(scene, audio=iter([np.full(100, np.nan)]), sampling_rate=RATE))

    def test_bounce_streams_a_video_generator(self, speaking_pipe, scene):
        video = (frame for frame in frames_of(4))
        stream = speaking_pipe.stream(scene, video=video, audio=self.chunks(babble(0.4), 500), sampling_rate=RATE)
        assert len(list(stream)) == 10

    def test_the_first_motion_frame_comes_within_300_ms_of_the_first_chunk(self, small_voice):
        """Sound arrives in real time; what it takes to compute is measured, what it takes to hear is its time stamp."""
        blocks = iter([babble(0.02)] * 50)
        stream = follow_speech((block for block in blocks), 25, small_voice, IdleMotion())
        started = time.process_time()  # a busy machine must not fail this
        next(stream)
        computed = time.process_time() - started
        heard = (50 - len(list(blocks))) * 0.02
        assert heard + computed < 0.3


class TestText:
    @pytest.mark.parametrize("shape", [(8000,), (1, 8000)])
    def test_a_text_is_spoken_by_any_function(self, speaking_pipe, scene, shape):
        said = []

        def tts(text):
            said.append(text)
            return {"audio": babble(0.5).reshape(shape), "sampling_rate": RATE}

        clip = speaking_pipe(scene, text="Hello there.", tts=tts)
        assert said == ["Hello there."]
        assert len(clip) == 12
        assert np.array_equal(clip.audio, babble(0.5)[: len(clip.audio)])

    def test_a_transformers_pipeline_speaks(self, speaking_pipe, scene, tmp_path):
        """A tiny VITS without training: it says nothing, but in the real format."""
        from transformers import VitsConfig, VitsModel, VitsTokenizer

        vocabulary = tmp_path / "vocab.json"
        vocabulary.write_text('{"<pad>": 0, "a": 1, "b": 2, "<unk>": 3}')
        torch.manual_seed(0)
        config = VitsConfig(
            vocab_size=4,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=16,
            flow_size=16,
            spectrogram_bins=9,
            upsample_initial_channel=32,
            posterior_encoder_num_wavenet_layers=1,
            prior_encoder_num_flows=2,
            prior_encoder_num_wavenet_layers=1,
            duration_predictor_num_flows=2,
            wavenet_dilation_rate=1,
        )
        model = VitsModel(config).eval()
        tts = pipeline("text-to-speech", model=model, tokenizer=VitsTokenizer(str(vocabulary), phonemize=False))
        clip = speaking_pipe(scene, text="ab ba ab", tts=tts)
        assert clip.sampling_rate == 16000
        assert len(clip) == pytest.approx(len(clip.audio) / 16000 * 25)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"text": "Hello"}, "tts="),
            ({"text": "  ", "tts": len}, "empty"),
            ({"text": "Hello", "tts": 3}, "text-to-speech pipeline"),
            ({"text": "Hello", "tts": "no/such-model"}, "cannot be loaded"),
            ({"text": "Hello", "tts": lambda text: {"audio": np.zeros(0), "sampling_rate": 16000}}, "empty"),
            ({"text": "Hello", "tts": lambda text: 1 / 0}, "failed"),
        ],
    )
    def test_what_cannot_speak_says_so(self, speaking_pipe, scene, options, says):
        with pytest.raises(SuperFaceError, match=says):
            speaking_pipe(scene, **options)


class TestSettings:
    def test_the_model_may_be_named_by_its_folder(self, small_teacher, tracker, small_voice, scene, tmp_path):
        small_voice.save_pretrained(tmp_path)
        pipe = pipeline("talking-face", model=small_teacher, tracker=tracker, audio_to_lip=str(tmp_path), device="cpu")
        expected = speech_to_motion(Sound(babble(0.3), RATE), 25, small_voice).mouth
        spoken = speech_to_motion(Sound(babble(0.3), RATE), 25, pipe.audio_to_lip).mouth
        assert np.abs(spoken - expected).max() < 1e-5

    def test_a_model_that_is_not_there_is_one_error(self, small_teacher, tracker, scene, tmp_path):
        pipe = pipeline("talking-face", model=small_teacher, tracker=tracker, audio_to_lip=tmp_path, device="cpu")
        with pytest.raises(SuperFaceError, match="no checkpoint of this package"):
            pipe(scene, audio=babble(), sampling_rate=RATE)

    def test_an_opened_sound_may_be_passed_on(self, speaking_pipe, scene):
        reader = SoundReader(babble(0.3), RATE)
        assert len(speaking_pipe(scene, audio=reader)) == len(speaking_pipe(scene, audio=load_sound(babble(0.3), RATE)))
