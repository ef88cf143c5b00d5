"""The viseme error rate of talking faces, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.module import PICTURES, SOUND, SuperFaceMetric, load_pictures
from superface_hf.metrics.visemes import viseme_error_rate
from superface_hf.models.embedded import embedded_lip_reader, embedded_tracker
from superface_hf.models.lip_reader import SuperFaceLipReaderModel
from superface_hf.models.lip_reader.heard_visemes import heard_visemes, viseme_track
from superface_hf.models.lip_reader.mouth_pictures import mouths_of

REACH = 5  # frames

CITATION = """\
@inproceedings{wang2023seeing, title={Seeing What You Said: Talking Face Generation Guided by a Lip Reading Expert},
  booktitle={CVPR}, year={2023}, author={Wang, Jiadong and Qian, Xinyuan and Zhang, Malu and Tan, Robby T. and Li, Haizhou}}
"""


class VisemeErrorRate(SuperFaceMetric, predictions=PICTURES, references=SOUND):
    """How much of what is said cannot be read from the lips: the edit distance of the visemes that a small lip reader sees
    to those that pocketsphinx hears, over the number of those heard. Both err, so real people have a rate far
    above 0: compare with theirs, and with another clip's sound. Needs the extra `[lip-reading]`.

    Args:
        predictions: list of clips, each (frames, H, W, 3) pictures of one talking face.
        references: their sounds, each (samples,) floats in [-1, 1], mono at 16 kHz.
        fps: frames per second of all clips.
        model: folder or Hub id of a lip reader; None is the embedded one.
    Returns:
        viseme_error_rates: of each clip; NaN where nothing is said.
        viseme_error_rate: the mean over clips in which something is said; lower is better.
        evidence: how much the lips show of what is heard, in bits a frame at the best delay of up to 5 frames, averaged over
            clips; above 0 they tell something, below 0 something else. It tells more than the rate.
        offsets: these delays; above 0 the picture is late, below 0 the sound.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("viseme_error_rate"))
        >>> metric.compute(predictions=[frames], references=[samples], fps=25)
    """

    CITATION = CITATION

    def _compute(
        self, predictions: list[Any], references: list[Any], fps: float, model: str | None = None
    ) -> dict[str, Any]:
        reader = SuperFaceLipReaderModel.from_pretrained(model).eval() if model else embedded_lip_reader()
        tracker = embedded_tracker()
        rates, evidences = [], []
        for pictures, sound in zip(predictions, references, strict=True):
            frames = load_pictures(pictures)
            landmarks = (None if face is None else face.landmarks for face in tracker.follow(frames))
            mouths, _ = mouths_of(frames, landmarks)
            read, heard = reader.read(mouths, fps), heard_visemes(np.asarray(sound, np.float32))
            said = viseme_track(heard, len(read), reader.config.frame_rate)
            rates.append(viseme_error_rate(read, said))
            evidences.append(reader.evidence(mouths, fps, said, REACH))
        return {
            "viseme_error_rates": rates,
            "viseme_error_rate": float(np.nanmean(rates)),
            "evidence": float(np.mean([evidence.max() for evidence in evidences])),
            "offsets": [int(evidence.argmax()) - REACH for evidence in evidences],
        }
