"""The painters of mouth and eyes: their windows stand, turn and grow with the face, and give back what they cut out."""

from __future__ import annotations

import math

import pytest
import torch

from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.topology import LEFT_EYE, LIPS_OUTER
from superface_hf.models.painters.painter import RegionPainter, draw_region, no_redder, region_shape
from superface_hf.models.painters.windows import EYES, MOUTH, RegionWindow, feather


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    return FaceModel.default().mean[None] * 0.35


def leaning(points: torch.Tensor, angle: float) -> torch.Tensor:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]).T


def test_the_mouth_lies_in_the_middle_of_its_window_however_the_head_leans(face):
    upright = RegionWindow.around(face, MOUTH).enter(face)
    leant = leaning(face, 0.6)
    assert torch.allclose(RegionWindow.around(leant, MOUTH).enter(leant), upright, atol=0.03)
    assert upright[0, LIPS_OUTER, 0].abs().max() < 0.75
    assert abs(upright[0, LIPS_OUTER, 0].mean()) < 0.02


def test_the_right_eye_is_seen_as_a_left_one(face):
    left, right = (RegionWindow.around(face, eye).enter(face) for eye in EYES)
    mirrored = right[:, FaceModel.default().mirror]
    assert torch.allclose(left[0, LEFT_EYE], mirrored[0, LEFT_EYE], atol=0.02)


def test_what_is_cut_out_is_put_back_where_it_was(face):
    picture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)), size=256, mode="bicubic"
    )
    window = RegionWindow.around(leaning(face, 0.3), MOUTH)
    laid = torch.zeros(1, 4, 256, 256)
    window.add(torch.cat((window.cut(picture), feather(window.size, picture) > 0.99), dim=1), laid)
    inside = laid[:, 3:] > 0.99
    assert inside.float().mean() > 0.01
    assert ((laid[:, :3] - picture).abs() * inside).max() < 0.05
    assert (laid[..., :10, :10] == 0).all()


def test_a_mouth_is_not_painted_redder_than_lips_are():
    """Bright teeth that become lips came out in a glowing red."""
    generator = torch.Generator().manual_seed(0)
    own = 0.4 + 0.2 * torch.rand(1, 3, 64, 96, generator=generator)
    nothing = torch.zeros_like(own)
    assert torch.equal(no_redder(nothing, own, own, 1.15), nothing), "a mouth at rest changes"
    teeth, glowing = torch.full_like(own, 0.9), torch.zeros_like(own)
    glowing[:, 1:] = -0.7  # takes green and blue away
    painted = teeth + no_redder(glowing, teeth, own, 1.15)
    redness = [(colours[:, 0] - colours[:, 1:].mean(1))[:, 20:44, 30:66] for colours in (painted, teeth + glowing, own)]
    assert redness[0].max() < 1.2 * (own[:, 0] - own[:, 1:].mean(1)).max() < 0.5 * redness[1].max()
    assert torch.equal(painted[:, 1:], (teeth + glowing)[:, 1:])
    grey = own.mean(1, keepdim=True).expand_as(own)
    painted = (teeth + no_redder(glowing, teeth, grey, 1.15))[:, :, 20:44, 30:66]
    assert (painted[:, 0] - painted[:, 1]).abs().max() < 1e-5, "an old photograph gets a red mouth"


def test_an_untrained_painter_repeats_what_it_sees_and_leaves_the_rim_alone(face):
    painter = RegionPainter(len(MOUTH.points), (8, 8, 16)).eval()
    for head in (painter.head, painter.light):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    window = RegionWindow.around(face, MOUTH)
    inside = window.enter(face)
    drawn = torch.cat((draw_region(inside, window, FaceModel.default().mean), draw_region(inside, window, None)), dim=1)
    shape = region_shape(inside, MOUTH)
    seen = torch.rand(1, 3, *MOUTH.size)
    assert torch.allclose(painter(seen, seen, drawn, torch.stack((shape, shape), dim=1)), torch.zeros(()), atol=1e-5)
    torch.nn.init.constant_(painter.head.bias, 2.0)
    added = painter(seen, seen, drawn, torch.stack((shape, shape), dim=1))
    assert (added[..., 0, :].abs() < 0.02).all()
    assert (added[..., 64, 96] > 0).all()
    assert ((seen + added) < 1.005).all()
