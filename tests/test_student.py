"""The student: what it stores, what it costs, and that it talks without a portrait."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, pipeline

from superface_hf import (
    FaceModel,
    MediaError,
    Motion,
    SuperFaceError,
    SuperFaceStudentConfig,
    SuperFaceStudentModel,
    SuperFaceTeacherConfig,
    SuperFaceTeacherModel,
)
from superface_hf.demo import PORTRAIT
from superface_hf.export.student import motion_meshes
from superface_hf.face_model.seams import SEAMS
from superface_hf.geometry import Square
from superface_hf.hub import weights_folder
from superface_hf.media import load_picture
from superface_hf.models.student.seam_windows import SIZES, SeamWindow, feather
from superface_hf.models.teacher.modeling_teacher import plain_mesh_flow
from superface_hf.pipelines.paste_back import as_pictures, cut_out
from superface_hf.pipelines.portrait import stored_portrait
from superface_hf.training.student_report import closeness, rendered


@pytest.fixture
def student(scene, face_points) -> SuperFaceStudentModel:
    """A tiny, untrained student of the face in the scene."""
    return made_student(SuperFaceStudentConfig.of_size("tiny", person="the scene"), scene, face_points())


def made_student(config, picture: np.ndarray, points: np.ndarray) -> SuperFaceStudentModel:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    config.picture_bytes = len(file.getvalue())
    torch.manual_seed(0)
    model = SuperFaceStudentModel(config)
    square, size = Square.around_face(points), config.image_size
    appearance = torch.randn(1, config.appearance_channels, size // 8, size // 8)
    model.store(file.getvalue(), square, square.to_image(points), cut_out(picture, square, size), appearance)
    return model.eval()


@pytest.fixture
def moved(student, face_model) -> torch.Tensor:
    """Meshes (4, 478, 3) of the student's face in motion."""
    motion = Motion.neutral(4, 25).edit({"jawOpen": 0.6, "eyeBlinkLeft": 0.5})
    offsets = face_model.animate(type("Shape", (), {"points": face_model.mean})(), motion) - face_model.mean
    points = student.landmarks + 0.5 * offsets
    return points + torch.linspace(0, 0.06, 4)[:, None, None] * torch.tensor([1.0, 0.5, 0.0])


def trained_a_little(student: SuperFaceStudentModel) -> SuperFaceStudentModel:
    """With heads that are not zero any more, so that all parts speak."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return student


@torch.no_grad()
def test_an_untrained_student_at_rest_is_its_portrait(student):
    frames = student(student.landmarks[None]).frames
    assert (frames[0] - student.texture / 255).abs().max() < 2e-3


@torch.no_grad()
def test_an_untrained_student_moves_by_the_mesh_flow(student, moved):
    texture = student.texture[None] / 255
    flowed = plain_mesh_flow(texture.expand(4, -1, -1, -1), student.landmarks.expand(4, -1, -1), moved)
    rest = (texture - flowed).square().mean()
    assert (student(moved).frames - flowed).square().mean() < 0.25 * rest


def test_a_frame_costs_at_most_a_hundredth_of_the_base_teachers(face_model):
    mesh = (0.3 * face_model.mean)[None]
    teacher = SuperFaceTeacherModel(SuperFaceTeacherConfig()).eval()
    student = SuperFaceStudentModel(SuperFaceStudentConfig()).eval()
    student.store(b"", Square(0, 0, 512), mesh[0].numpy(), torch.zeros(1, 3, 512, 512), torch.zeros(1, 12, 64, 64))
    with torch.inference_mode():
        works = [(teacher, teacher.prepare(torch.zeros(1, 3, 512, 512), mesh)), (student, student.prepare())]
        costs = []
        for model, prepared in works:
            with FlopCounterMode(display=False) as counter:
                model.render(prepared, mesh)
            costs.append(counter.get_total_flops())
    assert costs[1] <= 0.01 * costs[0]


@torch.no_grad()
def test_frames_rendered_together_are_those_rendered_alone(student, moved):
    trained_a_little(student)
    together = student(moved).frames
    alone = torch.cat([student(mesh[None]).frames for mesh in moved])
    assert torch.allclose(together, alone, atol=1e-4)


def test_all_weights_learn(student, moved):
    trained_a_little(student)
    output = student(moved)
    (output.frames.square().mean() + output.motion.coarse.square().mean()).backward()
    silent = [name for name, parameter in student.named_parameters() if parameter.grad is None]
    assert not silent


def test_training_works_after_rendering_in_inference_mode(student, moved):
    feather.cache_clear()
    with torch.inference_mode():
        student(moved)
    student(moved).frames.mean().backward()


@torch.no_grad()
def test_a_student_comes_back_bit_for_bit(student, moved, tmp_path):
    trained_a_little(student).save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    for kind in (SuperFaceStudentModel, AutoModel):
        again = kind.from_pretrained(tmp_path).eval()
        assert isinstance(again, SuperFaceStudentModel)
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in student.state_dict().items())
        assert torch.equal(again(moved).frames, student(moved).frames)
        assert again.config.person == "the scene"


def test_narrow_weights_leave_landmarks_and_pixels_exact(student, tmp_path):
    student.save_pretrained(tmp_path)
    narrow = SuperFaceStudentModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow.landmarks, student.landmarks)
    assert torch.equal(narrow.texture, student.texture)


def test_a_student_without_a_portrait_says_what_to_do():
    with pytest.raises(SuperFaceError, match="superface distill"):
        SuperFaceStudentModel(SuperFaceStudentConfig.of_size("tiny")).full_picture()


@pytest.mark.parametrize(
    "wrong", [{"image_size": 200}, {"motion_channels": [8, 8]}, {"sampling": "nearest"}, {"prior_points": 3}]
)
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(Exception, match=next(iter(wrong))):
        SuperFaceStudentConfig(**wrong)


# Windows


def test_windows_stay_inside_the_picture(student):
    meshes = student.landmarks + torch.tensor([[[3.0, 0, 0]], [[-3.0, 2.0, 0]], [[0.0, -3.0, 0]]])
    source = student.landmarks.expand(3, -1, -1)
    for index, (width, height) in enumerate(SIZES):
        window = SeamWindow.around(source, meshes, index, 64)
        assert window.drawn.shape == (3, 8, height, width)
        for x, y in window.corners:
            assert x % 2 == 0
            assert y % 2 == 0
            assert 0 <= x <= 64 - width
            assert 0 <= y <= 64 - height


def test_what_is_put_into_a_window_is_cut_out_again(student, moved):
    window = SeamWindow.around(student.landmarks.expand(4, -1, -1), moved, 2, 64)
    maps, part = torch.zeros(4, 3, 128, 128), torch.rand(4, 3, 32, 32)
    window.put(maps, part, 2)
    assert torch.equal(window.cut(maps, 2), part)
    assert float(maps.sum()) == pytest.approx(float(part.sum()), rel=1e-5)


def test_a_window_sees_an_opening_mouth(student, face_model):
    neutral = Motion.neutral(1, 25)
    shape = type("Shape", (), {"points": face_model.mean})()
    openness = []
    for motion in (neutral.edit({"mouthClose": 0.3}), neutral.edit({"jawOpen": 0.8})):
        mesh = 0.3 * face_model.animate(shape, motion)
        openness.append(float(SeamWindow.around(mesh, mesh, 2, 64).drawn[:, 4].sum()))
    assert openness[1] > 4 * openness[0] + 5


def test_lips_that_cross_a_little_do_not_turn_a_window_over(face_model):
    mesh = 0.3 * face_model.mean[None]
    crossed = mesh.clone()
    upper, lower = SEAMS[2].upper[1:-1], SEAMS[2].lower[1:-1]
    crossed[:, upper, 1], crossed[:, lower, 1] = mesh[:, lower, 1] + 1e-3, mesh[:, lower, 1] - 1e-3
    across = SeamWindow.around(mesh, crossed, 2, 64).drawn[0, 3]
    assert across[0].max() < 0  # above the mouth
    assert across[-1].min() > 0


def test_windows_fade_out_at_their_border():
    shade = feather(64, 64)[0, 0]
    assert shade[0].max() < 0.01
    assert shade[:, -1].max() < 0.01
    assert shade[32, 32] == 1


# The pipeline


@pytest.fixture
def student_pipe(student, tracker):
    return pipeline("talking-face", model=student, tracker=tracker, device="cpu")


def test_a_student_talks_without_a_portrait(student_pipe, scene):
    sound = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    clip = student_pipe(audio=sound, sampling_rate=16000)
    assert clip.frames.shape == (12, *scene.shape)
    assert clip.audio is not None


def test_a_students_frames_go_back_into_the_full_picture(student_pipe, scene, student):
    frames = student_pipe(motion="nod").frames
    crop = student.crop
    outside = np.ones(scene.shape[:2], bool)
    outside[int(crop.top) : int(crop.top + crop.side), int(crop.left) : int(crop.left + crop.side)] = False
    assert outside.any()
    assert (frames[30][outside] == scene[outside]).all()
    assert (frames[30] != frames[0]).any()


def test_a_student_may_give_its_crop_alone(student_pipe):
    assert student_pipe(motion="nod", paste_back=False).frames.shape[1:] == (128, 128, 3)


def test_a_student_streams(student_pipe, scene):
    frame = next(student_pipe.stream(motion="blink"))
    assert frame.shape == scene.shape


def test_a_students_head_may_follow_a_video_while_it_speaks(student_pipe, scene):
    video = np.zeros((12, 240, 320, 3), np.uint8)
    sound = np.zeros(8000, np.float32)
    assert student_pipe(video=video, audio=sound, sampling_rate=16000).frames.shape[1:] == scene.shape


def test_a_student_refuses_another_picture(student_pipe, scene):
    with pytest.raises(MediaError, match="the scene"):
        student_pipe(scene, motion="nod")


def test_a_student_loads_from_its_folder(student, tracker, tmp_path):
    student.save_pretrained(tmp_path)
    loaded = pipeline("talking-face", model=str(tmp_path), tracker=tracker, device="cpu")
    direct = pipeline("talking-face", model=student, tracker=tracker, device="cpu")
    assert np.array_equal(loaded(motion="blink").frames, direct(motion="blink").frames)


# The one that comes with the package


@pytest.mark.e2e
def test_the_embedded_student_is_near_its_teacher():
    student = SuperFaceStudentModel.from_pretrained(weights_folder("student"), dtype=torch.float32).eval()
    teacher = SuperFaceTeacherModel.from_pretrained(weights_folder("teacher"), dtype=torch.float32).eval()
    portrait = stored_portrait(student, FaceModel.default())
    meshes = motion_meshes(student, "speak", 5)
    picture = cut_out(portrait.picture, portrait.crop, teacher.config.image_size)
    with torch.inference_mode():
        prepared = teacher.prepare(picture, torch.from_numpy(portrait.landmarks)[None])
        targets = np.concatenate([as_pictures(teacher.render(prepared, mesh[None]).frames) for mesh in meshes])
    whole, boxes = closeness(rendered(student, meshes), targets, meshes).mean(0)
    assert whole > 32
    assert boxes > 27


@pytest.mark.e2e
def test_the_embedded_student_shows_the_bundled_portrait_and_says_whom():
    student = SuperFaceStudentModel.from_pretrained(weights_folder("student"))
    assert np.array_equal(student.full_picture(), load_picture(PORTRAIT))
    assert student.config.person == "Eileen Collins"
