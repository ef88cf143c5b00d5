"""The mesh flow moves what the mesh covers and leaves the rest alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.mesh_flow import face_fade, mesh_flow, rigid_motion, warp
from superface_hf.face_model.mesh_image import MESH_CHANNELS, mesh_image
from superface_hf.motion.rotations import rotation_matrix


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    """The mean face in the middle of a picture, (1, 478, 3)."""
    return FaceModel.default().mean[None] * 0.4


def sample(field: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(1, C, S, S) at (1, N, 3) image coordinates -> (1, N, C)."""
    grid = points[:, None, :, :2]
    return torch.nn.functional.grid_sample(field, grid, align_corners=False)[:, :, 0].transpose(1, 2)


def test_a_mesh_at_rest_moves_nothing(face):
    displacement, _ = mesh_flow(face, face, 64)
    assert displacement.abs().max() == 0


def test_the_flow_carries_each_landmark_to_where_it_came_from(face):
    driving = face + torch.tensor([0.05, -0.03, 0.0])
    displacement, fade = mesh_flow(face, driving, 128)
    moved = sample(displacement * fade, driving)
    assert torch.allclose(moved, torch.tensor([-0.05, 0.03]).expand_as(moved), atol=5e-3)


def test_the_background_rests(face):
    driving = face + torch.tensor([0.1, 0.0, 0.0])
    displacement, fade = mesh_flow(face, driving, 64)
    corners = (displacement * fade)[0, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.abs().max() < 2e-3
    assert face_fade(driving, 64).amax() > 0.98


def test_a_turned_head_is_a_rigid_motion(face):
    turn = torch.from_numpy(rotation_matrix(np.array([[0.1, 0.3, -0.2]]))).float()
    driving = face @ turn.transpose(1, 2) * 1.1 + torch.tensor([0.1, 0.05, 0.0])
    affine = rigid_motion(face, driving)
    ones = torch.ones_like(driving[..., :1])
    found = torch.cat((driving, ones), dim=-1) @ affine.transpose(1, 2)
    assert (found - face)[..., :2].abs().max() < 0.02
    assert (found - face)[..., 2].abs().max() < 0.05  # the least certain, and held back


def test_the_gradient_of_the_flow_reaches_the_driving_mesh(face):
    driving = (face + 0.01).requires_grad_()
    displacement, fade = mesh_flow(face, driving, 32)
    (displacement * fade).square().sum().backward()
    assert driving.grad is not None
    assert torch.isfinite(driving.grad).all()
    assert driving.grad.abs().sum() > 0


def test_a_picture_warped_by_nothing_is_the_picture():
    picture = torch.rand(1, 3, 64, 64)
    assert torch.allclose(warp(picture, torch.zeros(1, 2, 16, 16)), picture, atol=1e-5)


def test_the_mesh_image_shows_an_open_mouth(face):
    model = FaceModel.default()
    closed = mesh_image(face, model.mean, 64)
    opened = face.clone()
    opened[:, :, 1] += torch.where(face[:, :, 1] > 0.15, 0.05, 0.0)
    assert closed.shape == (1, MESH_CHANNELS, 64, 64)
    assert (mesh_image(opened, model.mean, 64) - closed).abs().max() > 0.1
