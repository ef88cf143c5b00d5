"""What mouth coefficients look like."""

from __future__ import annotations

import numpy as np
import torch

from superface_hf.face_model.linear import FaceModel, FaceShape
from superface_hf.face_model.lips import CLOSED, RING, lip_points, mouth_opening
from superface_hf.face_model.topology import INNER_LIPS, LIPS_INNER, LIPS_OUTER, inter_ocular
from superface_hf.motion import Motion
from superface_hf.motion.bundled import bundled_motion


def opened(amount: float) -> np.ndarray:
    return Motion.neutral(1, 25.0).edit({"jawOpen": amount}).mouth


def test_lips_are_those_of_the_animated_mean_face(face_model):
    motion = Motion.neutral(5, 25.0).replace({"mouth": bundled_motion("speak")[10:15]})
    face = face_model.animate(FaceShape(face_model.mean), motion).numpy()
    np.testing.assert_allclose(lip_points(motion.mouth), face[:, RING], atol=1e-5)
    pairs = np.array(INNER_LIPS)
    gap = np.linalg.norm(face[:, pairs[:, 0]] - face[:, pairs[:, 1]], axis=-1).mean(1) / inter_ocular(face[0])
    np.testing.assert_allclose(mouth_opening(motion.mouth), gap, atol=1e-4)


def test_the_outer_ring_comes_first():
    assert lip_points(np.zeros(30)).shape == (40, 3)
    mean = FaceModel.default().mean.numpy()
    np.testing.assert_allclose(lip_points(np.zeros(30))[:20], mean[LIPS_OUTER], atol=1e-6)
    np.testing.assert_allclose(lip_points(np.zeros(30))[20:], mean[LIPS_INNER], atol=1e-6)


def test_a_jaw_that_drops_opens_the_mouth_more_and_more():
    openings = [float(mouth_opening(opened(amount))[0]) for amount in (0.0, 0.2, 0.5)]
    assert openings[0] < openings[1] - 0.03 < openings[2] - 0.06


def test_lips_that_are_pressed_together_count_as_closed_and_neutral_ones_do_not():
    pressed = Motion.neutral(1, 25.0).edit({"mouthPressLeft": 0.6, "mouthPressRight": 0.6}).mouth
    assert mouth_opening(pressed)[0] < CLOSED < mouth_opening(np.zeros(30))
    assert mouth_opening(opened(0.1))[0] > CLOSED


def test_tensors_stay_tensors_and_carry_gradients():
    mouth = torch.randn(2, 3, 30, requires_grad=True)
    opening = mouth_opening(mouth)
    assert opening.shape == (2, 3)
    np.testing.assert_allclose(opening.detach().numpy(), mouth_opening(mouth.detach().numpy()), atol=1e-5)
    opening.sum().backward()
    assert mouth.grad is not None
    assert mouth.grad.abs().sum() > 0
    assert lip_points(mouth).shape == (2, 3, 40, 3)
