"""Find the portrait in a picture: its face, the crop around it, and its own shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.utils import logging

from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel, FaceShape
from ..media import load_picture
from ..motion import Motion
from .doubts import doubts_about
from .drawn_eyes import fit_drawn_eyes
from .faces import FaceChoice, check_face_choice, choose_face

logger = logging.get_logger(__name__)

if TYPE_CHECKING:
    from ..models.student.modeling_student import SuperFaceStudentModel
    from ..models.tracker.base import FaceTracker

# A crop within this share of the whole picture, or of the renderer's own size, is made equal to it: resampling by a few per
# cent would only cost sharpness.
SNAP = 0.06


@dataclass(frozen=True, eq=False)
class Portrait:
    """A face in a picture, ready to be moved.

    Attributes:
        picture: (H, W, 3) uint8.
        crop: the square around the face, on whole pixels; it may reach beyond the picture.
        landmarks: (478, 3) float32 IMAGE coordinates of the crop.
        shape, motion: the face's neutral shape, and the pose and expression it has in the picture (one frame).
        others: (478, 3) landmarks in PIXELS of the picture's other faces.
        drawn_eyes: whether its eyes are drawn and larger than a person's.
    """

    picture: np.ndarray
    crop: Square
    landmarks: np.ndarray
    shape: FaceShape
    motion: Motion
    others: tuple[np.ndarray, ...] = ()
    drawn_eyes: bool = False


def find_portrait(image: Any, tracker: FaceTracker, face_model: FaceModel, face: FaceChoice, size: int) -> Portrait:
    """Load a picture and find the face that is to be animated.

    Args:
        image: as :func:`~superface_hf.media.load_picture` takes it.
        face: "largest", "only" (an error if there are several), or an index into the faces, largest first.
        size: the side of the renderer's crop in pixels.

    Raises:
        MediaError: the picture cannot be read.
        NoFaceError: it shows no face.
        SeveralFacesError: more faces than ``face="only"`` allows, or fewer than the index asks for.
    """
    check_face_choice(face)
    picture = load_picture(image)
    height, width = picture.shape[:2]
    faces = tracker.find_faces(picture)
    chosen = choose_face(faces, face, f"the picture ({width} x {height} pixels)")
    drawn = fit_drawn_eyes(picture, chosen.landmarks)
    if doubt := doubts_about(picture, chosen, tracker, drawn is not None):
        logger.warning(doubt)
    others = tuple(other.landmarks for other in faces if other is not chosen)
    crop = snap(Square.around_face(chosen.landmarks), height, width, size)
    landmarks = crop.to_image(chosen.landmarks if drawn is None else drawn)
    return _fitted(picture, crop, landmarks, face_model, others, drawn is not None)


def stored_portrait(model: SuperFaceStudentModel, face_model: FaceModel) -> Portrait:
    """Return the portrait that is stored in a student."""
    landmarks = model.landmarks.cpu().numpy()
    return _fitted(model.full_picture(), model.crop, landmarks, face_model, drawn_eyes=model.config.drawn_eyes)


def _fitted(
    picture: np.ndarray,
    crop: Square,
    landmarks: np.ndarray,
    face_model: FaceModel,
    others: tuple[np.ndarray, ...] = (),
    drawn_eyes: bool = False,
) -> Portrait:
    """Return the portrait with known landmarks (478, 3) in IMAGE coordinates of the crop."""
    _, motion = face_model.fit(landmarks[None], fps=1.0)
    if drawn_eyes:  # drawn eyes are neutral as they are drawn
        motion = replace(motion, eyes=np.zeros_like(motion.eyes))
    # The fitted shape is approximate. This one gives the picture's landmarks exactly, or a face at rest would move.
    shape = face_model.neutral_shape(landmarks, motion)
    return Portrait(picture, crop, landmarks, shape, motion, others, drawn_eyes)


def snap(crop: Square, height: int, width: int, size: int) -> Square:
    """Return the crop, made exactly the whole picture (height, width) or exactly ``size`` pixels wide if it nearly is."""
    near = SNAP * crop.side
    if height == width and max(abs(crop.left), abs(crop.top), abs(crop.side - height)) <= near:
        return Square(0, 0, height)
    if abs(crop.side - size) <= near:
        shift = round((crop.side - size) / 2)
        return replace(crop, left=crop.left + shift, top=crop.top + shift, side=size)
    return crop
