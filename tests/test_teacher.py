"""The teacher: it starts as the mesh flow, learns, and its embedded weights beat where it started."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from superface_hf import SuperFaceTeacherConfig, SuperFaceTeacherModel
from superface_hf.demo import PORTRAIT
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.mesh_flow import rigid_motion
from superface_hf.face_model.topology import LIPS_INNER, LIPS_OUTER, eye_boxes, mouth_box
from superface_hf.hub import embedded_tracker, weights_folder
from superface_hf.media import load_picture
from superface_hf.metrics.image import box_mask
from superface_hf.models.teacher.dense_motion import rigid_volume_flow
from superface_hf.models.teacher.modeling_teacher import MOUTH_INTERIOR, plain_mesh_flow
from superface_hf.models.teacher.sharpening import sharpened
from superface_hf.models.teacher.volume import plane_depths, warp_volume
from superface_hf.pipelines.paste_back import cut_out
from superface_hf.pipelines.portrait import find_portrait
from superface_hf.training.degradations import DegradationConfig, SourceDegradation


def tiny(**overrides) -> SuperFaceTeacherConfig:
    return SuperFaceTeacherConfig.of_size("tiny", **overrides)


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A smooth random picture and a face in it that moves: source, its landmarks, driving landmarks (two frames)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    source = torch.nn.functional.interpolate(coarse, size=128, mode="bicubic").clamp(0.02, 0.98)
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


def test_an_untrained_teacher_is_the_plain_mesh_flow_but_for_lids_and_lips(scene):
    source, landmarks, driving = scene
    model = fresh(tiny(sharpening=0.0))
    frames = model.render(model.prepare(source, landmarks), driving).frames
    flowed = plain_mesh_flow(source.expand(2, -1, -1, -1), landmarks.expand(2, -1, -1), driving)
    assert frames.shape == (2, 3, 128, 128)
    points = (driving.numpy() + 1) * 64
    boxes = [[mouth_box(p, margin=0.8), *eye_boxes(p, margin=0.8)] for p in points]
    outside = torch.from_numpy(np.stack([~box_mask(each, 128, 128) for each in boxes]))
    # The teacher samples bicubically, which is sharper than the plain warp.
    assert torch.allclose(frames * outside[:, None], flowed * outside[:, None], atol=2e-2)


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


def test_only_what_moved_is_sharpened():
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).mul(0.2).add(0.4)
    flow = torch.zeros(1, 2, 32, 32)
    flow[..., 16:] = 0.1
    result = sharpened(picture, flow, 0.3)
    assert torch.equal(result[..., :30], picture[..., :30])
    assert (result[..., 36:].std() / picture[..., 36:].std()).item() > 1.1
    assert torch.allclose(result.mean(), picture.mean(), atol=1e-3)


def test_an_untrained_restorer_changes_nothing(scene):
    source, landmarks, _ = scene
    assert torch.equal(fresh(tiny()).prepare(source, landmarks).image, source)


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


def test_nothing_is_sharpened_in_training(scene):
    source, landmarks, driving = scene
    model = fresh(tiny(sharpening=0.9)).train()
    output = model.render(model.prepare(source, landmarks), driving)
    mixed = output.keep * output.warped + (1 - output.keep) * output.generated
    assert torch.equal(output.frames, mixed)
    assert not torch.allclose(model.eval().render(model.prepare(source, landmarks), driving).frames, mixed, atol=1e-3)


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


@pytest.mark.parametrize("part", ["early_mesh", "late_landmarks", "mesh_flow_prior"])
def test_each_part_of_the_design_can_be_left_out(scene, part):
    source, landmarks, driving = scene
    torch.manual_seed(0)
    model = fresh(tiny(**{part: False}))
    output = model.render(model.prepare(source, landmarks), driving)
    assert output.frames.shape == (2, 3, 128, 128)
    if part == "mesh_flow_prior":
        assert torch.allclose(output.warped, source.expand(2, -1, -1, -1), atol=1e-4)  # it starts at rest


def test_motion_codes_hear_landmarks_late_and_meshes_early(scene):
    source, landmarks, driving = scene
    model = fresh(tiny())
    torch.nn.init.normal_(model.motion_enhancer.image_to_driving.weight)
    codes = model.render(model.prepare(source, landmarks), driving).driving_code
    assert codes.shape == (2, model.config.code_channels)
    quiet = fresh(tiny(late_landmarks=False))
    quiet.load_state_dict(model.state_dict())
    early = quiet.render(quiet.prepare(source, landmarks), driving).driving_code
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
        (model(source, landmarks, driving[1:]).frames - 0.3).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_the_paper_scale_teacher_renders_and_takes_a_training_step():
    torch.manual_seed(0)
    model = fresh(SuperFaceTeacherConfig.of_size("large", image_size=128)).train()
    landmarks = FaceModel.default().mean[None] * 0.4
    before = model.generator.head.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    output = model(torch.rand(1, 3, 128, 128), landmarks, landmarks + 0.03)
    assert output.frames.shape == (1, 3, 128, 128)
    output.frames.square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.generator.head.weight, before)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="tiny, base, large"):
        SuperFaceTeacherConfig.of_size("huge")
