"""The teacher: it starts as the mesh flow, learns, and its embedded weights beat where it started."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from superface_hf import SuperFaceTeacherConfig, SuperFaceTeacherModel
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.topology import LIPS_INNER, LIPS_OUTER, eye_boxes, mouth_box
from superface_hf.hub import weights_folder
from superface_hf.metrics.image import box_mask
from superface_hf.models.teacher.modeling_teacher import MOUTH_INTERIOR, plain_mesh_flow


def tiny() -> SuperFaceTeacherConfig:
    return SuperFaceTeacherConfig(
        image_size=128,
        volume_channels=4,
        volume_depth=4,
        detail_channels=8,
        motion_channels=8,
        generator_channels=(16, 8, 8),
        landmark_channels=8,
    )


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A smooth random picture and a face in it that moves: source, its landmarks, driving landmarks (two frames)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    source = torch.nn.functional.interpolate(coarse, size=128, mode="bicubic").clamp(0.02, 0.98)
    landmarks = FaceModel.default().mean[None] * 0.4
    driving = torch.cat((landmarks, landmarks + torch.tensor([0.06, -0.02, 0.0])))
    return source, landmarks, driving


def fresh(config: SuperFaceTeacherConfig) -> SuperFaceTeacherModel:
    model = SuperFaceTeacherModel(config).eval()
    model.canonical.copy_(FaceModel.default().mean)
    return model


def test_an_untrained_teacher_is_the_plain_mesh_flow_but_for_lids_and_lips(scene):
    source, landmarks, driving = scene
    model = fresh(tiny())
    frames = model.render(model.prepare(source, landmarks), driving).frames
    flowed = plain_mesh_flow(source.expand(2, -1, -1, -1), landmarks.expand(2, -1, -1), driving)
    assert frames.shape == (2, 3, 128, 128)
    points = (driving.numpy() + 1) * 64
    boxes = [[mouth_box(p, margin=0.8), *eye_boxes(p, margin=0.8)] for p in points]
    outside = torch.from_numpy(np.stack([~box_mask(each, 128, 128) for each in boxes]))
    assert torch.allclose(frames * outside[:, None], flowed * outside[:, None], atol=1e-2)


def test_an_untrained_teacher_opens_a_closed_mouth_onto_its_inside(scene):
    source, landmarks, _ = scene
    opened = landmarks.clone()
    opened[:, LIPS_INNER[1:10], 1] += 0.08
    opened[:, LIPS_OUTER[1:10], 1] += 0.08
    model = fresh(tiny())
    output = model.render(model.prepare(source, landmarks), opened)
    inside = ((opened[0, LIPS_INNER[5], :2] + opened[0, LIPS_INNER[15], :2]) / 2 + 1) * 64
    column, row = inside.round().long()
    assert output.keep[0, 0, row, column] < 0.4
    assert torch.allclose(output.generated[0, :, row, column], torch.tensor(MOUTH_INTERIOR), atol=0.15)


def test_training_reaches_every_weight(scene):
    source, landmarks, driving = scene
    model = fresh(tiny()).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(3):  # the zero-initialised heads let gradients through from the second step on
        output = model(source, landmarks, driving[1:])
        loss = (output.frames - 0.5).square().mean() + (output.warped - 0.5).square().mean()
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
    frames = [m.render(m.prepare(source, landmarks), driving).frames for m in (model, again)]
    assert torch.equal(*frames)


def test_an_impossible_size_is_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="multiple of 64"):
        SuperFaceTeacherConfig(image_size=100)


def test_the_embedded_teacher_is_trained_and_small():
    folder = weights_folder("teacher")
    model = SuperFaceTeacherModel.from_pretrained(folder)
    assert model.dense_motion.head.weight.abs().max() > 1e-3  # exactly zero before training
    assert model.generator.head.weight.abs().max() > 1e-3
    assert (folder / "model.safetensors").stat().st_size < 30e6
