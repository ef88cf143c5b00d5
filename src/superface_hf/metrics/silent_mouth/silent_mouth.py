"""How often the mouth is closed in silence, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.closures import closed_in_silence
from superface_hf.metrics.module import MOUTH, SOUND, SuperFaceMetric


class SilentMouth(SuperFaceMetric, predictions=MOUTH, references=SOUND):
    """The share of frames in silences of the sound in which the lips touch (an opening below
    `superface_hf.face_model.lips.CLOSED`). Silence is what is 40 dB quieter than the loud parts of the
    recording.

    Args:
        predictions: list of clips, each (frames, 30) `Motion.mouth` coefficients.
        references: their sounds, each (samples,) floats in [-1, 1], mono.
        fps: frames per second of all clips.
        sampling_rate: of the sounds.
        longer_than: seconds; shorter silences are not looked at.
        margin: seconds left out at both ends of each silence, where lips may still close or already part.
    Returns:
        closed_share: in [0, 1], averaged over the clips that have such silences; NaN if none has.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("silent_mouth"))
        >>> metric.compute(predictions=[mouth], references=[samples], fps=25)
    """

    def _compute(
        self,
        predictions: list[Any],
        references: list[Any],
        fps: float,
        sampling_rate: int = 16000,
        longer_than: float = 0.3,
        margin: float = 0.0,
    ) -> dict[str, float]:
        shares = [
            closed_in_silence(mouth, fps, np.asarray(sound), sampling_rate, longer_than, margin)
            for mouth, sound in zip(predictions, references, strict=True)
        ]
        return {"closed_share": float(np.nanmean(shares)) if np.isfinite(shares).any() else float("nan")}
