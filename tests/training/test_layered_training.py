"""How a teacher on layers starts with the weights of one without, and what its losses ask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from superface_hf.models.teacher.configuration_teacher import SuperFaceTeacherConfig
from superface_hf.models.teacher.modeling_teacher import SuperFaceTeacherModel
from superface_hf.training.layered.loss import texture_distance
from superface_hf.training.layered.warm_start import LONGER, OTHERS, WIDER, warm_started

TINY = SuperFaceTeacherConfig.of_size("tiny")
# Channels that the teacher without layers had fewer: the matte; what the layers show; matte; how the matte changes.
FEWER = dict(zip(WIDER, (4, 39, 4), strict=True)) | dict.fromkeys(LONGER, 4)


@pytest.fixture
def before() -> dict[str, torch.Tensor]:
    """Weights as a teacher without layers had them, all of them random."""
    torch.manual_seed(0)
    weights = {}
    for name, value in SuperFaceTeacherModel(TINY).state_dict().items():
        if name.startswith(("mouth_painter", "eye_painter")):
            continue
        value = torch.randn_like(value)
        if name in WIDER:
            value = value[:, : -FEWER[name]]
        elif name in LONGER:
            value = value[: -FEWER[name]]
        elif name.startswith("dense_motion.head."):
            value = value[1:]
        weights[name] = value
    return weights


def test_what_a_teacher_without_layers_lacks_starts_at_zero(before):
    weights = warm_started(before, TINY)
    SuperFaceTeacherModel(TINY).load_state_dict(weights)
    for name in WIDER:
        assert torch.equal(weights[name][:, : -FEWER[name]], before[name])
        assert (weights[name][:, -FEWER[name] :] == 0).all()
    for name in LONGER:
        assert torch.equal(weights[name][: -FEWER[name]], before[name])
        assert (weights[name][-FEWER[name] :] == 0).all()


def test_its_flow_goes_from_the_layers_to_where_it_was(before):
    """mesh + sum of w (other - mesh), which it learned, is layers + sum of w' (other - layers)."""
    weights = warm_started(before, TINY)
    hidden = torch.randn(1, before["dense_motion.head.weight"].shape[1], 8, 8)
    old, new = (F.conv2d(hidden, w["dense_motion.head.weight"], w["dense_motion.head.bias"]) for w in (before, weights))
    layers, mesh, *others = torch.randn(2 + OTHERS, 1, 1, 6, 6)
    was = mesh + sum(old[:, [k]] * (other - mesh) for k, other in enumerate(others))
    now = layers + sum(new[:, [k]] * (other - layers) for k, other in enumerate((mesh, *others)))
    assert torch.allclose(now, was, atol=1e-3)
    assert torch.allclose(new[:, 1 + OTHERS :], old[:, OTHERS:], atol=1e-4)


def test_weights_of_another_size_are_refused(before):
    with pytest.raises(ValueError, match="not"):
        warm_started(before, SuperFaceTeacherConfig.of_size("base"))


def test_texture_asks_how_much_detail_there_is_and_not_where():
    torch.manual_seed(0)
    picture, everywhere = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    beside, soft = picture.roll(2, dims=3), F.avg_pool2d(picture, 3, 1, 1)
    assert texture_distance(picture, picture, everywhere) == 0
    assert texture_distance(beside, picture, everywhere) < 0.1 * texture_distance(soft, picture, everywhere)
    assert texture_distance(soft, picture, 0 * everywhere) == 0
