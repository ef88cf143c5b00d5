"""The layers' motion: skin follows the mesh, hair the head, the torso by a part, and far below nothing moves."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from superface_hf.face_model.coordinates import Square
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.mesh_flow import at_landmarks, warp
from superface_hf.layers.motion import (
    CHIN,
    FOLLOWING,
    FOREHEAD,
    HULL,
    SKULL,
    Window,
    beyond_outline,
    head_centre,
    head_motion,
    layer_flow,
    visible,
)
from superface_hf.layers.outline import Outline
from superface_hf.layers.portrait import PortraitLayers

SIZE = 96


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    """(1, 478, 3): a small face, high in its window, so that there is room for a torso."""
    return FaceModel.default().mean[None] * 0.22 + torch.tensor([0.0, -0.4, 0.0])


def flow_at(flow: torch.Tensor, x: float, y: float) -> torch.Tensor:
    return at_landmarks(flow, torch.tensor([[[x, y]]]))[0, 0]


def turned(face: torch.Tensor, degrees: float) -> torch.Tensor:
    """(1, 478, 3): the face, turned to the picture's right."""
    angle = math.radians(degrees)
    turn = torch.eye(3)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    return face @ turn.T


def test_a_face_at_rest_moves_nothing(face):
    assert layer_flow(face, face, SIZE).abs().max() < 1e-4


def test_hair_goes_where_the_head_goes_the_torso_by_a_part_and_what_is_far_below_rests(face):
    step = torch.tensor([0.1, 0.0])
    flow = layer_flow(face, face + torch.tensor([0.1, 0.0, 0.0]), SIZE)
    height = (face[0, CHIN] - face[0, FOREHEAD]).norm().item()
    chin = face[0, CHIN, 1].item()
    above = face[0, FOREHEAD, 1].item() - 0.25 * height
    assert torch.allclose(flow_at(flow, 0.1, above), -step, atol=0.01)
    assert torch.allclose(flow_at(flow, 0.1, -0.4), -step, atol=0.01)
    assert torch.allclose(flow_at(flow, 0.1, chin + 0.8 * height), -FOLLOWING * step, atol=0.01)
    assert flow_at(flow, 0.1, chin + 2.7 * height).abs().max() < 1e-6


def test_shoulders_beside_the_chin_belong_to_the_torso_and_ears_to_the_head(face):
    height = (face[0, CHIN] - face[0, FOREHEAD]).norm().item()
    chin = face[0, CHIN, 1].item()
    shift = 0.04 * height
    flow = layer_flow(face, face + torch.tensor([shift, 0.0, 0.0]), SIZE) / shift
    for side in (-1, 1):
        assert torch.allclose(flow_at(flow, side * height, chin), torch.tensor([-FOLLOWING, 0.0]), atol=0.1)
        assert torch.allclose(
            flow_at(flow, side * 0.42 * height, chin - 0.6 * height), torch.tensor([-1.0, 0.0]), atol=0.1
        )


def test_hair_is_not_left_behind_where_a_head_goes_far(face):
    """Beside the neck of a head that has gone far, the torso's motion would show the hair a second time."""
    height = (face[0, CHIN] - face[0, FOREHEAD]).norm().item()
    hair = face[0, CHIN, 1].item() - 0.3 * height
    shift = 0.5 * height
    flow = layer_flow(face, face + torch.tensor([shift, 0.0, 0.0]), SIZE) / shift
    assert torch.allclose(flow_at(flow, -0.5 * height, hair), torch.tensor([-1.0, 0.0]), atol=0.1)


def test_hair_keeps_its_shape_when_the_head_leans(face):
    """A place above the head comes from where a rigid head has it."""
    angle = 0.5
    cos, sin = math.cos(angle), math.sin(angle)
    lean = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    pivot = torch.tensor([0.0, -0.2, 0.0])
    driving = (face - pivot) @ lean.T + pivot
    height = (face[0, CHIN] - face[0, FOREHEAD]).norm().item()
    top = torch.tensor([0.0, face[0, FOREHEAD, 1].item() - 0.45 * height, 0.0])
    moved = lean @ (top - pivot) + pivot
    flow = layer_flow(face, driving, SIZE)
    found = moved[:2] + flow_at(flow, moved[0].item(), moved[1].item())
    assert torch.allclose(found, top[:2], atol=0.03)


def test_a_turned_head_is_found_with_its_size(face):
    turn = torch.tensor([[0.9, 0.0, 0.436], [0.0, 1.0, 0.0], [-0.436, 0.0, 0.9]])
    head = head_motion(face, 1.3 * (face @ turn.T))
    assert torch.allclose(head.turn[0], torch.eye(2) / 1.3, atol=0.02)


def test_a_window_elsewhere_moves_the_same_places(face):
    """The flow of a moved, larger window, taken back to the source, samples the same picture."""
    driving = face + torch.tensor([0.06, 0.03, 0.0])
    picture = torch.linspace(0, 1, SIZE).expand(1, 1, SIZE, SIZE).contiguous()
    own = warp(picture, layer_flow(face, driving, SIZE))
    window = Window(torch.tensor([[0.1, -0.1]]), torch.tensor([1.2]))
    seen = warp(picture, window.leave(layer_flow(window.enter(face), window.enter(driving), SIZE)))
    back = Window(-window.centre / window.scale, 1 / window.scale).leave(torch.zeros(1, 2, SIZE, SIZE))
    again = warp(seen, back)
    inside = (..., slice(20, 76), slice(20, 76))
    assert torch.allclose(again[inside], own[inside], atol=0.02)


def test_the_hidden_side_of_a_turned_face_does_not_tear_the_near_one():
    """At a turn of 35 degrees the landmarks that are seen come from where they were."""
    own = FaceModel.default().mean[None] * 0.5
    moved = turned(own, 35)
    missed = at_landmarks(layer_flow(own, moved, 128), moved)[0] - (own - moved)[0, :, :2]
    distance = missed.norm(dim=-1)[visible(moved)[0] > 0.9]
    assert distance.mean() < 0.0088
    assert distance.max() < 0.09


def test_a_face_that_is_seen_from_the_front_is_seen_whole():
    assert visible(FaceModel.default().mean[None]).min() > 0.95


def test_the_outline_reckons_with_shoulders_that_go_with_a_far_head_and_those_that_do_not(face):
    height = (face[0, CHIN] - face[0, FOREHEAD]).norm().item()
    everywhere = np.ones((128, 128), np.float32)
    picture = np.zeros((128, 128, 3), np.uint8)
    layers = PortraitLayers.of(picture, everywhere, picture, picture)
    outline = Outline.of(layers, Square(0, 0, 128), face[0])
    beside = (0.8 * height, face[0, CHIN, 1].item() + 0.2 * height)
    for part in (outline.head, outline.torso):
        assert cv2.pointPolygonTest(part.numpy()[:, None], beside, False) > 0


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_cheek_that_turns_away_covers_the_ear_behind_it(degrees):
    """Beside the near cheek its ear is seen, from next to the source's cheek; beside the far one, what is behind the head."""
    own = FaceModel.default().mean[None] * 0.5
    moved = turned(own, degrees)
    side = math.copysign(1.0, degrees)
    rims = {name: (side * places[0, :, 0]).aminmax() for name, places in (("own", own), ("moved", moved))}
    width = (rims["own"].max - rims["own"].min).item()
    flow = layer_flow(own, moved, 128)

    def source_of(x: float) -> float:
        return side * (x + flow_at(flow, x, 0.0)[0].item())

    ear = 0.06 * width
    near = source_of(side * (rims["moved"].min.item() - ear))
    far = source_of(side * (rims["moved"].max.item() + ear))
    assert near == pytest.approx(rims["own"].min.item() - ear, abs=0.05 * width)
    assert far > rims["own"].max.item() + 0.15 * width


def test_hair_follows_a_turn_as_its_outline_does_and_a_nod_as_the_skull(face):
    own = face - head_centre(face, 0.0).float()  # the rim's middle stays where it is
    sideways, nodding = (
        head_motion(own, turned(own, 20)),
        head_motion(own, turned(own[..., [1, 0, 2]], 20)[..., [1, 0, 2]]),
    )
    far, near = (head_centre(own, depth)[0, 2].item() * math.sin(math.radians(20)) for depth in (HULL, SKULL))
    assert (sideways.after - sideways.before)[0].tolist() == pytest.approx([far, 0.0], abs=0.01)
    assert (nodding.after - nodding.before)[0].tolist() == pytest.approx([0.0, near], abs=0.01)
    assert sideways.turned.item() == pytest.approx(math.sin(math.radians(20)), abs=0.01)
    assert nodding.turned.item() == pytest.approx(0.0, abs=1e-4)


def test_the_distance_from_an_outline_is_zero_inside(face):
    grid = torch.tensor([[[0.0, 0.0, 0.0]], [[-0.4, -0.4 - 0.5, 0.9]]])
    distance = beyond_outline(face[..., :2], grid)[0, 0, 0]
    top, bottom = face[0, :, 1].min().item(), face[0, :, 1].max().item()
    assert distance.tolist() == pytest.approx([0.0, top + 0.9, 0.9 - bottom], abs=0.02)
