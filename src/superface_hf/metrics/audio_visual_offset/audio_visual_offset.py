"""Audio-visual offset and confidence, measured by the package's sync expert, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.module import MOUTH, SOUND, SuperFaceMetric
from superface_hf.models.embedded import embedded_sync_expert
from superface_hf.models.sync_expert import SuperFaceSyncExpertModel

CITATION = """\
@inproceedings{chung2016out, title={Out of time: automated lip sync in the wild}, year={2016},
  booktitle={Workshop on Multi-view Lip-reading, ACCV}, author={Chung, Joon Son and Zisserman, Andrew}}
"""


class AudioVisualOffset(SuperFaceMetric, predictions=MOUTH, references=SOUND):
    """By how many frames a mouth is late against its sound, and how well the two fit, in the style of SyncNet's
    LSE-D and LSE-C but measured by this package's own sync expert on `Motion.mouth` coefficients. The numbers
    are NOT comparable with SyncNet's: distances and confidences are on another scale. Compare only what this
    same expert has judged.

    Args:
        predictions: list of clips, each (frames, 30) `Motion.mouth` coefficients; frame k is k / fps seconds into the sound.
        references: their sounds, each (samples,) floats in [-1, 1], mono at 16 kHz.
        fps: frames per second of all clips.
        max_shift: largest shift looked at, in frames.
        model: folder or Hub id of a sync expert; None is the embedded one.
    Returns:
        offsets: of each clip, in frames; above 0 the picture is late, below 0 the sound.
        within_one_frame: share of clips with an offset of -1, 0 or 1.
        distance: mean distance of sound and mouth at the best shift (0 to 2), averaged over clips; lower is better.
        confidence: by how much that is below the median over all shifts, averaged over clips; higher is better.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("audio_visual_offset"))
        >>> metric.compute(predictions=[mouth], references=[samples], fps=25)
    """

    CITATION = CITATION

    def _compute(
        self, predictions: list[Any], references: list[Any], fps: float, max_shift: int = 15, model: str | None = None
    ) -> dict:
        expert = SuperFaceSyncExpertModel.from_pretrained(model).eval() if model else embedded_sync_expert()
        results = [
            expert.offset(np.asarray(sound, np.float32), np.asarray(mouth, np.float32), fps, max_shift)
            for mouth, sound in zip(predictions, references, strict=True)
        ]
        return {
            "offsets": [result.offset for result in results],
            "within_one_frame": float(np.mean([abs(result.offset) <= 1 for result in results])),
            "distance": float(np.mean([result.distance for result in results])),
            "confidence": float(np.mean([result.confidence for result in results])),
        }
