"""The mean face: landmarks of many people, laid on each other."""

from __future__ import annotations

import numpy as np

from ...face_model import topology
from ...motion.rotations import fit_similarity, rotation_vector

TEMPLATE_ROUNDS = 4


def build_template(landmarks: np.ndarray, weight: np.ndarray, mirror: np.ndarray | None) -> np.ndarray:
    """Return the mean face (478, 3): centred, upright, symmetric, with an inter-ocular distance of 1."""
    template = landmarks[0]
    for _ in range(TEMPLATE_ROUNDS):
        aligned, _ = align(landmarks, template)
        template = (weight[:, None, None] * aligned).sum(0) / weight.sum()
        if mirror is not None:
            template = (template + template[mirror] * [-1, 1, 1]) / 2
        template = (template - template.mean(0)) / topology.inter_ocular(template)
    return template


def centred(template: np.ndarray) -> np.ndarray:
    return (template - template.mean(0)) / topology.inter_ocular(template)


def symmetric(template: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return centred((template + template[mirror] * [-1.0, 1.0, 1.0]) / 2)


def upright(template: np.ndarray) -> np.ndarray:
    """Turn the mean so that the eyes lie level and the face looks straight ahead (forehead and chin at one depth)."""
    right = template[263] - template[33]
    right /= np.linalg.norm(right)
    down = template[152] - template[10]
    down -= right * (down @ right)
    down /= np.linalg.norm(down)
    rotation = np.stack([right, down, np.cross(right, down)])
    return template @ rotation.T


def align(landmarks: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay landmarks on the template by their stable points; return them and the rotation vectors (N, 3) that were removed."""
    rotation, scale, offset = fit_similarity(template[topology.STABLE], landmarks[:, topology.STABLE])
    aligned = (landmarks - offset[:, None]) @ rotation / scale[:, None, None]
    return aligned, rotation_vector(rotation)
