"""The portrait that a student is made of: found in a picture, as the student stores it, and in layers."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from ...animation.portrait import Portrait, find_portrait
from ...face_model.linear import FaceModel
from ...layers.portrait import PortraitLayers
from ...media import load_picture
from ...models.student.modeling_student import LARGEST_CROP
from ...models.student.stored_layers import LARGEST_PICTURE, picture_file
from ...models.tracker.base import FaceTracker
from .config import DistillationConfig


def found_portrait(config: DistillationConfig, tracker: FaceTracker, face_model: FaceModel, size: int) -> Portrait:
    """Return the portrait, in a picture that is no larger than a student may store: frames of 512 pixels gain nothing from
    more."""
    picture = load_picture(config.portrait)
    portrait = find_portrait(picture, tracker, face_model, config.face, size)  # type: ignore[arg-type]
    pixels = picture.shape[0] * picture.shape[1]
    share = min((LARGEST_PICTURE / pixels) ** 0.5, 0.98 * LARGEST_CROP / portrait.crop.side)
    if share >= 1:
        return portrait
    smaller = (int(share * picture.shape[1]), int(share * picture.shape[0]))
    picture = np.array(Image.fromarray(picture).resize(smaller, Image.Resampling.LANCZOS))
    return find_portrait(picture, tracker, face_model, config.face, size)  # type: ignore[arg-type]


def stored_portrait(portrait: Portrait) -> tuple[bytes, Portrait]:
    """Return the picture as the student stores it, and the portrait with the very pixels that come out of that file."""
    file = picture_file(portrait.picture)
    return file, replace(
        portrait, picture=np.array(Image.open(io.BytesIO(file), formats=("PNG", "JPEG")).convert("RGB"))
    )


def portrait_layers(portrait: Portrait) -> PortraitLayers:
    """Return the portrait in layers, by the embedded models."""
    from ...models.embedded import embedded_inpainter, embedded_matte

    points = portrait.crop.to_pixels(portrait.landmarks)
    return PortraitLayers.make(portrait.picture, points, embedded_matte(), embedded_inpainter())
