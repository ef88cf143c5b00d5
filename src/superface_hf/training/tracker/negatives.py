"""Places without a face for the landmark regressor's face score: random ones, and those that a trained detector mistakes
for faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tqdm import tqdm

from ...data.tracker.crops import FACELESS_TRAIN, Source, background_crops, faceless_pictures
from ...data.tracker.scenes import SceneMaker
from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.crops import FaceCrop
from ...models.tracker.detection import letterbox, pixels_of, read_maps
from ...models.tracker.networks import FaceDetector
from ..core.layout import channels_last


def random_places(sources: list[Source], size: int, random: np.random.Generator) -> np.ndarray:
    """Return parts (N, size, size, 3) uint8 of face-free pictures and of labelled pictures beside the faces."""
    parts: list[np.ndarray] = []
    for picture in faceless_pictures(FACELESS_TRAIN):
        for _ in range(60):
            side = int(random.integers(32, min(picture.shape[:2]) + 1))
            y, x = (int(random.integers(0, length - side + 1)) for length in picture.shape[:2])
            parts.append(picture[y : y + side, x : x + side])
    for source in sources:
        parts += background_crops(source, random, 3)
    return np.stack([np.asarray(Image.fromarray(part).resize((size, size))) for part in parts])


@torch.inference_mode()
def mistaken_places(
    detector_weights: Path, sources: list[Source], config: SuperFaceTrackerConfig, size: int, scenes: int = 1200
) -> np.ndarray:
    """Return crops (N, size, size, 3) uint8 where the detector sees a face and none is, in sources and in made-up scenes."""
    detector = channels_last(FaceDetector(config).eval())
    detector.load_state_dict(load_file(detector_weights))
    faceless = faceless_pictures(FACELESS_TRAIN)
    shares = dict.fromkeys(("clips", "portraits_small", "portraits_large"), 1.0)
    make = SceneMaker(sources, faceless, shares, config.detector_size, seed=9)
    pictures: list[tuple[np.ndarray, list[FaceCrop]]] = [(picture, []) for picture in faceless]
    # Portraits were labelled with up to four faces each; a clip's frame may show people without a label.
    for source in sources:
        if source.domain == "portraits_large" and 0 < len(source.faces) < 4:
            pictures.append((source.picture(), [FaceCrop.around(face, 1.0) for face in source.faces]))
    pictures += [make() for _ in range(scenes)]
    found = []
    for picture, faces in tqdm(pictures, desc="mistaken places", mininterval=10):
        square, scale = letterbox(picture, config.detector_size)
        pixels = pixels_of([square], detector.heatmap.weight).contiguous(memory_format=torch.channels_last)
        logits, geometry = detector(pixels)
        for detection in read_maps(logits, geometry, threshold=0.08, limit=10)[0]:
            crop = detection.crop
            place = FaceCrop(crop.x / scale, crop.y / scale, crop.size / scale, crop.angle)
            if not any(_touches(place, face) for face in faces):
                wide = FaceCrop(place.x, place.y, place.size * config.crop_margin, place.angle)
                found.append(wide.cut(picture, size))
    return np.stack(found) if found else np.zeros((0, size, size, 3), np.uint8)


def _touches(place: FaceCrop, face: FaceCrop) -> bool:
    """Return whether the middle of one box lies in the other (an eye alone still looks at the face around it)."""
    distance = max(abs(place.x - face.x), abs(place.y - face.y))
    return distance < 0.6 * max(face.size, place.size)
