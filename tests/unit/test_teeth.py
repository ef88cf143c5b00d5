"""Teeth that a painter made up have gaps: where teeth have them, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from superface_hf.face_model.linear import FaceModel
from superface_hf.models.painters.teeth import DARKNESS, with_gaps
from superface_hf.models.painters.windows import MOUTH, RegionWindow
from superface_hf.motion import Motion

SKIN, TEETH, DARK, LIP = (0.8, 0.6, 0.5), (0.85, 0.82, 0.75), (0.1, 0.06, 0.05), (0.75, 0.35, 0.35)
SHOWN = 3  # teeth on each side, incisors and canine


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    return FaceModel.default().mean[None] * 0.35


def filled(colour: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(colour)[None, :, None, None].expand(1, 3, *MOUTH.size)


def taken(colour: tuple[float, float, float], mesh: torch.Tensor, made_up: float = 1.0) -> torch.Tensor:
    """Return which share of the light is taken from a window of one colour, (h, w)."""
    points = RegionWindow.around(mesh, MOUTH).enter(mesh)
    painted = with_gaps(filled(colour), filled(SKIN), points, torch.full((1, 1, *MOUTH.size), made_up))
    return 1 - (painted / filled(colour))[0, 0]


def middles(share: torch.Tensor) -> torch.Tensor:
    """Return the columns of the gaps of incisors and canines, the middle one in the middle."""
    row = share[0]
    peaks = (row[1:-1] > row[:-2]) & (row[1:-1] >= row[2:]) & (row[1:-1] > 0.5 * DARKNESS)
    columns = peaks.nonzero()[:, 0] + 1
    centre = int((columns - MOUTH.size[1] / 2).abs().argmin())
    assert centre >= SHOWN
    assert len(columns) > centre + SHOWN
    return columns[centre - SHOWN : centre + SHOWN + 1].float()


def test_teeth_have_usual_widths_on_both_sides_of_the_middle(face):
    columns = middles(taken(TEETH, face))
    assert float(columns[SHOWN]) == pytest.approx(MOUTH.size[1] / 2, abs=4)
    widths = columns.diff()
    assert torch.allclose(widths, widths.flip(0), atol=2)
    assert widths[SHOWN] == widths.max(), "the middle teeth are the widest"
    mouth = (RegionWindow.around(face, MOUTH).enter(face)[0, [61, 291], 0] * MOUTH.size[1] / 2).diff().abs()
    assert 0.13 < widths[SHOWN] / mouth < 0.22


def test_only_made_up_teeth_have_gaps(face):
    assert taken(TEETH, face).max() > 0.8 * DARKNESS
    for colour in (DARK, LIP):
        assert taken(colour, face).max() < 0.02
    assert not taken(TEETH, face, made_up=0.0).any()


def test_gaps_stay_with_the_skull_and_turn_with_it(face):
    model, still = FaceModel.default(), Motion.neutral(1, 25.0)
    fallen = model.animate(model.neutral_shape(model.mean, still), still.edit({"jawOpen": 0.8})) - model.mean
    at_rest, gaping = (middles(taken(TEETH, mesh)) for mesh in (face, face + 0.35 * fallen))
    assert (at_rest - gaping).abs().max() <= 2
    turn = torch.tensor(0.5)
    yaw = torch.tensor([[turn.cos(), 0, turn.sin()], [0, 1, 0], [-turn.sin(), 0, turn.cos()]])
    widths = middles(taken(TEETH, face @ yaw.T)).diff()
    assert (widths[0] - widths[-1]).abs() > 2, "teeth of the far side are not narrower"
