"""Portraits in unusual light are shown to the networks in light that they know."""

from __future__ import annotations

import pytest
import torch

from superface_hf.face_model.linear import FaceModel
from superface_hf.models.teacher.light import BLUE, LUMA, RED, light_gains, skin_colours

KNOWN = torch.tensor([0.8, 0.58, 0.5])


@pytest.fixture(scope="module")
def landmarks() -> torch.Tensor:
    return FaceModel.default().mean[None] * 0.6


def skin(colour: torch.Tensor) -> torch.Tensor:
    return colour[None, :, None, None].expand(1, 3, 128, 128)


def test_skin_in_known_light_stays_exactly_as_it_is(landmarks):
    assert torch.equal(light_gains(skin(KNOWN), landmarks), torch.ones(1, 3, 1, 1))


def test_a_grey_photograph_stays_grey(landmarks):
    """In the light of skin it got a red mouth."""
    grey = skin(KNOWN.mean().expand(3))
    assert torch.equal(light_gains(grey, landmarks), torch.ones(1, 3, 1, 1))


@pytest.mark.parametrize("tint", [(1.0, 0.9, 0.45), (0.6, 0.8, 1.3), (1.2, 0.6, 0.6)])
def test_skin_in_other_light_is_brought_to_the_nearest_known_one(landmarks, tint):
    picture = skin(KNOWN * torch.tensor(tint))
    gains = light_gains(picture, landmarks)
    assert (gains - 1).abs().max() > 0.05
    before, after = (skin_colours(each, landmarks)[0] for each in (picture, picture * gains))
    luma = torch.tensor(LUMA)
    assert after @ luma == pytest.approx(float(before @ luma), rel=1e-4)
    red, blue = (float((after[channel] / after[1]).log()) for channel in (0, 2))
    assert RED[0] - 1e-3 <= red <= RED[1] + 1e-3
    assert BLUE[0] - 1e-3 <= blue <= BLUE[1] + 1e-3


def test_hair_over_one_cheek_does_not_count(landmarks):
    picture = skin(KNOWN).clone()
    picture[..., :50] = torch.tensor([0.1, 0.1, 0.3])[:, None, None]
    assert torch.allclose(skin_colours(picture, landmarks)[0], KNOWN, atol=1e-3)


def test_a_black_picture_is_no_division_by_zero(landmarks):
    assert torch.isfinite(light_gains(torch.zeros(1, 3, 128, 128), landmarks)).all()
