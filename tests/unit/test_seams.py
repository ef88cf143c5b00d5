"""Lids and lips move with their own skin: nothing of an eye or a tooth is dragged along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.mesh_flow import at_landmarks, warp
from superface_hf.face_model.seams import SEAMS, mouth_opening_mask, seam_flow
from superface_hf.face_model.topology import LEFT_EYE, LEFT_IRIS, LIPS_INNER, LIPS_OUTER
from superface_hf.models.teacher.modeling_teacher import plain_mesh_flow
from superface_hf.motion import Motion

SIZE = 256


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    """The mean face in the middle of a picture, (1, 478, 3)."""
    return FaceModel.default().mean[None] * 0.6


@pytest.fixture(scope="module")
def shut(face) -> torch.Tensor:
    """The same face with both eyes shut."""
    model = FaceModel.default()
    blink = Motion.neutral(1, 25.0).edit({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    change = model.animate(model.neutral_shape(model.mean, Motion.neutral(1, 25.0)), blink) - model.mean
    return face + 0.6 * change


def filled(ring: np.ndarray, points: torch.Tensor) -> torch.Tensor:
    """A picture (1, 1, SIZE, SIZE) that is 1 inside a ring of landmarks."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (SIZE, SIZE))
    corners = ((points[0, ring, :2] + 1) * SIZE / 2).flatten().tolist()
    ImageDraw.Draw(picture).polygon(corners, fill=1)
    return torch.from_numpy(np.asarray(picture, np.float32))[None, None]


def test_a_face_at_rest_moves_nothing(face):
    seams = seam_flow(face, face, SIZE)
    assert seams.flow.abs().max() < 1e-4


def test_a_moved_head_takes_its_seams_along(face):
    seams = seam_flow(face, face + torch.tensor([0.06, -0.02, 0.0]), SIZE)
    covered = seams.weight[0, 0] > 0.5
    assert covered.any()
    assert torch.allclose(seams.flow[0, :, covered].T, torch.tensor([-0.06, 0.02]), atol=1e-3)


def test_cheeks_beside_the_lips_move_as_the_mesh_does(face):
    """Skin between the landmarks that a seam follows is not extrapolated: a nod with a smile once showed eyes there."""
    model, still = FaceModel.default(), Motion.neutral(1, 25.0)
    smile = still.edit({"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8})
    nod = replace(smile, rotation=np.array([[-np.deg2rad(20), 0, 0]]))
    moved = face + 0.6 * (model.animate(model.neutral_shape(model.mean, still), nod) - model.mean)
    seams = seam_flow(face, moved, SIZE)
    wrong = (at_landmarks(seams.flow, moved) - (face - moved)[..., :2]).norm(dim=-1)
    covered = (at_landmarks(seams.weight, moved)[..., 0] > 0.5) & (torch.arange(478) < 468)  # no irises
    mouth = (moved[0, LIPS_INNER[0]] - moved[0, LIPS_INNER[10]]).norm()
    assert covered[0, [206, 426]].all()
    assert wrong[covered].max() < 0.12 * mouth


def test_shut_lids_show_no_eye_where_the_mesh_flow_does(face, shut):
    seams = seam_flow(face, shut, SIZE)
    eyeball = filled(LEFT_EYE, face).expand(-1, 3, -1, -1)
    dragged = plain_mesh_flow(eyeball, face, shut)[0, 0].sum()
    shown = (warp(eyeball, seams.flow) * seams.weight)[0, 0].sum()
    assert dragged > 0.4 * eyeball[0, 0].sum()
    assert shown < 0.5 * dragged


def test_only_lids_and_lips_have_seams(face):
    weight = seam_flow(face, face, SIZE).weight[0, 0]
    assert weight.max() == 1
    tip_of_the_nose, chin = ((face[0, point, :2] + 1) * SIZE / 2 for point in (1, 152))
    for x, y in (tip_of_the_nose.long().tolist(), chin.long().tolist()):
        assert weight[y, x] == 0
    assert weight[:20].max() == 0


def test_the_mouth_mask_fills_an_open_mouth_and_leaves_a_shut_one(face):
    opened = face.clone()
    opened[:, LIPS_INNER[1:10], 1] += 0.08
    opened[:, LIPS_OUTER[1:10], 1] += 0.08
    inside = filled(LIPS_INNER, opened)
    mask = mouth_opening_mask(opened, SIZE)
    assert (mask - inside).abs().sum() < 0.2 * inside.sum()
    shut = face.clone()
    shut[:, SEAMS[-1].lower] = shut[:, SEAMS[-1].upper]
    assert mouth_opening_mask(shut, SIZE).max() == 0


def test_a_face_at_the_border_is_cut_off_there(face):
    beyond = face + torch.tensor([0.9, 0.9, 0.0])
    seams = seam_flow(face, beyond, SIZE)
    assert seams.flow.shape == (1, 2, SIZE, SIZE)
    assert torch.isfinite(seams.flow).all()


@pytest.fixture(scope="module")
def gaping(face) -> torch.Tensor:
    """The same face with its jaw dropped."""
    model = FaceModel.default()
    still = Motion.neutral(1, 25.0)
    change = model.animate(model.neutral_shape(model.mean, still), still.edit({"jawOpen": 0.8})) - model.mean
    return face + 0.6 * change


def test_upper_teeth_stay_with_the_skull_while_the_jaw_falls(face, gaping):
    """A smile whose teeth followed both lips became a row of long stripes."""
    seams = seam_flow(face, gaping, SIZE)
    inside = mouth_opening_mask(gaping, SIZE)[0, 0] > 0.9
    assert inside.sum() > 100
    assert (seams.weight[0, 0, inside] > 0.9).all()
    fallen = float((gaping - face)[0, 14, 1])
    assert fallen > 0.05
    assert seams.flow[0, :, inside].abs().max() < 0.1 * fallen


def test_teeth_turn_with_the_head(face, gaping):
    turn, size, shift = torch.tensor(0.3), 1.1, torch.tensor([0.05, 0.02, 0.0])
    yaw = torch.tensor([[turn.cos(), 0, turn.sin()], [0, 1, 0], [-turn.sin(), 0, turn.cos()]])
    moved = size * gaping @ yaw.T + shift
    inside = mouth_opening_mask(moved, SIZE)[0, 0] > 0.9
    assert inside.sum() > 100
    seams = seam_flow(gaping, moved, SIZE)
    rows, columns = inside.nonzero(as_tuple=True)
    places = (torch.stack((columns, rows), dim=-1) + 0.5) * (2 / SIZE) - 1
    # Where the teeth come from: turned back, at the depth of the upper lip.
    depth = gaping[0, SEAMS[-1].upper, 2].mean()
    flat = (places - shift[:2]) / size
    came_from = torch.stack(((flat[:, 0] - turn.sin() * depth) / turn.cos(), flat[:, 1]), dim=-1)
    assert torch.allclose(places + seams.flow[0][:, inside].T, came_from, atol=2e-3)


def test_an_iris_goes_where_the_gaze_goes_and_lids_stay(face):
    """The mesh flow alone moves an iris by less than half: the lids around it hold it back."""
    looking = face.clone()
    looking[:, LEFT_IRIS] += torch.tensor([0.02, 0.0, 0.0])
    seams = seam_flow(face, looking, SIZE)
    column, row = ((looking[0, LEFT_IRIS[0], :2] + 1) * SIZE / 2).long()
    assert seams.weight[0, 0, row, column] > 0.9
    assert seams.flow[0, 0, row, column] == pytest.approx(-0.02, abs=3e-3)
    edges = ((looking[0, LEFT_EYE, :2] + 1) * SIZE / 2).long()
    beyond = [(x, y - 6) for x, y in edges[9:].tolist()]  # skin of the upper lid
    assert max(abs(float(seams.flow[0, 0, y, x])) for x, y in beyond) < 4e-3
