"""The motion diffusion: what it promises whatever it was trained on, and what the embedded weights do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from diffusers.configuration_utils import register_to_config

from superface_hf import Motion, MotionError, UnknownNameError
from superface_hf.data.speech.visemes import closed_mouth
from superface_hf.drivers.diffusion import Diffusion, follow_changes, perform_speech
from superface_hf.drivers.loudness import LoudnessNormalizer, speech_level
from superface_hf.evaluation.speech_to_motion import WINDOW_HOP
from superface_hf.face_model.lips import mouth_opening
from superface_hf.media import load_sound
from superface_hf.metrics.movement import head_jitter, head_spread
from superface_hf.models.diffusers_model import DiffusersModel
from superface_hf.models.embedded import embedded_audio_to_lip
from superface_hf.models.face_space.modeling_face_space import FaceSpace
from superface_hf.models.speech_to_motion.denoiser import MotionDenoiser
from superface_hf.models.speech_to_motion.lip_refiner import LipRefiner
from superface_hf.models.speech_to_motion.motion_statistics import MotionStatistics
from superface_hf.models.speech_to_motion.motion_vector import (
    from_vectors,
    mirror_matrix,
    region_slices,
    rest_frame,
    to_vectors,
)
from superface_hf.models.speech_to_motion.noise import motion_scheduler
from superface_hf.models.speech_to_motion.performance import Performance
from superface_hf.models.speech_to_motion.windows import Resampled
from superface_hf.models.speech_to_portrait.modeling_portrait_denoiser import PortraitDenoiser
from superface_hf.motion.regions import ARRAYS
from superface_hf.pipelines.request import Request
from superface_hf.pipelines.speech_to_motion import SpeechToMotionPipeline, seed_of
from superface_hf.utils.assets import SPEECH

STEPS = {"num_inference_steps": 2}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(one: Motion, other: Motion, names: tuple[str, ...] = ARRAYS) -> float:
    """The largest difference of any number."""
    return max(float(np.abs(getattr(one, name) - getattr(other, name)).max()) for name in names)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    sound = load_sound(SPEECH).mono(16000)
    return np.tile(sound, 3)[: 16000 * 8]


@pytest.fixture(scope="module")
def tiny() -> SpeechToMotionPipeline:
    """Not trained, and small; its output is not zero."""
    torch.manual_seed(0)
    denoiser = MotionDenoiser(hidden_size=24, num_layers=1, num_heads=2).eval()
    torch.nn.init.normal_(denoiser.out.weight, std=0.1)
    statistics = MotionStatistics(emotions=("joy",), styles=("wild",))
    refiner = LipRefiner(hidden_size=16).eval()
    torch.nn.init.normal_(refiner.out.weight, std=0.1)
    return SpeechToMotionPipeline(denoiser, statistics, refiner, embedded_audio_to_lip(), motion_scheduler())


@pytest.fixture(scope="module")
def embedded() -> SpeechToMotionPipeline:
    return SpeechToMotionPipeline.embedded()


@pytest.fixture(scope="module")
def usual(embedded, samples) -> Motion:
    return embedded(samples, 16000, generator=generator(1)).motion


class TestVectors:
    def test_rows_give_back_the_motion_they_came_from(self):
        rows = np.random.default_rng(0).normal(0, 0.2, (9, 66)).astype(np.float32)
        assert np.abs(to_vectors(from_vectors(rows, 25), Motion.neutral(1, 25)) - rows).max() < 1e-5

    def test_a_persons_place_and_size_do_not_matter(self):
        rows = np.random.default_rng(0).normal(0, 0.1, (30, 66)).astype(np.float32)
        motion = from_vectors(rows, 25)
        moved = replace(motion, translation=0.5 * motion.translation + 0.2, scale=0.5 * motion.scale)
        assert np.abs(to_vectors(moved, rest_frame(moved)) - to_vectors(motion, rest_frame(motion))).max() < 1e-5

    def test_mirrored_twice_is_as_before(self):
        assert np.abs(mirror_matrix() @ mirror_matrix() - np.eye(66)).max() < 1e-4

    @pytest.mark.parametrize("to", [24, 30, 60])
    def test_pieces_at_another_rate_are_those_of_the_whole(self, to):
        rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
        total = round(200 * to / 25)
        whole, parts = Resampled(25, to), Resampled(25, to)
        expected = np.concatenate([whole.push(rows), whole.flush(total)])
        pieces = [parts.push(part) for part in np.split(rows, [1, 40, 41, 140])]
        assert np.array_equal(np.concatenate([*pieces, parts.flush(total)]), expected)
        assert len(expected) == total


class TestWindows:
    @pytest.mark.parametrize("fps", [25, 30])
    def test_windows_equal_the_whole(self, tiny, samples, fps):
        whole = tiny(samples, 16000, fps=fps, generator=generator(), **STEPS).motion
        cuts = np.cumsum(np.random.default_rng(0).integers(1, 20000, 100))
        blocks = np.split(samples, cuts[cuts < len(samples)])
        diffusion = Diffusion(tiny, Performance(**STEPS), seed_of(generator()))
        level = speech_level([samples], 16000)
        pieces = list(perform_speech(iter(blocks), fps, tiny.audio_to_lip, diffusion, level))
        assert len(pieces) > 2
        assert len(whole) == round(len(samples) / 16000 * fps)
        assert same(Motion.concatenate(pieces), whole) < 1e-4

    def test_a_window_comes_as_soon_as_its_sound_is_there(self, tiny, samples):
        heard = 0

        def blocks():
            nonlocal heard
            for start in range(0, len(samples), 1600):
                heard += 1600
                yield samples[start : start + 1600]

        next(follow_changes(blocks(), 25, Diffusion(tiny, Performance(**STEPS))))
        assert heard <= 16000 * 3.3

    def test_the_same_generator_gives_the_same_motion_and_another_one_another(self, tiny, samples):
        first, again, other = (tiny(samples, 16000, generator=generator(seed), **STEPS).motion for seed in (3, 3, 4))
        assert same(first, again) == 0
        assert same(first, other, ("rotation",)) > 0.01
        assert same(first, other, ("mouth",)) == 0  # follows the sound alone

    def test_it_goes_on_from_what_went_before(self, embedded, samples, usual):
        def jump(previous: Motion | None) -> float:
            """Degrees from the last frame of before to the first one after, the mean of two seeds."""
            settings = {"previous": previous, "num_inference_steps": 6}
            after = [embedded(samples[48000:], 16000, generator=generator(s), **settings).motion for s in (1, 2)]
            return np.mean([np.degrees(np.linalg.norm(each.rotation[0] - usual.rotation[74])) for each in after])

        assert jump(usual[:75]) < 0.7 * jump(None)
        with pytest.raises(MotionError, match="12 frames"):
            embedded(samples, 16000, previous=usual[:5])

    def test_the_head_does_not_jump_where_windows_meet(self, usual):
        steps = np.linalg.norm(np.diff(usual.rotation, axis=0), axis=1)
        meets = np.arange(1, len(usual)) % WINDOW_HOP == 0
        assert meets.sum() == 3
        assert steps[meets].mean() < 2 * steps[~meets].mean()

    def test_the_head_does_not_tremble(self, usual):
        """Less than twice as much as tracked heads, smoothed, of people who speak (0.142 degrees a frame squared)."""
        assert head_jitter(usual) < 0.28

    def test_speech_is_heard_once_at_the_diffusions_own_rate(self, tiny, samples, monkeypatch):
        heard = []
        stream = tiny.audio_to_lip.stream
        monkeypatch.setattr(tiny.audio_to_lip, "stream", lambda fps: heard.append(fps) or stream(fps))
        diffusion = Diffusion(tiny, Performance(**STEPS), 0)
        motions = {}
        for fps in (25, 30):
            motions[fps] = Motion.concatenate(list(perform_speech([samples], fps, tiny.audio_to_lip, diffusion)))
        assert sorted(heard) == [25, 25, 30]  # at 30 frames a second the mouth is read off separately
        mouth = tiny.audio_to_lip.predict(LoudnessNormalizer(16000).push(samples), 25)
        assert np.abs(motions[25].mouth - mouth).max() < 1e-5

    def test_silence_and_the_shortest_sound_have_motion_too(self, tiny):
        assert len(tiny(np.zeros(400, np.float32), 16000, **STEPS).motion) == 1
        assert len(tiny(np.zeros(16000, np.float32), 16000, **STEPS).motion) == 25


class TestLips:
    def test_lips_are_audio_to_lips_at_gate_zero(self, tiny, samples):
        levelled = LoudnessNormalizer(16000, speech_level([samples], 16000)).push(samples)
        expected = tiny.audio_to_lip.predict(levelled, 30)
        assert np.array_equal(tiny(samples, 16000, fps=30, **STEPS).motion.mouth, expected)

    def test_the_gate_lets_the_refiner_speak(self, tiny, samples):
        gated = SpeechToMotionPipeline(**{**tiny.components, "lip_refiner": LipRefiner(hidden_size=16, gate=0.5)})
        torch.nn.init.normal_(gated.lip_refiner.out.weight, std=0.1)
        one, other = (pipe(samples, 16000, generator=generator(), **STEPS).motion for pipe in (tiny, gated))
        assert same(one, other, ("mouth",)) > 1e-3
        assert same(one, other, ("rotation", "eyes")) == 0


class TestSettings:
    def test_regions_that_are_not_asked_for_rest(self, tiny, samples):
        motion = tiny(samples, 16000, regions=("head",), **STEPS).motion
        assert not motion.eyes.any()
        assert not motion.gaze.any()
        assert motion.rotation.any()

    def test_strength_scales_the_head(self, tiny, samples):
        calm, strong = (tiny(samples, 16000, strength=s, generator=generator(), **STEPS).motion for s in (0.5, 1.0))
        assert calm.rotation == pytest.approx(strong.rotation / 2, abs=1e-6)

    @pytest.mark.parametrize(
        ("setting", "error"),
        [
            ({"strength": 3.0}, MotionError),
            ({"guidance_scale": float("nan")}, MotionError),
            ({"num_inference_steps": 0}, MotionError),
            ({"emotion": {"joy": 9.0}}, MotionError),
            ({"emotion": "hunger"}, UnknownNameError),
            ({"style": "baroque"}, UnknownNameError),
            ({"regions": ("nose",)}, UnknownNameError),
            ({"style": Motion.neutral(3, 25)}, MotionError),
        ],
    )
    def test_what_cannot_be_is_refused(self, tiny, samples, setting, error):
        with pytest.raises(error):
            tiny(samples, 16000, **setting)

    def test_the_talking_face_asks_the_diffusion_where_only_it_can_answer(self):
        assert Request(audio=b"x").performance is None
        assert vars(Request(audio=b"x", idle="diffusion").performance) == vars(Performance())
        assert Request(audio=b"x", emotion="happiness").performance.emotion == "happiness"
        for wrong in ({"idle": 0.5, "strength": 2}, {"idle": "diffuse"}, {"motion": "nod", "emotion": "happiness"}):
            with pytest.raises((MotionError, UnknownNameError)):
                Request(audio=b"x", **wrong)


class TestSaved:
    def test_loading_leaves_what_other_threads_make_alone(self, tmp_path):
        """diffusers' way to load would send their weights to the meta device meanwhile, and they would be lost."""
        made = []

        class Witness(DiffusersModel):
            @register_to_config
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.ones(1))
                with ThreadPoolExecutor(1) as other:
                    made.append(other.submit(torch.nn.Linear, 1, 1).result().weight.device.type)

        Witness().save_pretrained(tmp_path)
        assert Witness.from_pretrained(tmp_path).weight.item() == 1
        assert made == ["cpu", "cpu"]
        for kind in (MotionDenoiser, MotionStatistics, LipRefiner, FaceSpace, PortraitDenoiser):
            assert issubclass(kind, DiffusersModel)

    def test_files_do_not_say_where_they_were_loaded_from(self, tiny, tmp_path):
        tiny.save_pretrained(tmp_path / "first")
        SpeechToMotionPipeline.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
        for folder in (tmp_path / "second", SpeechToMotionPipeline.embedded_folder):
            assert not [path for path in folder.rglob("*.json") if "_name_or_path" in path.read_text()]

    def test_it_saves_and_reloads_bit_for_bit(self, tiny, samples, tmp_path):
        import diffusers

        tiny.save_pretrained(tmp_path)
        assert not (tmp_path / "README.md").exists()  # the card's figures are those of the embedded weights
        assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
        for kind in (SpeechToMotionPipeline, diffusers.DiffusionPipeline):
            again = kind.from_pretrained(tmp_path)
            assert type(again) is SpeechToMotionPipeline
            for name, part in tiny.components.items():
                if isinstance(part, torch.nn.Module):
                    other = getattr(again, name).state_dict()
                    assert all(torch.equal(value, other[key]) for key, value in part.state_dict().items())
        one, other = (pipe(samples, 16000, generator=generator(), **STEPS).motion for pipe in (tiny, again))
        assert same(one, other) < 1e-6


@pytest.mark.e2e
class TestEmbedded:
    def test_the_head_moves_by_degrees_and_smoothly(self, usual):
        degrees = np.degrees(usual.rotation)
        assert 0.3 < degrees.std(0).max() < 12
        assert np.abs(degrees).max() < 35
        assert np.linalg.norm(np.diff(degrees, axis=0), axis=1).max() * 25 < 90  # also from window to window

    def test_happiness_moves_the_corners_up_and_the_lips_stay_in_step(self, embedded, samples, usual):
        happy = embedded(samples, 16000, generator=generator(1), emotion={"happiness": 0.6}).motion
        smiles = [motion.to_arkit()[:, [44, 45]].mean() for motion in (usual, happy)]
        assert smiles[1] - smiles[0] > 0.15
        openings = [mouth_opening(motion.mouth) for motion in (usual, happy)]
        assert np.corrcoef(*openings)[0, 1] > 0.97

    def test_a_lively_style_moves_the_head_further_than_a_calm_one(self, embedded, samples):
        spread = {}
        for style in ("calm", "lively"):
            motions = [
                embedded(samples, 16000, style=style, generator=generator(seed), num_inference_steps=6).motion
                for seed in range(2)
            ]
            spread[style] = head_spread(motions).mean()
        assert spread["lively"] > 1.3 * spread["calm"]

    def test_a_reference_motion_is_a_style(self, embedded, samples, usual):
        other = embedded(samples[:48000], 16000, style=usual, generator=generator(2), num_inference_steps=4).motion
        assert np.isfinite(other.rotation).all()

    def test_in_silence_the_mouth_is_shut(self, embedded):
        mouth = embedded(np.zeros(32000, np.float32), 16000, num_inference_steps=2).motion.mouth
        assert mouth_opening(mouth).max() < mouth_opening(closed_mouth()) + 0.03


def test_the_mouth_lies_first_in_a_row():
    assert region_slices()["mouth"] == slice(0, 30)
