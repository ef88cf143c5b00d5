"""Distilling a student: what it learns from, that it learns, and that a stopped distillation goes on."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_student import simple_layers

from superface_hf import (
    Motion,
    NoFaceError,
    SeveralFacesError,
    SuperFaceError,
    SuperFaceStudentConfig,
    SuperFaceStudentModel,
)
from superface_hf.animation.portrait import find_portrait
from superface_hf.cli import main
from superface_hf.data import own_video
from superface_hf.data.motion_bank import build_bank, bundled_tracks
from superface_hf.data.own_video import check_same_person, read_own_video, shape_difference
from superface_hf.face_model.linear import FaceShape
from superface_hf.face_model.topology import LEFT_LIDS
from superface_hf.layers.motion import Window
from superface_hf.layers.portrait import PortraitLayers
from superface_hf.models.embedded import embedded_audio_to_lip
from superface_hf.models.tracker.base import Face
from superface_hf.training.core.run import TrainingError, TrainingRun
from superface_hf.training.student.config import DistillationConfig, StudentLossWeights
from superface_hf.training.student.distillation import Distiller
from superface_hf.training.student.loss import steepness
from superface_hf.training.student.report import closeness, rendered
from superface_hf.training.student.scene import Scene
from superface_hf.training.student.teacher_frames import TeacherFrames, reduced_appearance, render_frames
from superface_hf.training.student.trainer import Clock, StudentTraining, rate
from superface_hf.utils.settings import SettingsError

TINY = {
    name: value
    for name, value in SuperFaceStudentConfig.of_size("tiny").to_dict().items()
    if name in ("prior_points", "appearance_channels", "motion_channels", "generator_channels", "window_channels",
                "code_channels")
}  # fmt: skip


@pytest.fixture(scope="module")
def audio_to_lip():
    return embedded_audio_to_lip()


@pytest.fixture
def config(scene, tmp_path) -> DistillationConfig:
    portrait = tmp_path / "portrait.png"
    Image.fromarray(scene).save(portrait)
    return DistillationConfig(
        str(portrait), "Alice", str(tmp_path / "out"), minutes=5, max_steps=8, frames=48, held_out=6, batch_size=2,
        learning_rate=1e-3, ema=0.5, student=TINY, loss=StudentLossWeights(perceptual=0, real=0),
    )  # fmt: skip


@pytest.fixture
def portrait(scene, tracker, face_model):
    return find_portrait(scene, tracker, face_model, "only", 128)


@pytest.fixture(autouse=True)
def nobody_is_recognised(monkeypatch):
    """Drawn scenes show nobody whom a face recognition network could tell apart."""
    monkeypatch.setattr(own_video, "check_same_face", lambda *_: None)


@pytest.fixture
def distiller(small_teacher, tracker, audio_to_lip):
    def make(config: DistillationConfig) -> Distiller:
        return Distiller(config, tracker, small_teacher, audio_to_lip, layers_of)

    return make


def layers_of(portrait) -> PortraitLayers:
    return simple_layers(portrait.picture, portrait.crop.to_pixels(portrait.landmarks))


# What it learns from


@pytest.fixture
def bank(portrait, audio_to_lip):
    return build_bank(portrait, bundled_tracks(audio_to_lip), frames=800, held_out=24)


def test_the_bank_holds_all_kinds_of_motion_and_its_first_part_does_too(bank):
    kinds = {"tracked", "speech", "mixtures", "blendshapes", "poses"}
    assert set(bank.names) == set(bank.names[:64]) == kinds
    assert len(bank.names) == len(bank.landmarks)
    assert bank.landmarks.isfinite().all()


def test_the_bank_opens_mouths_and_shuts_eyes(bank, portrait):
    def height(upper: int, lower: int) -> torch.Tensor:
        return (bank.landmarks[:, lower, 1] - bank.landmarks[:, upper, 1]) / (
            portrait.landmarks[lower, 1] - portrait.landmarks[upper, 1]
        )

    upper, lower = LEFT_LIDS[2]
    assert height(upper, lower).min() < 0.35
    assert height(13, 14).max() > 3


def test_faces_of_the_bank_lie_where_the_renderer_expects_them_in_their_windows(bank):
    windows = bank.windows
    inside = Window(windows[:, :2], windows[:, 2]).enter(bank.landmarks)
    assert inside[..., :2].abs().max() < 1


def test_what_is_held_out_is_not_learnt_from(bank):
    nearest = torch.cdist(bank.held_out.flatten(1), bank.landmarks.flatten(1)).min(1).values
    assert (nearest > 0).float().mean() > 0.7  # a motion may be at rest in its middle
    assert set(bank.held_out_names) == {"nod", "look_around", "blink", "smile", "speak", "speech", "mixtures"}


def test_the_same_seed_gives_the_same_bank(portrait, audio_to_lip, bank):
    again = build_bank(portrait, bundled_tracks(audio_to_lip), frames=800, held_out=24)
    assert torch.equal(bank.landmarks, again.landmarks)


def test_a_persons_own_motion_joins_the_bank(portrait, audio_to_lip):
    own = Motion.neutral(30, 25).edit({"jawOpen": 0.5})
    bank = build_bank(portrait, bundled_tracks(audio_to_lip), [own], frames=400, held_out=28)
    assert "own video 1" in bank.held_out_names


def test_windows_stray_a_little_from_the_faces_and_those_of_what_is_held_out_do_not(bank, portrait):
    for landmarks, windows, most in (
        (bank.landmarks, bank.windows, 0.08),
        (bank.held_out, bank.held_out_windows, 1e-5),
    ):
        expected = Window.following(portrait.crop, torch.from_numpy(portrait.landmarks), landmarks)
        strayed = (windows[:, :2] - expected.centre).abs().amax(1) / expected.scale
        assert strayed.max() <= most
        assert (windows[:, 2] / expected.scale - 1).abs().max() <= most
    assert bank.windows[:, 2].std() > bank.held_out_windows[:, 2].std()


def test_cached_frames_come_back(small_teacher, tmp_path, face_model):
    mesh = 0.3 * face_model.mean
    scene = Scene(torch.rand(1, 3, 128, 128), torch.rand(1, 1, 128, 128), torch.rand(1, 3, 128, 128))
    source = small_teacher.prepare(scene.texture, scene.matte, mesh[None])
    meshes, windows = mesh.expand(3, -1, -1), torch.tensor([[0.0, 0.1, 0.9]]).expand(3, -1)
    frames = render_frames(small_teacher, source, scene, meshes, windows, 2, torch.float32, exact=True)
    frames.save(tmp_path / "shard_00000.safetensors", 1.5)
    again, seconds = TeacherFrames.load(tmp_path / "shard_00000.safetensors")
    assert seconds == 1.5
    assert torch.equal(again.decoded([0, 2]), frames.decoded([0, 2]))
    assert torch.equal(again.flow, frames.flow)
    assert again.flow.shape == (3, 2, 16, 16)
    assert again.alpha.shape == (3, 1, 32, 32)
    for name in ("landmarks", "windows", "alpha", "codes"):
        assert torch.equal(getattr(again, name), getattr(frames, name)), name


def test_a_scene_composes_what_the_teacher_says(small_teacher, face_model):
    mesh = 0.3 * face_model.mean[None]
    scene = Scene(torch.rand(1, 3, 128, 128), torch.rand(1, 1, 128, 128), torch.rand(1, 3, 128, 128))
    with torch.no_grad():
        output = small_teacher(scene.texture, scene.matte, mesh, mesh + 0.05)
        scene = replace(scene, texture=output.source.image)
        frames, alpha = scene.compose(output.rendered)
    assert torch.allclose(alpha, output.alpha, atol=1e-5)
    assert torch.allclose(frames, output.over(scene.plate).clamp(0, 1), atol=1e-4)


def test_the_delivered_appearance_keeps_the_strongest_of_the_teachers(small_teacher, face_model):
    matte = torch.ones(1, 1, 128, 128)
    source = small_teacher.prepare(torch.rand(1, 3, 128, 128), matte, 0.3 * face_model.mean[None])
    assert reduced_appearance(source, 4, 32).shape == (1, 4, 32, 32)  # a teacher's body may be coarser than a student
    appearance = reduced_appearance(source, 4, 16)
    assert appearance.shape == (1, 4, 16, 16)
    flat = appearance[0].flatten(1)
    assert torch.allclose(flat @ flat.T / flat.shape[1], torch.eye(4), atol=1e-2)


# That it learns


def test_a_distillation_ends_with_a_student_a_report_and_a_card(distiller, config):
    made = distiller(config)
    untrained = made.new_student()
    student = made.run()
    report = made.report(student)
    moved = [not torch.equal(a, b) for a, b in zip(student.parameters(), untrained.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    again = SuperFaceStudentModel.from_pretrained(config.folder)
    assert again.config.person == "Alice"
    assert np.array_equal(again.full_picture(), made.portrait.picture)
    card = (config.folder / "README.md").read_text()
    assert "Alice" in card
    assert f"{report.psnr:.2f}" in card
    assert "teacher_and_student.jpg" in card
    assert json.loads((config.folder / "report.json").read_text())["mmacs"] == report.mmacs
    with Image.open(config.folder / "teacher_and_student.jpg") as sheet:
        assert sheet.width > sheet.height / 4


def test_the_motion_is_learnt_before_any_picture(distiller, config):
    made = distiller(config)
    learnt: list[set[str]] = []
    student = made.new_student()
    untrained = deepcopy(student)
    frames, _ = made.render()
    run = TrainingRun(config.work, made.accelerator, student, 0.5, 5, config)
    training = StudentTraining(replace(config, max_steps=8, motion_share=0.5), run, made.scene, frames, [], None)
    training.train(0.0, lambda _: learnt.append(_changed(training, untrained)))
    assert learnt[2] <= {"motion_encoder", "dense_motion"}
    assert "dense_motion" in learnt[2]
    assert {"generator", "painters"} <= learnt[7]


def _changed(training: StudentTraining, untrained: SuperFaceStudentModel) -> set[str]:
    """The parts of the trained student that are not what they were."""
    before = dict(untrained.named_parameters())
    now = training._run.averaged.named_parameters()
    return {name.split(".")[0] for name, value in now if not torch.equal(value, before[name])}


def test_an_error_of_the_flow_counts_where_the_portrait_has_texture():
    texture = torch.full((1, 3, 64, 64), 0.5)
    texture[..., 32:, ::2] = 1.0
    steep = steepness(texture, 8)
    assert steep.mean().item() == pytest.approx(1.0, abs=0.05)
    assert (steep[:, 0, 6] > 5 * steep[:, 0, 1]).all()


def test_a_student_comes_nearer_to_a_teacher_that_paints(distiller, config, small_teacher):
    bias = small_teacher.generator.head.bias
    before = bias.detach().clone()
    try:
        with torch.no_grad():  # everything redder, and half of it kept
            bias[:4] += 2.0
            bias[12:16] -= 1.5
        made = distiller(replace(config, max_steps=60, learning_rate=5e-3))
        held_out = made.held_out()
        targets = held_out.decoded(range(len(held_out))).permute(0, 2, 3, 1).numpy()
        places = held_out.windows
        inside = Window(places[:, :2], places[:, 2]).enter(held_out.landmarks)
        scores = []
        for student in (made.new_student(), made.run()):
            pictures = rendered(student, held_out.landmarks, places)
            scores.append(closeness(pictures, targets, inside).mean(0))
        assert (scores[1] > scores[0] + 3).all()
    finally:
        with torch.no_grad():
            bias.copy_(before)


def test_a_stopped_distillation_goes_on_where_it_was(distiller, config, monkeypatch):
    distiller(replace(config, max_steps=3)).run()
    progress = json.loads((config.work / "checkpoint" / "progress.json").read_text())
    assert progress["step"] == 3

    def again(*_: object) -> None:
        raise AssertionError("a cached frame is rendered again")

    monkeypatch.setattr(Distiller, "_render_shard", again)
    student = distiller(config).run()
    progress = json.loads((config.work / "checkpoint" / "progress.json").read_text())
    assert progress["step"] == 8
    assert all(parameter.isfinite().all() for parameter in student.parameters())


def test_the_learning_rate_rises_and_falls_with_the_time(config):
    assert rate(0) < 0.1
    assert rate(0.05) > 0.9
    assert rate(1.0) <= 0.021

    class Alone:
        num_processes = 1

    clock = Clock(replace(config, minutes=1, max_steps=None), Alone(), begun=20, elapsed=40)
    assert clock.share(0) == pytest.approx(0.5, abs=0.01)


# What cannot work


def test_another_portrait_does_not_go_on_with_the_frames_of_the_first(distiller, config, scene):
    distiller(replace(config, max_steps=1)).run()
    Image.fromarray(255 - scene).save(config.portrait)
    with pytest.raises(TrainingError, match="another teacher, portrait"):
        distiller(config).run()


def test_too_little_time_is_said_with_the_time_that_is_needed(distiller, config):
    with pytest.raises(TrainingError, match="--minutes"):
        distiller(replace(config, minutes=0.01, max_steps=None)).run()


def test_a_picture_without_a_face_is_refused(distiller, config, tracker):
    tracker.faces = []
    with pytest.raises(NoFaceError):
        distiller(config)


def test_a_picture_with_several_faces_is_refused_unless_one_is_chosen(distiller, config, tracker, face_points):
    tracker.faces = [Face.of(face_points(), 1.0), Face.of(face_points(60, 60, 20), 1.0)]
    with pytest.raises(SeveralFacesError):
        distiller(config)
    distiller(replace(config, face="largest"))


def test_an_unknown_setting_of_the_student_is_named(distiller, config):
    with pytest.raises(SettingsError, match="window_chanels"):
        distiller(replace(config, student={"window_chanels": 3}))


def test_a_video_of_the_person_is_read(portrait, tracker, face_model):
    video = read_own_video(np.zeros((12, 240, 320, 3), np.uint8), portrait, tracker, face_model, 128)
    assert len(video.motion) == 12
    assert video.decoded([0, 11]).shape == (2, 3, 128, 128)
    assert video.landmarks.shape == (12, 478, 3)
    assert video.landmarks[..., :2].abs().max() < 1


def test_the_persons_own_video_is_learnt_from(distiller, config, tmp_path, monkeypatch):
    from superface_hf.training.student import distillation

    monkeypatch.setattr(distillation, "perceptual_distance", lambda _: _PixelDistance())
    video = np.zeros((12, 240, 320, 3), np.uint8) + 90
    weights = StudentLossWeights(perceptual=0, real=0.1)
    made = distiller(replace(config, videos=(video,), loss=weights, max_steps=5))
    made.config = replace(made.config, videos=("own.mp4",))
    made.run()
    assert "own video 1" in made.bank.held_out_names


class _PixelDistance(torch.nn.Module):
    def forward(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (predicted - target).square().mean()


def test_a_video_without_a_face_is_refused(portrait, tracker, face_model):
    tracker.script = [None]
    with pytest.raises(NoFaceError):
        read_own_video(np.zeros((5, 240, 320, 3), np.uint8), portrait, tracker, face_model, 128)


def test_a_video_of_another_person_is_refused(face_model):
    def person(seed: int) -> FaceShape:
        strengths = 1.2 * torch.randn(len(face_model.identity_basis), generator=torch.Generator().manual_seed(seed))
        return FaceShape(face_model.mean + torch.einsum("k,kpc->pc", strengths, face_model.identity_basis))

    same = FaceShape(person(0).points + 0.005 * torch.randn(478, 3, generator=torch.Generator().manual_seed(9)))
    check_same_person(same, person(0), "talk.mp4")
    assert shape_difference(person(0), person(0)) < 1e-6
    with pytest.raises(SuperFaceError, match=r"talk\.mp4 seems to show another person"):
        check_same_person(FaceShape(person(0).points * torch.tensor([1.0, 1.4, 1.0])), person(0), "talk.mp4")


def test_the_command_says_what_is_wrong_with_a_portrait(tmp_path, capsys):
    assert main(["distill", "--portrait", str(tmp_path / "no.jpg"), "--name", "a", "-o", str(tmp_path / "out")]) == 1
    assert "no.jpg" in capsys.readouterr().err


def test_the_command_names_an_unknown_setting(tmp_path, capsys):
    arguments = ["distill", "--portrait", "a.jpg", "--name", "a", "-o", str(tmp_path), "--set", "loss.pixle=1"]
    assert main(arguments) == 1
    assert "loss.pixel" in capsys.readouterr().err
