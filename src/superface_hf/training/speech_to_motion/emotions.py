"""Measure what emotions add to a face, on labelled portraits.

::

    python -m superface_hf.training.speech_to_motion.emotions $SUPERFACE_DATA/portraits_small.parquet -o .cache/emotions.npz

The table has the columns ``image`` and ``emotion``. An emotion's offset is the mean face of its pictures less that of the
neutral ones, made the same on both sides. Of the mouth, what would open or shut the lips is taken out: they belong to speech.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from ...face_model.coordinates import Square
from ...face_model.linear import FaceModel
from ...face_model.topology import INNER_LIPS
from ...media import load_picture
from ...models.embedded import embedded_tracker
from ...models.speech_to_motion.motion_vector import from_vectors, mirror_matrix, motion_size, region_slices
from ...motion.arkit import EXPRESSION_REGIONS, arkit_index
from ...utils.files import write_arrays

NEUTRAL = "neutral"
FEWEST, MOST = 30, 250  # pictures of an emotion: with fewer it is left out, of more the first are taken
MAX_TURN = 0.45  # radians
MOVED = ("mouth", "eyes", "brows")
# What must rise with an emotion (Ekman and Friesen 1978, Facial Action Coding System): by less than LEAST (ARKit scores, mean
# of both sides), its pictures do not show it, and it is left out. Pictures of one frame understate: at full strength an
# emotion raises these to FULL, or MOST_GAIN times as far as was measured.
ACTION_UNITS = {
    "anger": ("browDownLeft", "browDownRight"),
    "disgust": ("noseSneerLeft", "noseSneerRight"),
    "fear": ("browInnerUp", "eyeWideLeft", "eyeWideRight"),
    "happiness": ("mouthSmileLeft", "mouthSmileRight"),
    "sadness": ("mouthFrownLeft", "mouthFrownRight"),
    "surprise": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}
LEAST, FULL, MOST_GAIN = 0.04, 0.5, 3.0


def emotion_offsets(table: Path) -> dict[str, np.ndarray]:
    """Return what each emotion adds to rows of ``motion_vector``, (66,) by name."""
    tracker, model = embedded_tracker(), FaceModel.default()
    rows: dict[str, list[np.ndarray]] = defaultdict(list)
    labelled = pq.read_table(table, columns=["image", "emotion"])
    for image, emotion in tqdm(zip(*(column.to_pylist() for column in labelled.columns), strict=True)):
        if not emotion or len(rows[emotion]) >= MOST:
            continue
        picture = load_picture(image["bytes"])
        with torch.inference_mode():
            faces = tracker.find_faces(picture)
        if not faces or not faces[0].certain:
            continue
        _, motion = model.fit(Square.around_picture(*picture.shape[:2]).to_image(faces[0].landmarks)[None], 1.0)
        if np.abs(motion.rotation).max() <= MAX_TURN:
            rows[emotion].append(np.concatenate([getattr(motion, region)[0] for region in EXPRESSION_REGIONS]))
    neutral = np.mean(rows.pop(NEUTRAL), axis=0)
    return {emotion: _kept(np.mean(found, axis=0) - neutral) for emotion, found in rows.items() if len(found) >= FEWEST}


def shown(offsets: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the emotions whose action units rise, at full strength."""
    kept = {}
    for emotion, offset in offsets.items():
        scores = from_vectors(offset[None], 1.0).to_arkit()[0]
        units = [scores[arkit_index(name)] for name in ACTION_UNITS.get(emotion, ())]
        if units and np.mean(units) >= LEAST:
            kept[emotion] = offset * min(MOST_GAIN, FULL / float(np.mean(units)))
    return kept


def _kept(difference: np.ndarray) -> np.ndarray:
    """Convert a difference of expressions (60,) to an offset (66,): of regions that emotions move, both sides alike, with the
    lips as far apart."""
    offset = np.zeros(motion_size(), np.float32)
    slices = region_slices()
    for region in MOVED:
        offset[slices[region]] = difference[slices[region]]
    offset = (offset + offset @ mirror_matrix()) / 2
    offset[slices["mouth"]] = without_opening(offset[slices["mouth"]])
    return offset


def without_opening(mouth: np.ndarray) -> np.ndarray:
    """Return a change of the mouth (30,) without what moves the inner lips apart or together anywhere."""
    model = FaceModel.default()
    upper, lower = np.array(INNER_LIPS).T
    change = (model.bases["mouth"][:, lower] - model.bases["mouth"][:, upper]).double().numpy()[..., 1].T
    return (mouth - np.linalg.pinv(change, rcond=1e-3) @ (change @ mouth)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    write_arrays(options.out, emotion_offsets(options.table))


if __name__ == "__main__":
    main()
