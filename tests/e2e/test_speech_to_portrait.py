"""Speech alone: what is heard, the made-up portrait, and that it says what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from superface_hf import inspect_file
from superface_hf.errors import MediaError, SuperFaceError, UnknownNameError
from superface_hf.hub import WEIGHTS
from superface_hf.media import load_sound
from superface_hf.models.face_space.canonical import SIZE, Upright, mean_landmarks
from superface_hf.models.face_space.modeling_face_space import FaceSpace
from superface_hf.models.face_space.prior import Group
from superface_hf.models.speech_to_portrait.modeling_portrait_denoiser import PortraitDenoiser
from superface_hf.models.voice_encoder.voice import heard_part, spoken
from superface_hf.pipelines.made_up import first_seconds
from superface_hf.pipelines.speech_to_portrait import SpeechToPortraitPipeline
from superface_hf.provenance.marks import DISCLAIMER, MADE_UP
from superface_hf.training.portraits.conre import ConReTrainingConfig, VoicePairs, train
from superface_hf.training.portraits.faces import Faces
from superface_hf.training.portraits.fit import fit

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "src/superface_hf/assets/speech.flac"
# What nothing may promise: a made-up face is nobody's.
CLAIMS = re.compile(
    r"reconstruct|recover(s|ed|ing)? (the|a|your) (true |real )?(face|identity)|reveal|true face|real face of", re.I
)


@pytest.fixture(scope="module")
def pipe() -> SpeechToPortraitPipeline:
    return SpeechToPortraitPipeline.embedded()


def draw(pipe: SpeechToPortraitPipeline, seed: int = 0, **options: object) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return pipe(generator=generator, output_type="np", size=96, **options).images[0]


def test_silence_gives_the_mean_face(pipe: SpeechToPortraitPipeline) -> None:
    for sound in (
        np.zeros(32000, np.float32),
        0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32),
    ):
        heard = pipe(
            {"array": sound, "sampling_rate": 16000}, size=64, generator=torch.Generator().manual_seed(0)
        ).hearing
        assert heard.beta == 0
        mean = pipe.denoiser.mean_group
        assert heard.drawn is not None
        assert (heard.drawn.presentation, heard.drawn.age) == pytest.approx((float(mean[0]), float(mean[1])))


def test_ages_are_drawn_as_far_apart_as_people_are(pipe: SpeechToPortraitPipeline) -> None:
    group, middle = pipe.denoiser.group, float(pipe.denoiser.mean_group[1])
    assert group(0.5, middle + 5, 0.0)[1] == pytest.approx(middle)
    assert group(0.5, middle + 5, 1.0)[1] > middle + 8
    assert group(0.5, middle - 5, 1.0)[1] < middle - 8
    assert (group(0.5, 18, 1.0)[1], group(0.5, 90, 1.0)[1]) == (18, 90)


def test_low_and_high_voices_are_heard_apart(pipe: SpeechToPortraitPipeline) -> None:
    samples = load_sound(SPEECH).mono(16000)
    places = {factor: np.arange(0, len(samples) - 1, factor) for factor in (0.72, 1.0, 1.45)}
    heard = {
        factor: pipe.hear(
            {"array": np.interp(place, np.arange(len(samples)), samples).astype(np.float32), "sampling_rate": 16000}
        )
        for factor, place in places.items()
    }
    assert heard[0.72].presentation > heard[1.45].presentation + 0.2
    assert heard[1.0].voice > 0.5


def test_same_seed_same_face_and_other_seed_other_face(pipe: SpeechToPortraitPipeline) -> None:
    first, again, other = draw(pipe, 1), draw(pipe, 1), draw(pipe, 2)
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 2


def test_what_is_given_beats_the_voice(pipe: SpeechToPortraitPipeline) -> None:
    drawn = pipe(
        SPEECH, presentation="masculine", age=70, tone=0.9, size=64, generator=torch.Generator().manual_seed(0)
    )
    assert drawn.hearing.drawn == Group(1.0, 70.0, 0.9)
    old, young = (draw(pipe, 3, presentation="feminine", age=age, tone=0.5) for age in (75, 20))
    assert np.abs(old.astype(int) - young).mean() > 1
    light, dark = (draw(pipe, 3, presentation="feminine", age=30, tone=tone) for tone in (0.0, 1.0))
    assert light.mean() > dark.mean()


def test_no_face_is_younger_than_18(pipe: SpeechToPortraitPipeline) -> None:
    for age in (17.9, 5, 91, float("nan")):
        with pytest.raises(SuperFaceError, match="age must be a number from 18 to 90"):
            pipe(age=age)
    with pytest.raises(UnknownNameError, match="feminine, androgynous, masculine"):
        pipe(presentation="child")


def test_an_untrained_residual_is_the_gaussian() -> None:
    plain, residual = PortraitDenoiser(12), PortraitDenoiser(12, hidden_size=16)
    noisy, kept, features = torch.randn(3, 12), torch.tensor([0.9, 0.5, 0.1]), torch.zeros(3, 6)
    assert torch.equal(plain(noisy, kept, features), residual(noisy, kept, features))
    # Of a coordinate with spread 1, the posterior mean is sqrt(kept) times what is seen.
    assert torch.allclose(plain(noisy, kept, features), kept.sqrt()[:, None] * noisy)


def test_encoding_gives_the_picture_back(pipe: SpeechToPortraitPipeline) -> None:
    space, group = pipe.face_space, Group(0.0, 35.0, 0.3)
    latents = 0.5 * torch.randn(1, space.latent_size, generator=torch.Generator().manual_seed(5))
    drawn = space.decode(latents, group.features[None])[0]
    again = space.decode(space.encode(drawn.picture, drawn.landmarks, group), group.features[None])[0]
    box = (slice(140, 350), slice(160, 350))
    error = (drawn.picture[box].astype(float) - again.picture[box]) / 255
    assert 10 * np.log10(1 / np.square(error).mean()) > 28
    assert np.abs(drawn.landmarks - again.landmarks)[:, :2].max() < 0.02 * SIZE / 2


def test_saving_and_loading_gives_the_same_bits(pipe: SpeechToPortraitPipeline, tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    pipe.save_pretrained(tmp_path / "saved")
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt"))
    assert {"README.md", "NOTICE"} <= {path.name for path in (tmp_path / "saved").iterdir()}
    loaded = DiffusionPipeline.from_pretrained(tmp_path / "saved")
    assert type(loaded) is SpeechToPortraitPipeline
    assert np.array_equal(draw(pipe, 4), draw(loaded, 4))
    assert np.array_equal(draw(pipe, 4, restore=True), draw(loaded, 4, restore=True))


def test_a_restored_face_is_sharper_and_the_rest_stays(pipe: SpeechToPortraitPipeline) -> None:
    from superface_hf.evaluation.see_the_speaker import sharpness
    from superface_hf.models.restorer.face_region import face_mask

    plain, restored = (
        pipe(generator=torch.Generator().manual_seed(2), output_type="np", restore=restore, fidelity=0.5)
        for restore in (False, True)
    )
    picture, again, points = plain.images[0], restored.images[0], plain.landmarks[0]
    assert sharpness(again, points) > sharpness(picture, points)
    rows, columns, mask = face_mask(points, *picture.shape[:2])
    outside = np.ones(picture.shape[:2], bool)
    outside[rows, columns] = mask == 0
    assert np.array_equal(picture[outside], again[outside])


def test_restoring_needs_a_restorer_and_a_fidelity(pipe: SpeechToPortraitPipeline, tmp_path: Path) -> None:
    bare = SpeechToPortraitPipeline(pipe.voice_encoder, pipe.face_space, pipe.denoiser, pipe.scheduler)
    with pytest.raises(SuperFaceError, match="needs a restorer"):
        bare(size=64, restore=True)
    with pytest.raises(SuperFaceError, match="fidelity must be a number from 0"):
        pipe(size=64, restore=True, fidelity=1.5)
    bare.save_pretrained(tmp_path)
    assert SpeechToPortraitPipeline.from_pretrained(tmp_path).restorer is None


def test_a_short_and_a_long_sound_are_heard_in_parts(tmp_path: Path) -> None:
    from superface_hf.media import SoundReader

    rate = 16000
    hour = np.arange(200 * rate, dtype=np.float32) / (200 * rate)
    part = heard_part(SoundReader({"array": hour, "sampling_rate": rate}))
    assert len(part) <= 61 * rate
    assert part[0] < 0.01
    assert part[-1] > 0.95


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.2, 0.249, 0.25, 0.26, 1.0])
def test_a_sound_shorter_than_a_pause_is_heard_whole(seconds: float) -> None:
    tone = np.sin(np.arange(round(seconds * 16000)) / 10).astype(np.float32)
    assert len(spoken(tone)) == len(tone) // 160 * 160


def test_a_stream_is_heard_for_three_seconds_and_loses_nothing() -> None:
    chunks = [np.full(4000, number / 100, np.float32) for number in range(20)]
    start, rest = first_seconds(iter(chunks), 16000)
    assert start.seconds == pytest.approx(3.0, abs=0.3)
    assert np.array_equal(np.concatenate(list(rest)), np.concatenate(chunks))


def made_up_faces(count: int = 24) -> Faces:
    """Drawn ovals that differ in colour with presentation."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    oval = ((x - 256) / 120) ** 2 + ((y - 260) / 170) ** 2 < 1
    masculine = (np.arange(count) % 2).astype(np.float32)
    pictures = np.full((count, 3, SIZE, SIZE), 60, np.uint8)
    for number in range(count):
        pictures[number][:, oval] = np.array([[200 - 80 * masculine[number]], [150], [120 + random.integers(0, 20)]])
    alpha = np.broadcast_to(oval * np.uint8(255), (count, SIZE, SIZE))
    from superface_hf.face_model.linear import FaceModel

    shapes = np.broadcast_to(FaceModel.default().mean.numpy(), (count, 478, 3))
    return Faces(
        pictures, pictures, alpha, np.full((count, SIZE, SIZE), 255, np.uint8), np.ascontiguousarray(shapes), masculine,
        np.full(count, 40, np.float32), np.full(count, 0.5, np.float32), np.zeros(count, bool), np.arange(count),
        np.zeros(count, bool), np.zeros((count, 128), np.float32), np.ones(count, np.float32), np.arange(count),
    )  # fmt: skip


def test_the_prior_learns_what_presentations_look_like() -> None:
    space, latents = fit(made_up_faces(), FaceSpace(32, 4, 4, 4, 16, 16))
    assert latents.shape == (24, 12)
    empty = torch.zeros(1, 12)
    reds = [space.canonical(empty, Group(p, 40.0).features[None])[0][0, 0, 256, 256].item() for p in (0.0, 1.0)]
    assert reds == pytest.approx([200 / 255, 120 / 255], abs=0.04)


def test_conre_draws_voice_and_face_together(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    common = random.standard_normal((64, 8))
    voices, latents = (common @ random.standard_normal((8, size)) for size in (16, 12))
    masculine, person = torch.from_numpy(random.integers(0, 2, 64)) > 0, torch.arange(64)
    pairs = VoicePairs(torch.from_numpy(voices).float(), torch.from_numpy(latents).float(), masculine, person)
    config = ConReTrainingConfig(out=tmp_path, size=8, batch=32, bank=32, steps=60, learning_rate=1e-2)
    _, losses = train(pairs, config)
    assert losses[-1] < losses[0] - 0.5


def test_an_upright_face_lies_on_the_mean_mesh() -> None:
    turned = mean_landmarks() @ np.array([[0.0, 1.5, 0], [-1.5, 0, 0], [0, 0, 1.5]]) + 30
    assert np.abs(Upright.of(turned).to_canonical(turned) - mean_landmarks())[:, :2].max() < 1e-6


def test_talking_face_without_a_picture_speaks(tmp_path: Path) -> None:
    from transformers import pipeline

    talking = pipeline("talking-face")
    sound = {"array": load_sound(SPEECH).mono(16000)[8000:13000], "sampling_rate": 16000}
    clip = talking(audio=sound, portrait={"age": 60, "size": 256}, seed=3, fps=8)
    assert clip.portrait.shape == (256, 256, 3)
    assert clip.frames.shape[1:] == (256, 256, 3)
    assert clip.hearing.drawn.age == 60
    assert clip.hearing.disclaimer == DISCLAIMER
    assert np.abs(clip.frames[0].astype(int) - clip.portrait).mean() < 12
    clip.save(tmp_path / "made_up.mp4")
    assert inspect_file(tmp_path / "made_up.mp4").source_type == MADE_UP
    with pytest.raises(MediaError, match="picture of the person is needed"):
        talking(audio=sound, portrait=False)
    with pytest.raises(UnknownNameError, match="presentation, age, tone"):
        talking(audio=sound, portrait={"hair": "red"})
    with pytest.raises(MediaError, match="leave the picture"):
        talking(clip.portrait, audio=sound, portrait={"age": 60})


def test_a_portrait_file_says_that_it_is_made_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from superface_hf.cli import main

    assert main(["portrait", str(SPEECH), "-o", str(tmp_path), "-n", "1", "--size", "64", "--age", "50"]) == 0
    assert DISCLAIMER in capsys.readouterr().out
    found = inspect_file(tmp_path / "00.png")
    assert found.source_type == MADE_UP
    assert found.ours


def test_nothing_claims_to_show_the_speaker() -> None:
    texts = [ROOT / "README.md", *ROOT.glob("docs/how-to/*.md"), *WEIGHTS.glob("*/README.md")]
    made_up = re.compile("portraits?/|speech_to|made_up|face_space|voice|see_the")
    package = ROOT / "src/superface_hf"
    texts += [path for path in package.rglob("*.py") if made_up.search(str(path.relative_to(package)))]
    for path in texts:
        for line in path.read_text().splitlines():
            assert not CLAIMS.search(line) or "not" in line or "Never" in line, f"{path}: {line}"
    for page in (WEIGHTS / "speech_to_portrait/README.md", ROOT / "docs/how-to/make-up-a-face.md"):
        assert DISCLAIMER in " ".join(page.read_text().replace("\n> ", " ").split())


def test_diffusers_is_imported_only_when_it_is_needed() -> None:
    import subprocess
    import sys

    code = "import sys, superface_hf; from superface_hf import TalkingFacePipeline; print('diffusers' in sys.modules)"
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True).lower()) is False
