"""Metrics: plain functions of lips (``lips``, ``closures``) and of pictures (``image``, ``features``, ``identity``,
``keypoints``, ``slopes``, ``visemes``, ``temporal``, ``sharpness``, ``straightness``, ``outline``), and modules for
``evaluate`` on top of them.

::

    import evaluate
    from superface_hf.metrics import metric_folder

    metric = evaluate.load(metric_folder("lip_distance"))      # works offline; needs the extra [metrics]
    metric.compute(predictions=[mouth], references=[true_mouth], fps=25)
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UnknownNameError
from ..motion.arkit import nearest_names

METRICS = (
    "audio_visual_offset",
    "bilabial_closure",
    "expression_distance",
    "face_diversity",
    "feature_frechet_distance",
    "head_beat_correlation",
    "identity_similarity",
    "keypoint_distance",
    "lip_distance",
    "motion_diversity",
    "motion_frechet_distance",
    "mouth_opening_correlation",
    "nearest_training_face",
    "perceptual_distance",
    "pose_distance",
    "presentation_agreement",
    "psnr",
    "sharpness_ratio",
    "silent_mouth",
    "ssim",
    "temporal_flicker",
    "viseme_error_rate",
)


def metric_folder(name: str) -> str:
    """Return the folder of one of ``METRICS``, for ``evaluate.load``.

    Raises:
        UnknownNameError: there is no such metric; the message names those there are.
    """
    if name not in METRICS:
        raise UnknownNameError(f"Unknown metric {name!r}. {nearest_names(name, METRICS)}")
    return str(Path(__file__).parent / name)
