"""Sharpness of skin and hair against the truth, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.module import PICTURE, SuperFaceMetric, load_pictures
from superface_hf.metrics.sharpness import hair_mask, sharpness_ratio, skin_mask
from superface_hf.models.embedded import embedded_tracker


class SharpnessRatio(SuperFaceMetric, predictions=PICTURE, references=PICTURE):
    """The variance of the Laplacian in the skin and in the hair of a rendered picture over that of the true one. The
    embedded tracker finds the regions in the true picture: skin is the face oval without eyes, brows and mouth, hair a band
    above and beside it. Pictures without a face are left out and counted.

    Args:
        predictions: list of pictures: PIL images or (H, W, 3) uint8 arrays.
        references: the true ones, each of the same size.
    Returns:
        skin, hair: averaged over pictures; 1 is as sharp as the truth, below is blurred.
        without_face: pairs that were left out.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("sharpness_ratio"))
        >>> metric.compute(predictions=[picture], references=[true_picture])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        tracker = embedded_tracker()
        ratios = []
        for picture, true in zip(load_pictures(predictions), load_pictures(references), strict=True):
            for face in tracker.find_faces(true)[:1]:
                masks = [mask(face.landmarks, *true.shape[:2]) for mask in (skin_mask, hair_mask)]
                ratios.append([sharpness_ratio(picture, true, mask) for mask in masks])
        skin, hair = np.nanmean(ratios, axis=0) if ratios else (np.nan, np.nan)
        return {"skin": float(skin), "hair": float(hair), "without_face": len(references) - len(ratios)}
