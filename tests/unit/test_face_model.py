"""What the linear face model promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from superface_hf import FaceModel, FaceShape
from superface_hf.errors import MotionError
from superface_hf.face_model import topology
from superface_hf.face_model.linear import LIDS
from superface_hf.face_model.topology import lid_gap
from superface_hf.motion import Motion
from superface_hf.motion.arkit import ARKIT_NAMES, arkit_index, mirrored_name
from superface_hf.motion.bundled import bundled_motion
from superface_hf.motion.rotations import fit_similarity, rotation_matrix, rotation_vector

FPS = 25.0
LIPS_MIDDLE = ((13, 14),)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.default()


def person(model: FaceModel, seed: int) -> FaceShape:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(len(model.identity_basis), generator=generator)
    return FaceShape(model.mean + torch.tensordot(weights, model.identity_basis, dims=1))


def performance(scale: float = 0.6) -> Motion:
    """A motion with everything in it: speech, a nod, gaze."""
    speak, nod, look = bundled_motion("speak"), bundled_motion("nod"), bundled_motion("look_around")
    return replace(speak[:50], rotation=nod.rotation[:50], gaze=look.gaze[:50], scale=np.full(50, scale),
                   translation=0.1 + nod.translation[:50] * scale)  # fmt: skip


def shown(model: FaceModel, shapes: dict[str, float]) -> np.ndarray:
    """The mean face with blendshapes, (1, 478, 3) canonical."""
    return model.animate(FaceShape(model.mean), Motion.neutral(1, FPS).edit(shapes)).numpy()


def error_percent(found: torch.Tensor, truth: torch.Tensor) -> float:
    distance = (found - truth)[..., :2].norm(dim=-1).mean(1)
    return float((100 * distance / torch.from_numpy(topology.inter_ocular(truth[..., :2].numpy()))).mean())


def test_rotation_vectors_and_matrices_are_each_others_inverse():
    vectors = np.random.default_rng(0).uniform(-1.7, 1.7, size=(100, 3))
    vectors[0] = 0
    vectors[1] = [np.pi - 1e-4, 0, 0]
    np.testing.assert_allclose(rotation_vector(rotation_matrix(vectors)), vectors, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(rotation_matrix(vectors)), 1)


def test_the_similarity_is_found_exactly():
    generator = np.random.default_rng(0)
    points, turn = generator.normal(size=(5, 20, 3)), rotation_matrix(generator.normal(size=(5, 3)))
    target = 1.7 * points @ turn.swapaxes(1, 2) + [0.3, 0.1, -2]
    rotation, scale, offset = fit_similarity(points, target)
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    np.testing.assert_allclose(scale, 1.7)
    np.testing.assert_allclose(offset, np.tile([0.3, 0.1, -2], (5, 1)))


def test_the_mean_face_is_symmetric_frontal_and_of_unit_size(model: FaceModel):
    mean = model.mean.numpy()
    assert topology.inter_ocular(mean) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(mean.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(mean[model.mirror] * [-1, 1, 1], mean, atol=1e-4)
    assert mean[263, 0] > 0, "the person's left eye is on the picture's right"
    assert mean[152, 1] > mean[10, 1], "the chin is below the forehead"
    assert mean[4, 2] > mean[234, 2], "the nose is nearer to the camera than the ears"


def test_triangles_face_one_way_and_leave_mouth_and_eyes_open(model: FaceModel):
    triangles = model.triangles.numpy()
    a, b, c = (model.mean.numpy()[triangles[:, corner], :2] for corner in range(3))
    u, v = b - a, c - a
    assert (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] > 0).all()
    for ring in (topology.LIPS_INNER, topology.LEFT_EYE, topology.RIGHT_EYE):
        assert not np.isin(triangles, ring).all(1).any()
    assert set(np.unique(triangles)) <= set(range(468))


def test_the_neutral_shape_of_a_picture_is_exact(model: FaceModel):
    landmarks = model.animate(person(model, 0), performance())[17]
    landmarks = landmarks + 0.01 * torch.randn(landmarks.shape, generator=torch.Generator().manual_seed(0))
    _, motion = model.fit(landmarks[None], FPS)
    shape = model.neutral_shape(landmarks, motion)
    assert (model.animate(shape, motion)[0] - landmarks).abs().max() < 1e-4


def test_the_neutral_shape_is_exact_for_closed_and_wide_open_eyes(model: FaceModel):
    for value in (1.0, -0.4):
        motion = Motion.neutral(1, FPS).edit({"eyeBlinkLeft": value, "eyeBlinkRight": value / 2})
        landmarks = model.animate(person(model, 1), motion)[0]
        shape = model.neutral_shape(landmarks, motion)
        assert (model.animate(shape, motion)[0] - landmarks).abs().max() < 1e-4


def test_a_fit_finds_the_motion_and_shape_it_was_made_from(model: FaceModel):
    truth = model.animate(person(model, 2), performance())
    shape, motion = model.fit(truth, FPS)
    assert error_percent(model.animate(shape, motion), truth) < 0.3
    assert np.abs(motion.rotation - performance().rotation).max() < 0.02
    known = model.fit_frames(shape, truth, FPS)
    assert error_percent(model.animate(shape, known), truth) < 0.3


def test_lips_and_lids_of_a_refitted_performance_open_and_close_alike(model: FaceModel):
    truth = model.animate(person(model, 3), performance())
    again = model.animate(*model.fit(truth, FPS)).numpy()
    size = topology.inter_ocular(truth.numpy())
    for pairs in (LIPS_MIDDLE, *LIDS):
        difference = np.abs(lid_gap(again, pairs) - lid_gap(truth.numpy(), pairs)) / size
        assert difference.max() < 0.01


def test_the_driving_persons_shape_does_not_leak(model: FaceModel):
    driver, owner = person(model, 4), person(model, 5)
    driving = model.animate(driver, performance(scale=0.9))
    portrait = model.animate(owner, replace(Motion.neutral(1, FPS), scale=[0.5], rotation=[[0, 0.2, 0.1]]))[0]
    _, motion = model.fit(driving, FPS)
    _, source = model.fit(portrait[None], FPS)
    shape = model.neutral_shape(portrait, source)
    moved = model.animate(shape, motion.relative_to(motion[0], source))
    assert (moved[0] - portrait).abs().max() < 1e-4, "the neutral frame is the portrait itself"
    other = model.animate(shape, performance(scale=0.9).relative_to(performance(scale=0.9)[0], source))
    assert error_percent(moved, other) < 0.5, "the same performance by anybody gives the same result"


@pytest.mark.parametrize("seed", range(4))
def test_a_full_blink_closes_that_eye_of_anybody_and_not_the_other(model: FaceModel, seed: int):
    shape = person(model, seed)
    open_eyes = shape.points[None].numpy()
    winking = model.animate(shape, Motion.neutral(1, FPS).edit({"eyeBlinkLeft": 1.0})).numpy()
    left, right = (lid_gap(winking, lids) / lid_gap(open_eyes, lids) for lids in LIDS)
    assert -0.03 < left[0] < 0.1
    assert right[0] > 0.95


def test_lids_do_not_cross_in_a_blink(model: FaceModel):
    face = shown(model, {"eyeBlinkLeft": 1.0})
    upper, lower = np.array(topology.LEFT_LIDS).T
    assert (face[0, lower, 1] - face[0, upper, 1]).min() > -0.006


def test_an_open_jaw_is_a_wide_open_mouth_and_a_low_chin(model: FaceModel):
    neutral, face = model.mean.numpy(), shown(model, {"jawOpen": 1.0})
    assert lid_gap(face, LIPS_MIDDLE)[0] > 0.35
    assert face[0, 152, 1] > neutral[152, 1] + 0.08
    np.testing.assert_allclose(face[0, topology.LEFT_BROW], neutral[topology.LEFT_BROW], atol=0.01)


def test_a_smile_lifts_and_widens_the_corners_of_the_mouth(model: FaceModel):
    neutral, face = model.mean.numpy(), shown(model, {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})[0]
    assert face[291, 1] < neutral[291, 1] - 0.03
    assert face[61, 1] < neutral[61, 1] - 0.03
    assert face[291, 0] - face[61, 0] > neutral[291, 0] - neutral[61, 0] + 0.03


def test_a_pucker_narrows_the_mouth_and_brows_go_where_they_are_told(model: FaceModel):
    neutral = model.mean.numpy()
    pucker = shown(model, {"mouthPucker": 1.0})[0]
    assert pucker[291, 0] - pucker[61, 0] < 0.9 * (neutral[291, 0] - neutral[61, 0])
    raised, lowered = shown(model, {"browInnerUp": 1.0})[0], shown(model, {"browDownLeft": 1.0})[0]
    assert raised[[285, 55], 1].max() < neutral[[285, 55], 1].min() - 0.02
    assert lowered[topology.LEFT_BROW, 1].mean() > neutral[topology.LEFT_BROW, 1].mean() + 0.02
    np.testing.assert_allclose(lowered[topology.RIGHT_BROW, 1], neutral[topology.RIGHT_BROW, 1], atol=0.01)


def test_eyes_look_where_they_are_told(model: FaceModel):
    neutral = model.mean.numpy()
    for name, point, axis, sign in (
        ("eyeLookOutLeft", 473, 0, 1),
        ("eyeLookInLeft", 473, 0, -1),
        ("eyeLookOutRight", 468, 0, -1),
        ("eyeLookUpRight", 468, 1, -1),
        ("eyeLookDownRight", 468, 1, 1),
    ):
        assert sign * (shown(model, {name: 1.0})[0, point, axis] - neutral[point, axis]) > 0.03, name


@pytest.mark.parametrize("name", [name for name in ARKIT_NAMES if name.endswith("Left")])
def test_left_and_right_blendshapes_are_mirror_images(model: FaceModel, name: str):
    left, right = shown(model, {name: 0.7})[0], shown(model, {mirrored_name(name): 0.7})[0]
    np.testing.assert_allclose(right[model.mirror] * [-1, 1, 1], left, atol=4e-3)


def test_no_blendshape_presses_the_lips_through_each_other_or_tears_the_face(model: FaceModel):
    for name in ARKIT_NAMES[1:]:
        face = shown(model, {name: 1.0})
        assert lid_gap(face, ((82, 87), (13, 14), (312, 317)))[0] > -0.02, name
        assert np.abs(face[0] - model.mean.numpy()).max() < 0.45, name


def test_a_tracked_smile_reads_as_a_smile(model: FaceModel):
    truth = model.animate(person(model, 6), bundled_motion("smile"))
    _, motion = model.fit(truth, FPS)
    scores = motion.relative_to(motion[0], Motion.neutral(1, FPS)).to_arkit()
    assert scores[45, arkit_index("mouthSmileLeft")] > 0.5
    assert scores[45, arkit_index("jawOpen")] < 0.3


def test_a_hidden_iris_keeps_the_gaze_it_had(model: FaceModel):
    motion = bundled_motion("blink")
    truth = model.animate(FaceShape(model.mean), motion).numpy()
    closed = lid_gap(truth, topology.LEFT_LIDS) < 0.2 * lid_gap(truth[:1], topology.LEFT_LIDS)
    truth[closed, 473:478, 1] += 0.05
    _, found = model.fit(truth, FPS)
    assert np.abs(found.gaze[:, 1] - found.gaze[0, 1]).max() < 0.15


def test_five_hundred_frames_fit_in_seconds(model: FaceModel):
    import time

    landmarks = model.animate(person(model, 7), Motion.concatenate([performance()] * 10))
    start = time.perf_counter()
    model.fit(landmarks, FPS)
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize("landmarks", [np.zeros((478, 3)), np.zeros((0, 478, 3)), np.full((1, 478, 3), np.nan)])
def test_wrong_landmarks_are_refused(model: FaceModel, landmarks: np.ndarray):
    with pytest.raises(MotionError):
        model.fit(landmarks, FPS)


def test_a_motion_of_another_face_model_is_refused(model: FaceModel):
    motion = replace(Motion.neutral(2, FPS), mouth=np.zeros((2, 3)))
    with pytest.raises(MotionError, match="another model"):
        model.animate(FaceShape(model.mean), motion)
    with pytest.raises(MotionError, match="one frame"):
        model.neutral_shape(model.mean, Motion.neutral(2, FPS))


def test_boxes_hold_what_they_are_named_for(model: FaceModel):
    mean = model.mean.numpy()
    for box, points in zip(
        (topology.mouth_box(mean), *topology.eye_boxes(mean)),
        (topology.LIPS, topology.LEFT_EYE, topology.RIGHT_EYE),
        strict=True,
    ):
        assert (mean[points, :2] >= box[:2]).all()
        assert (mean[points, :2] <= box[2:]).all()
