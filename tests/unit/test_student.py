"""The student: what it stores, what it costs, and that it talks without a portrait."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import smooth_picture
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, pipeline

from superface_hf import (
    MediaError,
    Motion,
    SuperFaceError,
    SuperFaceStudentConfig,
    SuperFaceStudentModel,
    SuperFaceTeacherConfig,
    SuperFaceTeacherModel,
    bundled_motion,
)
from superface_hf.animation.drawn_eyes import move_drawn_eyes
from superface_hf.animation.portrait import stored_portrait
from superface_hf.animation.retargeting import on_portrait
from superface_hf.data.motion_bank import windows_of
from superface_hf.export.student import motion_meshes
from superface_hf.face_model.coordinates import Square
from superface_hf.face_model.seams import SEAMS, mouth_opening_mask
from superface_hf.hub import weights_folder
from superface_hf.layers.compositing import Compositor
from superface_hf.layers.motion import Window, beside_seams, head_motion, layer_flow
from superface_hf.layers.portrait import PortraitLayers
from superface_hf.layers.untrained import UntrainedLayers
from superface_hf.media import load_picture
from superface_hf.models.student.seam_windows import SIZES, SeamWindow, feather
from superface_hf.models.student.stored_layers import LARGEST_EXACT, LayerFiles, picture_file
from superface_hf.motion.rotations import rotation_matrix
from superface_hf.training.student.report import closeness, rendered
from superface_hf.training.student.scene import Scene
from superface_hf.training.student.teacher_frames import render_frames
from superface_hf.utils.assets import PORTRAIT


@pytest.fixture(scope="module")
def untouched(face_points) -> SuperFaceStudentModel:
    config = SuperFaceStudentConfig.of_size("tiny", person="the scene")
    return made_student(config, smooth_picture(), face_points())


@pytest.fixture
def student(untouched) -> SuperFaceStudentModel:
    """A tiny, untrained student of the face in the scene."""
    return copy.deepcopy(untouched)


def simple_layers(picture: np.ndarray, points: np.ndarray) -> PortraitLayers:
    """A person with a round head and shoulders, before a grey wall."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    middle, side = (low + high) / 2, (high - low).max()
    head = np.hypot(x - middle[0], y - middle[1]) / side
    shoulders = np.hypot((x - middle[0]) / 1.5, np.maximum(0, middle[1] + 1.2 * side - y)) / side
    alpha = (255 * np.clip(8 * (0.8 - np.minimum(head, shoulders)), 0, 1)).astype(np.uint8)
    colours = np.where((alpha[..., None] > 0) & (alpha[..., None] < 255), picture // 2, picture)
    plate = np.where(alpha[..., None] > 0, 128, picture).astype(np.uint8)
    return PortraitLayers.of(picture, alpha.astype(np.float32) / 255, colours, plate)


def made_student(config, picture: np.ndarray, points: np.ndarray) -> SuperFaceStudentModel:
    layers = simple_layers(picture, points)
    files = LayerFiles.of(picture_file(picture), layers)
    for name, file in files._asdict().items():
        setattr(config, f"{name}_bytes", len(file))
    torch.manual_seed(0)
    model = SuperFaceStudentModel(config)
    square, size = Square.around_face(points), config.image_size
    scene = Scene.of(layers, square, size)
    appearance = torch.randn(1, config.appearance_channels, size // 8, size // 8)
    model.store(files, square, square.to_image(points), scene.texture, scene.matte, appearance)
    return model.eval()


def composed(student: SuperFaceStudentModel, meshes: torch.Tensor, window: Window | None = None) -> torch.Tensor:
    return Scene.stored(student).compose(student(meshes, window).rendered)[0]


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
def test_an_untrained_student_at_rest_is_its_portraits_layers(student):
    output = student(student.landmarks[None])
    assert output.motion.flow.abs().max() < 1e-4
    assert torch.equal(output.keep, torch.ones_like(output.keep))
    assert not output.paint.any()
    assert not output.alpha_change.any()


@torch.no_grad()
@pytest.mark.parametrize("aside", [False, True])
def test_an_untrained_student_moves_as_the_layers_do(student, moved, aside):
    """In windows of its own as in the crop."""
    count = len(moved)
    window = Window(torch.full((count, 2), 0.1), torch.full((count,), 1.2)) if aside else Window.same(moved)
    source, driving = window.enter(student.landmarks.expand(count, -1, -1)), window.enter(moved)
    wanted = layer_flow(source, driving, 64)
    wanted = beside_seams(wanted, wanted, source, driving)
    flow = F.interpolate(student(moved, window).motion.flow, size=wanted.shape[2:], mode="bilinear")
    assert (flow - wanted).square().mean() < 0.02 * wanted.square().mean()


@torch.no_grad()
def test_its_teeth_stay_with_the_skull_as_the_layers_do(student, face_model):
    still = Motion.neutral(1, 25.0)
    size = (student.landmarks[:, :2].amax(0) - student.landmarks[:, :2].amin(0)).max() / 2
    fallen = face_model.animate(face_model.neutral_shape(face_model.mean, still), still.edit({"jawOpen": 0.8}))
    gaping = student.landmarks[None] + size * (fallen - face_model.mean)
    roll = torch.from_numpy(rotation_matrix(np.array([0.0, 0.0, 0.2]))).float()
    driving = gaping @ roll.T + torch.tensor([0.05, -0.03, 0.0])
    flow = student(driving).motion.flow
    inside = mouth_opening_mask(driving, flow.shape[-1])[:, 0] > 0.9
    assert inside.sum() > 10
    layer = layer_flow(student.landmarks[None], driving, flow.shape[-1] // 2)
    wanted = beside_seams(layer, layer, student.landmarks[None], driving)
    error = (flow - wanted).norm(dim=1)[inside].mean()
    assert error < 0.1 * (gaping - student.landmarks)[0, 14].norm()


@torch.no_grad()
def test_an_untrained_students_frames_are_those_of_the_untrained_layers(student, moved, scene):
    """Drawn by the same compositor."""
    layers, own, meshes = student.layers(), student.landmarks.numpy(), torch.cat((student.landmarks[None], moved))
    source, matte = layers.source(student.crop, student.config.image_size)
    untrained = UntrainedLayers()
    prepared, window = student.prepare(), Window.following(student.crop, student.landmarks, meshes)
    rendered = student.render(prepared, meshes, window).rendered
    expected = untrained.render(untrained.prepare(source, matte, student.landmarks[None]), meshes, window).rendered
    frames = Compositor(layers, student.crop, own)(rendered, meshes)
    others = Compositor(layers, student.crop, own)(expected, meshes)
    assert np.array_equal(frames[0], others[0])
    for frame, other in zip(frames[1:], others[1:], strict=True):
        changed = np.abs(other.astype(int) - scene).mean()
        assert np.abs(frame.astype(int) - other).mean() < 0.3 * changed


def test_the_head_turns_as_the_layers_say(student, moved):
    """Found by a product of few matrices instead of singular values, which no exported graph holds."""
    turned = moved @ torch.from_numpy(rotation_matrix(np.array([0.3, -0.4, 0.5]))).float().T
    window = Window(torch.full((4, 2), 0.1), torch.full((4,), 0.7))
    expected = head_motion(window.enter(student.landmarks.expand(4, -1, -1)), window.enter(turned))
    found = student.prepare().prior.head(window.enter(turned), window)
    for name in ("turn", "before", "after", "width", "chin", "down"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-4), name


@torch.no_grad()
def test_the_matte_changes_only_near_the_person(student):
    student.matte.zero_()[:, 2:4, 2:4] = 255
    change = trained_a_little(student)(student.landmarks[None]).alpha_change[0, 0]
    assert change[16:32, 16:32].abs().min() > 0
    assert not change[72:].any()
    assert not change[:, 72:].any()


def test_a_frame_costs_at_most_a_hundredth_of_the_base_teachers(face_model):
    mesh = (0.3 * face_model.mean)[None]
    teacher = SuperFaceTeacherModel(SuperFaceTeacherConfig()).eval()
    student = SuperFaceStudentModel(SuperFaceStudentConfig()).eval()
    blank, nobody = torch.zeros(1, 3, 512, 512), torch.zeros(1, 1, 512, 512)
    none = LayerFiles(b"", b"", b"", b"")
    student.store(none, Square(0, 0, 512), mesh[0].numpy(), blank, nobody, torch.zeros(1, 6, 64, 64))
    with torch.inference_mode():
        works = [(teacher, teacher.prepare(blank, nobody, mesh)), (student, student.prepare())]
        costs = []
        for model, prepared in works:
            with FlopCounterMode(display=False) as counter:
                model.render(prepared, mesh)
            costs.append(counter.get_total_flops())
    assert costs[1] <= 0.01 * costs[0]


@torch.no_grad()
def test_frames_rendered_together_are_those_rendered_alone(student, moved):
    trained_a_little(student)
    together = composed(student, moved)
    alone = torch.cat([composed(student, mesh[None]) for mesh in moved])
    assert torch.allclose(together, alone, atol=1e-4)


def test_all_weights_learn(student, moved):
    trained_a_little(student)
    frames, alpha = Scene.stored(student).compose(student(moved).rendered)
    (frames.square().mean() + alpha.mean()).backward()
    silent = [name for name, parameter in student.named_parameters() if parameter.grad is None]
    assert not silent


def test_training_works_after_rendering_in_inference_mode(student, moved):
    feather.cache_clear()
    with torch.inference_mode():
        student(moved)
    student(moved).paint.mean().backward()


@torch.no_grad()
def test_a_student_comes_back_bit_for_bit(student, moved, tmp_path):
    trained_a_little(student).save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    for kind in (SuperFaceStudentModel, AutoModel):
        again = kind.from_pretrained(tmp_path).eval()
        assert isinstance(again, SuperFaceStudentModel)
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in student.state_dict().items())
        assert torch.equal(composed(again, moved), composed(student, moved))
        assert again.config.person == "the scene"


def test_narrow_weights_leave_landmarks_and_pixels_exact(student, tmp_path):
    student.save_pretrained(tmp_path)
    narrow = SuperFaceStudentModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow.landmarks, student.landmarks)
    assert torch.equal(narrow.texture, student.texture)


def test_what_is_stored_of_the_layers_comes_back(student, scene, face_points):
    layers, stored = simple_layers(scene, face_points()), student.layers()
    assert np.array_equal(student.full_picture(), scene)
    assert stored.box == layers.box
    for name in ("picture", "colours", "alpha", "plate"):
        assert np.array_equal(getattr(stored, name), getattr(layers, name)), name


def test_beside_the_person_the_stored_plate_is_the_picture(scene, face_points):
    """However large it is, and so stored with loss."""
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8)
    layers = simple_layers(noise, face_points(450, 450, 160))
    seen = noise[layers.box]
    plate = np.where(layers.alpha[..., None] > 0, 255 - seen, seen)
    again = LayerFiles.of(png(noise), replace(layers, plate=plate))
    assert len(again.plate) <= LARGEST_EXACT
    decoded, beside = again.decoded(), layers.alpha == 0
    assert beside.any()
    assert np.array_equal(decoded.plate[beside], seen[beside])
    assert np.abs(decoded.plate.astype(int) - plate).mean() < 30


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_a_student_without_a_portrait_says_what_to_do():
    with pytest.raises(SuperFaceError, match="superface distill"):
        SuperFaceStudentModel(SuperFaceStudentConfig.of_size("tiny")).full_picture()


@pytest.mark.parametrize(
    "wrong", [{"image_size": 200}, {"motion_channels": [8, 8]}, {"prior_points": 3}, {"alpha_bytes": 2**40}]
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
    maps, part = torch.zeros(4, 3, 128, 128), torch.rand(4, 3, 2 * SIZES[2][1], 2 * SIZES[2][0])
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


@pytest.mark.parametrize("drawn", [False, True])
def test_a_student_remembers_that_its_eyes_are_drawn(scene, face_points, face_model, drawn):
    config = SuperFaceStudentConfig.of_size("tiny", drawn_eyes=drawn)
    portrait = stored_portrait(made_student(config, scene, face_points()), face_model)
    blink = Motion.neutral(1, 25.0).edit({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    points = on_portrait(Motion.concatenate([Motion.neutral(1, 25.0), blink]), portrait, face_model)[1]
    expected = replace(portrait, drawn_eyes=True)
    wanted = move_drawn_eyes(expected.shape, on_portrait(blink, expected, face_model)[0], face_model)
    assert portrait.drawn_eyes is drawn
    assert bool(np.abs(points[1].numpy() - wanted[0]).max() < 1e-4) is drawn


# The pipeline


NOD, BLINK = bundled_motion("nod")[::5], bundled_motion("blink")[::10]  # twelve and six frames


@pytest.fixture
def student_pipe(student, tracker):
    return pipeline("talking-face", model=student, tracker=tracker, device="cpu")


def test_a_student_talks_without_a_portrait(student_pipe, scene):
    sound = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    clip = student_pipe(audio=sound, sampling_rate=16000)
    assert clip.frames.shape == (12, *scene.shape)
    assert clip.audio is not None


def test_beside_a_students_person_the_picture_stays_bit_for_bit(student_pipe, scene, student):
    frames = student_pipe(motion=NOD).frames
    moved = student_pipe(motion=NOD, background="transparent")
    layers = student.layers()
    untouched = moved.alpha[6] == 0
    untouched[layers.box] &= layers.alpha == 0
    assert untouched.any()
    assert (frames[6][untouched] == scene[untouched]).all()
    assert (frames[6] != frames[0]).any()


def test_a_student_may_stand_before_something_else(student_pipe):
    clip = student_pipe(motion=BLINK, background="green")
    alpha = student_pipe(motion=BLINK, background="transparent").alpha
    assert (clip.frames[5][alpha[5] == 0] == np.array([0, 128, 0])).all()


def test_a_student_may_give_its_crop_alone(student_pipe):
    assert student_pipe(motion=NOD, paste_back=False).frames.shape[1:] == (128, 128, 3)


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
    assert np.array_equal(loaded(motion=BLINK).frames, direct(motion=BLINK).frames)


# The one that comes with the package


@pytest.mark.e2e
def test_the_embedded_student_is_near_its_teacher():
    student = SuperFaceStudentModel.from_pretrained(weights_folder("student"), dtype=torch.float32).eval()
    teacher = SuperFaceTeacherModel.from_pretrained(weights_folder("teacher"), dtype=torch.float32).eval()
    meshes = motion_meshes(student, "speak", 5)
    scene, windows = Scene.stored(student), windows_of(meshes, student.crop, student.landmarks)
    with torch.inference_mode():
        prepared = teacher.prepare(scene.texture, scene.matte, student.landmarks[None])
        frames = render_frames(teacher, prepared, scene, meshes, windows, 1, torch.float32, exact=True)
    targets = frames.decoded(range(5)).permute(0, 2, 3, 1).numpy()
    inside = Window(windows[:, :2], windows[:, 2]).enter(meshes)
    whole, boxes = closeness(rendered(student, meshes, windows), targets, inside).mean(0)
    assert whole > 32
    assert boxes > 27


@pytest.mark.e2e
def test_the_embedded_student_shows_the_bundled_portrait_and_says_whom():
    student = SuperFaceStudentModel.from_pretrained(weights_folder("student"))
    assert np.array_equal(student.full_picture(), load_picture(PORTRAIT))
    assert student.config.person == "Eileen Collins"
