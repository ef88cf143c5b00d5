"""The teacher: it starts as the untrained layers, learns, and its embedded weights are trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from superface_hf import SuperFaceTeacherConfig, SuperFaceTeacherModel
from superface_hf.animation.portrait import find_portrait
from superface_hf.data.degradations import DegradationConfig, SourceDegradation
from superface_hf.face_model import topology
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.mesh_flow import rigid_motion, warp
from superface_hf.face_model.topology import eye_boxes, mouth_box
from superface_hf.hub import weights_folder
from superface_hf.layers.motion import Window, beside_seams, layer_flow
from superface_hf.layers.portrait import cut_out
from superface_hf.media import load_picture
from superface_hf.metrics.image import box_mask
from superface_hf.models.embedded import embedded_tracker
from superface_hf.models.teacher import modeling_teacher
from superface_hf.models.teacher.dense_motion import rigid_volume_flow
from superface_hf.models.teacher.key_frames import key_frames
from superface_hf.models.teacher.volume import plane_depths, warp_volume
from superface_hf.utils.assets import PORTRAIT


def tiny(**overrides) -> SuperFaceTeacherConfig:
    return SuperFaceTeacherConfig.of_size("tiny", **overrides)


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A smooth random picture, in light that networks know, and a face in it that moves: source, its landmarks, driving
    landmarks (two frames)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    source = torch.nn.functional.interpolate(coarse, size=128, mode="bicubic").clamp(0.02, 0.98)
    source = source * torch.tensor([1.0, 0.75, 0.65])[:, None, None]
    landmarks = FaceModel.default().mean[None] * 0.4
    driving = torch.cat((landmarks, landmarks + torch.tensor([0.06, -0.02, 0.0])))
    return source, landmarks, driving


@pytest.fixture(scope="module")
def portrait_crop() -> torch.Tensor:
    """(1, 3, 512, 512): a photograph of a face as the teacher gets it."""
    picture = load_picture(PORTRAIT)
    portrait = find_portrait(picture, embedded_tracker(), FaceModel.default(), "only", 512)
    return cut_out(portrait.picture, portrait.crop, 512)


def fresh(config: SuperFaceTeacherConfig) -> SuperFaceTeacherModel:
    model = SuperFaceTeacherModel(config).eval()
    model.canonical.copy_(FaceModel.default().mean)
    return model


def everybody(source: torch.Tensor) -> torch.Tensor:
    """A matte that takes all of the picture for the person."""
    return torch.ones_like(source[:, :1])


def rendered(model: SuperFaceTeacherModel, source, landmarks, driving, window=None):
    return model.render(model.prepare(source, everybody(source), landmarks), driving, window)


def test_an_untrained_teacher_is_the_untrained_layers(scene):
    source, landmarks, driving = scene
    output = rendered(fresh(tiny()), source, landmarks, driving)
    both = landmarks.expand(2, -1, -1)
    layer = layer_flow(both, driving, 32)
    flow = beside_seams(layer, layer, both, driving)
    moved = warp(source.expand(2, -1, -1, -1), flow, mode="bicubic").clamp(0, 1)
    assert torch.allclose(output.warped, moved, atol=1e-5)
    assert (output.rendered.alpha_change == 0).all()
    # But for the inside of a mouth that opens.
    changed = (output.person - moved).abs()
    assert changed[0].max() < 1e-5
    assert (changed > 1e-5).float().mean() < 0.01


def test_what_is_painted_is_brought_back_to_the_light_of_the_picture(scene, monkeypatch):
    source, landmarks, driving = scene
    torch.manual_seed(0)
    model = fresh(tiny())
    for part in (model.mouth_painter, model.eye_painter, model.generator):
        torch.nn.init.normal_(part.head.weight, std=0.1)
    tint = torch.tensor([1.0, 1.0, 0.5])[:, None, None]
    people = []
    for light in (torch.ones_like(tint), tint):
        monkeypatch.setattr(modeling_teacher, "light_gains", lambda *_, light=light: (1 / light)[None])
        people.append(rendered(model, source * light, landmarks, driving).person)
    assert (people[0] - rendered(fresh(tiny()), source, landmarks, driving).person).abs().max() > 0.05
    assert torch.allclose(people[0] * tint, people[1], atol=1e-4)


def test_mouth_and_eyes_are_painted_where_they_are_and_nowhere_else(scene):
    source, landmarks, driving = scene
    torch.manual_seed(0)
    model = fresh(tiny())
    for part in (model.mouth_painter, model.eye_painter):
        torch.nn.init.normal_(part.head.weight, std=0.5)
    output = rendered(model, source, landmarks, driving)
    changed = (output.person - output.warped).abs().amax(1)
    points = (driving.numpy() + 1) * 64
    boxes = [[mouth_box(p, margin=1.5), *eye_boxes(p, margin=1.5)] for p in points]
    outside = torch.from_numpy(np.stack([~box_mask(each, 128, 128) for each in boxes]))
    assert (changed * outside).max() < 1e-5
    assert changed.max() > 0.05


def test_a_window_that_follows_the_face_shows_the_same_person(scene):
    """The same frame, seen through a window that lies elsewhere and is larger."""
    source, landmarks, driving = scene
    model = fresh(tiny())
    own = rendered(model, source, landmarks, driving[:1])
    window = Window(torch.tensor([[0.1, -0.05]]), torch.tensor([1.25]))
    seen = rendered(model, source, landmarks, driving[:1], window)
    inside = own.warped[..., 40:88, 40:88]
    back = Window(-window.centre / window.scale, 1 / window.scale)
    again = warp(seen.warped, back.leave(torch.zeros(1, 2, 64, 64)), mode="bicubic")[..., 40:88, 40:88]
    assert (again - inside).abs().mean() < 0.01


def moved(landmarks: torch.Tensor, places: list[float], points: slice | np.ndarray = slice(None)) -> torch.Tensor:
    """Frames in which some of the points have moved down, in widths of the face."""
    frames = landmarks.repeat(len(places), 1, 1)
    width = float(landmarks[0, :, 0].max() - landmarks[0, :, 0].min())
    frames[:, points, 1] += width * torch.tensor(places)[:, None]
    return frames


def test_key_frames_are_where_the_motion_is_uneven(scene):
    landmarks = scene[1]
    even = [0.05 * step for step in range(14)]
    assert key_frames(moved(landmarks, even)) == [0, 6, 12, 13]
    assert key_frames(moved(landmarks, [0.1, 0.1, 0.1, 0.25, 0.1, 0.1, 0.1])) == [0, 2, 3, 4, 6]
    blink = [0.0, 0.0, 0.0, 0.012, 0.0, 0.0, 0.0]
    assert key_frames(moved(landmarks, blink, topology.LEFT_EYE)) == [0, 2, 3, 4, 6]
    assert key_frames(moved(landmarks, blink, topology.LEFT_BROW)) == [0, 6]
    assert key_frames(landmarks) == [0]


def test_nothing_is_interpolated_between_a_closed_mouth_and_an_open_one(scene):
    lower, upper = topology.LIPS_INNER[1:10], topology.LIPS_INNER[:10:-1].copy()
    shut = scene[1].clone()
    shut[:, lower] = shut[:, upper]
    apart = moved(shut, [0.004 * step for step in range(7)], lower)
    assert key_frames(apart) == [0, 2, 3, 6]


def test_between_key_frames_the_networks_changes_are_interpolated(scene):
    """The frames differ little from those for which the networks run, and a key frame not at all."""
    source, landmarks, driving = scene
    torch.manual_seed(0)
    model = fresh(tiny())
    for head in (model.dense_motion.head, model.generator.head):
        torch.nn.init.normal_(head.weight, std=0.05)
    prepared = model.prepare(source, everybody(source), landmarks)
    frames = torch.lerp(landmarks, driving[1:], torch.tensor([0.0, 0.1, 0.2, 0.3])[:, None, None])
    calls = []
    model.generator.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        whole = model.render(prepared, frames)
        first = model.render(prepared, frames[:1])
        calls.clear()
        rest = model.render(prepared, frames[1:], before=first.changes)
    assert len(calls) == 1
    assert torch.allclose(rest.changes.painted, whole.changes.painted[3:], atol=1e-4)
    assert torch.allclose(rest.person[-1], whole.person[-1], atol=1e-4)
    between, held = (whole.person[1:3] - rest.person[:2]).abs().mean(), (whole.person[1:3] - first.person).abs().mean()
    assert 0 < between < 0.1 * held


def test_nobody_grows_where_nobody_is(scene):
    """However the networks change the matte, far from any person it stays zero."""
    source, landmarks, driving = scene
    model = fresh(tiny())
    torch.nn.init.constant_(model.generator.head.bias, 3.0)
    matte = torch.zeros_like(source[:, :1])
    matte[..., 32:96, 32:96] = 1
    output = model.render(model.prepare(source, matte, landmarks), driving[:1])
    assert output.alpha[0, 0, 64, 64] == 1
    assert (output.alpha[..., :4] == 0).all()
    assert (output.alpha > 0).float().mean() > 0.3


def test_an_untrained_restorer_changes_nothing(scene):
    source, landmarks, _ = scene
    assert torch.equal(fresh(tiny()).prepare(source, everybody(source), landmarks).image, source)


@pytest.mark.e2e
def test_the_embedded_restorer_cleans_a_poor_picture_and_leaves_a_good_one(portrait_crop):
    """A photograph that is small, noisy and compressed comes nearer to itself; as it is, it hardly changes."""
    restorer = SuperFaceTeacherModel.from_pretrained(weights_folder("teacher"), dtype=torch.float32).eval().restorer
    spoil = SourceDegradation(DegradationConfig(share=1.0))
    spoilt = torch.cat([spoil(portrait_crop, torch.Generator().manual_seed(seed)) for seed in range(4)])
    with torch.inference_mode():
        before, after = ((x - portrait_crop).square().mean().item() for x in (spoilt, restorer(spoilt).image))
        change = (restorer(portrait_crop).image - portrait_crop).abs().mean().item()
    assert after < 0.8 * before
    assert change < 2 / 255


def test_training_reaches_every_weight(scene):
    source, landmarks, driving = scene
    model = fresh(tiny()).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(3):  # the zero-initialised heads let gradients through from the second step on
        output = model(source, 0.6 * everybody(source), landmarks, driving[1:])
        frames = output.over(torch.zeros_like(source))
        loss = (frames - 0.5).square().mean() + (output.warped - 0.5).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    still = [
        name for (name, p), old in zip(model.named_parameters(), before, strict=True) if torch.equal(p.detach(), old)
    ]
    assert still == []


def test_a_saved_teacher_comes_back_bit_for_bit(scene, tmp_path):
    source, landmarks, driving = scene
    model = fresh(tiny())
    model.save_pretrained(tmp_path)
    again = SuperFaceTeacherModel.from_pretrained(tmp_path).eval()
    frames = [rendered(m, source, landmarks, driving).person for m in (model, again)]
    assert torch.equal(*frames)


def test_an_impossible_size_is_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="multiple of 64"):
        SuperFaceTeacherConfig(image_size=100)


@pytest.mark.e2e
def test_the_embedded_teacher_is_trained_and_small():
    folder = weights_folder("teacher")
    model = SuperFaceTeacherModel.from_pretrained(folder)
    assert model.dense_motion.head.weight.abs().max() > 1e-3  # exactly zero before training
    for part in (model.generator, model.mouth_painter, model.eye_painter):
        assert part.head.weight.abs().max() > 1e-3
    assert (folder / "model.safetensors").stat().st_size < 30e6


def test_tall_sampling_is_trilinear_sampling_of_the_volume():
    generator = torch.Generator().manual_seed(0)
    volume = torch.rand(2, 5, 3, 8, 8, generator=generator)
    flow = torch.randn(2, 5, 3, 8, 8, generator=generator)
    ys = xs = (torch.arange(8) + 0.5) / 4 - 1
    zs = plane_depths(5, flow)
    z, y, x = torch.meshgrid(zs, ys, xs, indexing="ij")
    middle, half = (
        (zs[0] + zs[-1]) / 2,
        (zs[-1] - zs[0]) / 2 * 5 / 4,
    )  # grid_sample's edges are half a plane further out
    grid = torch.stack((x + flow[:, :, 0], y + flow[:, :, 1], (z + flow[:, :, 2] - middle) / half), dim=-1)
    wanted = torch.nn.functional.grid_sample(
        volume.transpose(1, 2), grid, padding_mode="border", align_corners=False
    ).transpose(1, 2)
    assert torch.allclose(warp_volume(volume, flow), wanted, atol=1e-5)


def test_a_rigid_head_flow_finds_the_source_in_depth_too(scene):
    """What lies in front of the face in the source is looked for there, wherever the turned head carries it."""
    _, landmarks, _ = scene
    turn = torch.tensor([[0.9, 0.0, -0.436], [0.0, 1.0, 0.0], [0.436, 0.0, 0.9]])
    driving = landmarks @ turn.T + torch.tensor([0.1, 0.0, 0.0])
    affine = rigid_motion(landmarks, driving)
    assert torch.allclose(affine[0, :, :3], turn.T, atol=0.05)
    depth = driving[:, 4:5, 2]  # the tip of the nose
    flow = rigid_volume_flow(affine, depth.expand(-1, 2), landmarks, 64)
    column, row = ((driving[0, 4, :2] + 1) * 32).long()
    found = driving[0, 4, :2] + flow[0, 0, :2, row, column]
    assert torch.allclose(found, landmarks[0, 4, :2], atol=0.06)


@pytest.mark.parametrize("part", ["early_mesh", "late_landmarks"])
def test_each_part_of_the_design_can_be_left_out(scene, part):
    source, landmarks, driving = scene
    torch.manual_seed(0)
    model = fresh(tiny(**{part: False}))
    assert rendered(model, source, landmarks, driving).person.shape == (2, 3, 128, 128)


def test_motion_codes_hear_landmarks_late_and_meshes_early(scene):
    source, landmarks, driving = scene
    model = fresh(tiny())
    torch.nn.init.normal_(model.motion_enhancer.image_to_driving.weight)
    codes = rendered(model, source, landmarks, driving).driving_code
    assert codes.shape == (2, model.config.code_channels)
    quiet = fresh(tiny(late_landmarks=False))
    quiet.load_state_dict(model.state_dict())
    early = rendered(quiet, source, landmarks, driving).driving_code
    assert (early[0] - early[1]).abs().max() > 1e-4
    assert (codes - early).abs().max() > 1e-4


def test_gradient_checkpointing_gives_the_same_gradients(scene):
    source, landmarks, driving = scene
    torch.manual_seed(0)
    model = fresh(tiny()).train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        model.zero_grad()
        (model(source, everybody(source), landmarks, driving[1:]).person - 0.3).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


@pytest.mark.e2e
def test_the_paper_scale_teacher_renders_and_takes_a_training_step():
    torch.manual_seed(0)
    model = fresh(SuperFaceTeacherConfig.of_size("large", image_size=128, body_size=128)).train()
    landmarks = FaceModel.default().mean[None] * 0.4
    before = model.generator.head.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    output = model(torch.rand(1, 3, 128, 128), torch.ones(1, 1, 128, 128), landmarks, landmarks + 0.03)
    assert output.person.shape == (1, 3, 128, 128)
    output.person.square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.generator.head.weight, before)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="tiny, base, large"):
        SuperFaceTeacherConfig.of_size("huge")
