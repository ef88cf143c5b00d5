"""Meshes for drawing: expressions a little larger, a face at rest exactly as it is, blinks as shut as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from superface_hf import FaceModel, Motion
from superface_hf.face_model import topology
from superface_hf.face_model.emphasis import BROWS, LIDS, WIDTH, ShownFaceModel, how_shut
from superface_hf.face_model.linear import FaceShape
from superface_hf.face_model.topology import lid_gap


@pytest.fixture(scope="module")
def shown(face_model) -> ShownFaceModel:
    return ShownFaceModel(face_model)


def change(model: FaceModel, **shapes: float) -> np.ndarray:
    shape, rest = FaceShape(model.mean), Motion.neutral(1, 25.0)
    return (model.animate(shape, rest.edit(shapes)) - model.animate(shape, rest))[0].numpy()


def test_brows_go_farther(face_model, shown):
    usual, larger = (change(model, browInnerUp=0.8)[topology.LEFT_BROW] for model in (face_model, shown))
    np.testing.assert_allclose(larger, BROWS * usual, atol=1e-5)


def test_a_mouth_goes_farther_sideways_alone(face_model, shown):
    usual, larger = (change(model, mouthSmileLeft=0.8, jawOpen=0.3)[topology.LIPS] for model in (face_model, shown))
    np.testing.assert_allclose(larger, usual * [WIDTH, 1, 1], atol=1e-5)


@pytest.mark.parametrize("lids", [topology.LEFT_LIDS, topology.RIGHT_LIDS])
def test_lids_go_farther_but_a_blink_shuts_as_it_did(face_model, shown, lids):
    def ratio(value: float) -> float:
        moves = [
            lid_gap(change(model, eyeBlinkLeft=value, eyeBlinkRight=value)[None], lids) for model in (shown, face_model)
        ]
        return float(moves[0][0] / moves[1][0])

    assert ratio(0.2) == pytest.approx(LIDS, abs=0.02)
    assert ratio(-0.4) == pytest.approx(LIDS, abs=0.02)
    assert ratio(1.0) == pytest.approx(1, abs=1e-4)
    gaps = [
        lid_gap(change(shown, eyeBlinkLeft=value, eyeBlinkRight=value)[None], lids)[0]
        for value in np.arange(0, 1.01, 0.05)
    ]
    assert (np.diff(gaps) < 0).all(), "an eye that shuts opens again on its way"


def test_a_portrait_at_rest_is_exactly_itself(face_model, shown):
    rest = Motion.neutral(1, 25.0).edit({"mouthSmileLeft": 0.7, "browInnerUp": 0.6, "eyeBlinkLeft": 0.5})
    rest = replace(rest, rotation=[[0.1, 0.3, -0.2]], scale=[0.4])
    landmarks = face_model.animate(FaceShape(face_model.mean), rest)[0]
    again = shown.animate(shown.neutral_shape(landmarks, rest), rest)[0]
    assert (again - landmarks).abs().max() < 1e-4


def test_how_shut_eyes_are():
    eyes = Motion.neutral(1, 25.0).edit({"eyeBlinkLeft": 1.0}).eyes
    left, right = np.split(how_shut(eyes)[0], 2)
    np.testing.assert_allclose(left, 1, atol=1e-6)
    np.testing.assert_allclose(right, 0, atol=1e-6)
