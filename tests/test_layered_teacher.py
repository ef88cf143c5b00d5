"""The teacher on layers: it starts as the untrained layers, and learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.mesh_flow import warp
from superface_hf.face_model.topology import eye_boxes, mouth_box
from superface_hf.layers.motion import Window, beside_seams, layer_flow
from superface_hf.metrics.image import box_mask
from superface_hf.models.layered_teacher.configuration_layered_teacher import SuperFaceLayeredTeacherConfig
from superface_hf.models.layered_teacher.modeling_layered_teacher import SuperFaceLayeredTeacherModel


def tiny(**overrides) -> SuperFaceLayeredTeacherConfig:
    return SuperFaceLayeredTeacherConfig.of_size("tiny", **overrides)


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A smooth random picture and a face in it that moves: source, its landmarks, driving landmarks (two frames)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    source = torch.nn.functional.interpolate(coarse, size=128, mode="bicubic").clamp(0.02, 0.98)
    landmarks = FaceModel.default().mean[None] * 0.4
    driving = torch.cat((landmarks, landmarks + torch.tensor([0.06, -0.02, 0.0])))
    return source, landmarks, driving


def fresh(config: SuperFaceLayeredTeacherConfig) -> SuperFaceLayeredTeacherModel:
    model = SuperFaceLayeredTeacherModel(config).eval()
    model.canonical.copy_(FaceModel.default().mean)
    return model


def everybody(source: torch.Tensor) -> torch.Tensor:
    """A matte that takes all of the picture for the person."""
    return torch.ones_like(source[:, :1])


def rendered(model: SuperFaceLayeredTeacherModel, source, landmarks, driving, window=None):
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
    assert torch.allclose(output.person, moved, atol=1e-5)


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
    again = SuperFaceLayeredTeacherModel.from_pretrained(tmp_path).eval()
    frames = [rendered(m, source, landmarks, driving).person for m in (model, again)]
    assert torch.equal(*frames)


def test_an_impossible_size_is_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="multiple of 64"):
        SuperFaceLayeredTeacherConfig(image_size=100)


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


def test_the_paper_scale_teacher_renders_and_takes_a_training_step():
    torch.manual_seed(0)
    model = fresh(SuperFaceLayeredTeacherConfig.of_size("large", image_size=128, body_size=128)).train()
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
        SuperFaceLayeredTeacherConfig.of_size("huge")
