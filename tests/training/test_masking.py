"""MTM: one region of the driving signal is another's, and the target is either a picture of that or unknown there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superface_hf import Motion
from superface_hf.data.pairs.masking import (
    PICTURED,
    UPPER,
    MaskingConfig,
    Replacement,
    composed_picture,
    draw_replacement,
    known_map,
    region_points,
)
from superface_hf.errors import SuperFaceError
from superface_hf.face_model.topology import LEFT_EYE, LIPS

SIDE = 128
MOUTH, EXPRESSION = PICTURED[0], PICTURED[2]


@pytest.fixture(scope="module")
def mesh(face_model) -> np.ndarray:
    """A face that fills about half of the picture."""
    return (face_model.mean.numpy() * 0.42).astype(np.float32)


@pytest.fixture
def motion() -> Motion:
    """Twelve frames of the same pose with expressions of their own."""
    rng = np.random.default_rng(0)
    rest = Motion.neutral(12, 25.0)
    changes = {name: rng.normal(size=getattr(rest, name).shape) for name in ("mouth", "eyes", "brows", "gaze")}
    return Motion(rest.rotation, rest.translation, rest.scale, **changes, fps=25.0)


def never() -> Motion:
    raise AssertionError("no other clip is needed")


def at(points: np.ndarray, mesh: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel in the middle of some points."""
    x, y = ((mesh[points, :2].mean(0) + 1) * SIDE / 2).astype(int)
    return int(y), int(x)


def test_the_share_says_how_many_are_replaced_and_pictures_come_from_other_frames(motion):
    rng = np.random.default_rng(0)
    config = MaskingConfig(share=0.5, pictured=1.0)
    drawn = [draw_replacement(config, motion, 3, never, rng) for _ in range(400)]
    replaced = [one for one in drawn if one is not None]
    assert 0.4 < len(replaced) / len(drawn) < 0.6
    assert {one.regions for one in replaced} == set(PICTURED)
    assert all(one.frame is not None and one.frame != 3 for one in replaced)


def test_frames_turned_too_differently_are_not_composed(motion):
    turned = np.zeros((12, 3))
    turned[3] = [0, 0.5, 0]
    sideways = Motion(
        turned, motion.translation, motion.scale, motion.mouth, motion.eyes, motion.brows, motion.gaze, fps=25.0
    )
    config = MaskingConfig(share=1.0, pictured=1.0)
    assert draw_replacement(config, sideways, 3, never, np.random.default_rng(0)) is None


def test_a_replacement_changes_its_regions_and_nothing_else(motion):
    changed = Replacement(MOUTH, motion[5], 5)(motion[2])
    assert np.array_equal(changed.mouth, motion[5].mouth)
    for name in ("rotation", "translation", "scale", *UPPER):
        assert np.array_equal(getattr(changed, name), getattr(motion[2], name))


def test_without_a_picture_a_region_is_neutral_or_another_clips(motion):
    rng = np.random.default_rng(1)
    neutral = draw_replacement(MaskingConfig(share=1.0, pictured=0.0, neutral=1.0), motion, 0, never, rng)
    assert neutral is not None
    assert neutral.frame is None
    assert not any(getattr(neutral.values, region).any() for region in neutral.regions)
    other = Motion.neutral(1, 30.0)
    borrowed = draw_replacement(MaskingConfig(share=1.0, pictured=0.0, neutral=0.0), motion, 0, lambda: other, rng)
    assert borrowed is not None
    assert borrowed.values is other
    borrowed(motion[0])  # another frame rate is no obstacle


@pytest.mark.parametrize(("regions", "inside", "outside"), [(MOUTH, LIPS, LEFT_EYE), (UPPER, LEFT_EYE, LIPS)])
def test_the_target_is_unknown_at_the_region_only(mesh, regions, inside, outside):
    known = known_map((mesh, mesh), regions, SIDE // 8)
    assert known.shape == (SIDE // 8, SIDE // 8)
    assert known.min() >= 0
    assert known.max() <= 1
    (row, column), (kept_row, kept_column) = at(inside, mesh), at(outside, mesh)
    assert known[row // 8, column // 8] < 0.1
    assert known[kept_row // 8, kept_column // 8] > 0.9
    assert known[0].min() > 0.99


def test_the_region_is_unknown_where_either_mesh_has_it(mesh):
    moved = mesh + np.array([0.4, 0, 0], np.float32)
    row, column = at(LIPS, moved)
    assert known_map((mesh, mesh), MOUTH, SIDE // 8)[row // 8, column // 8] > 0.9
    assert known_map((mesh, moved), MOUTH, SIDE // 8)[row // 8, column // 8] < 0.1


def striped(phase: float) -> np.ndarray:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return np.stack([128 + 60 * np.sin(x / 5 + phase) * np.cos(y / 7)] * 3, -1).astype(np.uint8)


def test_equal_pictures_compose_to_themselves(mesh):
    picture = striped(0.0)
    composed = composed_picture(picture, picture, (mesh, mesh, mesh), EXPRESSION)
    assert np.abs(composed.astype(int) - picture).max() <= 1


def test_the_other_frames_mouth_is_laid_in_where_the_target_has_it(mesh):
    target, other = striped(0.0), striped(0.0)
    shift = 10  # pixels: the other frame's head is further to the right, and has a bright mouth
    other = np.roll(other, shift, axis=1)
    row, column = at(LIPS, mesh)
    other[row - 3 : row + 4, column + shift - 3 : column + shift + 4] = [250, 40, 40]
    other_mesh = mesh + np.array([2 * shift / SIDE, 0, 0], np.float32)
    composed = composed_picture(target, other, (mesh, other_mesh, mesh), MOUTH)
    assert composed[row, column, 0] > 200
    assert composed[row, column, 1] < 80
    eyes_row, eyes_column = at(LEFT_EYE, mesh)
    assert np.array_equal(composed[:eyes_row], target[:eyes_row])
    assert np.array_equal(composed[eyes_row, eyes_column], target[eyes_row, eyes_column])


def test_a_darker_frame_is_brought_to_the_targets_light(mesh):
    target = striped(0.0)
    dark = (target * 0.6).astype(np.uint8)
    composed = composed_picture(target, dark, (mesh, mesh, mesh), MOUTH)
    row, column = at(LIPS, mesh)
    patch = np.s_[row - 8 : row + 8, column - 8 : column + 8]
    assert abs(float(composed[patch].mean()) - float(target[patch].mean())) < 4


def test_a_face_at_the_pictures_edge_is_composed_too(mesh):
    picture = striped(0.0)
    near = mesh + np.array([0.6, 0.75, 0], np.float32)
    assert np.abs(composed_picture(picture, picture, (near, near, near), EXPRESSION).astype(int) - picture).max() <= 1


def test_regions_move_the_points_one_expects():
    assert set(LIPS) <= set(region_points(MOUTH))
    assert set(region_points(("gaze",))) == set(range(468, 478))
    assert not set(region_points(("brows",))) & set(LIPS)


@pytest.mark.parametrize("name", ["share", "pictured", "neutral"])
def test_shares_outside_their_range_are_refused_by_name(name):
    with pytest.raises(SuperFaceError, match=name):
        MaskingConfig(**{name: 1.2})


def test_masks_are_made_without_gradients_or_warnings(mesh, recwarn):
    picture = striped(0.0)
    picture.setflags(write=False)
    composed_picture(picture, picture, (mesh, mesh, mesh), MOUTH)
    assert not [warning for warning in recwarn if "writ" in str(warning.message)]
    assert torch.is_grad_enabled()
