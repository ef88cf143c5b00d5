"""A person's own video: how they move, and what they look like while they do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..animation.portrait import Portrait
from ..errors import NoFaceError, SuperFaceError
from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel, FaceShape
from ..media import VideoReader
from ..metrics.identity import IdentityNetwork, identity_distance
from ..models.tracker.base import FaceTracker
from ..motion import Motion
from ..motion.rotations import fit_similarity
from .jpeg import decode_batch, encode_jpeg

LONGEST = 40.0  # seconds that are looked at
PICTURES = 160  # of a video, evenly spread
JPEG_QUALITY = 93
# Neutral faces tracked in two parts of one clip differ by 0.002 to 0.014 (13 training clips; rms, in inter-ocular distances),
# those of two people by 0.007 to 0.042, 0.020 in the median: shape alone only tells the clear cases. Faces that a recognition
# network sees are told apart by it; it was trained to put one person's within 0.6.
SAME_SHAPE, SAME_FACE = 0.030, 0.65
COMPARED = 5  # frames
FACE_POINTS = 468
WHAT_TO_DO = "Pass a video of the same person, or leave it out."


@dataclass(frozen=True, eq=False)
class OwnVideo:
    """The person's own video, tracked.

    Attributes:
        motion: of the whole video.
        pictures: files of some frames, cut out around the face, S x S pixels.
        landmarks: (N, 478, 3) of these, in image coordinates.
    """

    motion: Motion
    pictures: list[bytes]
    landmarks: Tensor

    def decoded(self, chosen: Iterable[int]) -> Tensor:
        """Return chosen pictures (n, 3, S, S) uint8."""
        return decode_batch(self.pictures[index] for index in chosen)


def read_own_video(video: Any, portrait: Portrait, tracker: FaceTracker, face_model: FaceModel, size: int) -> OwnVideo:
    """Read a video of the portrait's person, and track their face.

    Args:
        video: as :class:`~superface_hf.media.VideoReader` takes it.
        size: of the student's pictures, in pixels.

    Raises:
        MediaError: it cannot be read.
        NoFaceError: it shows no face.
        SuperFaceError: it shows somebody else.
    """
    reader = VideoReader(video)
    every = max(1, round((reader.frame_count or 1) / PICTURES))
    squares: list[Square] = []
    shown: list[np.ndarray] = []

    def watched() -> Iterable[np.ndarray]:
        for frame in islice(reader, int(LONGEST * reader.fps)):
            shown[:] = [frame]
            yield frame

    points, pictures, chosen = [], [], []
    for number, face in enumerate(tracker.follow(watched())):
        if face is None:
            continue
        if not squares:
            squares.append(Square.around_picture(*shown[0].shape[:2]))
        points.append(squares[0].to_image(face.landmarks))
        if number % every == 0:
            square = Square.around_face(face.landmarks)
            pictures.append(_cut(shown[0], square, size))
            chosen.append(square.to_image(face.landmarks))
    if not points:
        raise NoFaceError(
            f"No face was found in the video {video}: it must show the portrait's person facing the camera."
        )
    shape, motion = face_model.fit(np.stack(points), reader.fps)
    own = OwnVideo(motion.smooth(), pictures, torch.from_numpy(np.stack(chosen)))
    name = video if isinstance(video, str) else "that was passed"
    check_same_person(shape, portrait.shape, name)
    check_same_face(own, portrait, name)
    return own


def check_same_person(shape: FaceShape, own: FaceShape, video: str) -> None:
    """Raise SuperFaceError where two neutral faces differ more than pictures of one person do."""
    difference = shape_difference(shape, own)
    if difference > SAME_SHAPE:
        raise SuperFaceError(
            f"The video {video} seems to show another person than the portrait: the shapes of the faces differ by "
            f"{difference:.3f} inter-ocular distances, and up to {SAME_SHAPE} is likely for one person. {WHAT_TO_DO}"
        )


def check_same_face(video: OwnVideo, portrait: Portrait, name: str) -> None:
    """Compare the two faces by a face recognition network, where one is installed (see ``metrics.identity``)."""
    try:
        network = IdentityNetwork()
    except SuperFaceError:
        return
    chosen = np.unique(np.linspace(0, len(video.pictures) - 1, COMPARED).round().astype(int)).tolist()
    pictures = list(video.decoded(chosen).permute(0, 2, 3, 1).contiguous().numpy())
    size = pictures[0].shape[0]
    points = [(video.landmarks[index].numpy() + 1) * (size / 2) for index in chosen]
    embeddings = network([portrait.picture, *pictures], [portrait.crop.to_pixels(portrait.landmarks), *points])
    distance = float(identity_distance(embeddings[1:], embeddings[0]).min())
    if distance > SAME_FACE:
        raise SuperFaceError(
            f"The video {name} seems to show another person than the portrait: a face recognition network finds a distance of "
            f"{distance:.2f}, and up to {SAME_FACE} is likely for one person. {WHAT_TO_DO}"
        )


def shape_difference(shape: FaceShape, own: FaceShape) -> float:
    """Return the root mean square distance in the plane of all points except the irises', after the best alignment."""
    a, b = (face.points[:FACE_POINTS].double().numpy() for face in (shape, own))
    rotation, scale, offset = fit_similarity(a, b)
    moved = scale * a @ rotation.T + offset
    return float(np.sqrt(np.square(moved - b)[:, :2].sum(1).mean()))


def _cut(picture: np.ndarray, square: Square, size: int) -> bytes:
    region = Image.fromarray(square.cut(picture)).resize((size, size), Image.Resampling.BICUBIC)
    return encode_jpeg(np.asarray(region), JPEG_QUALITY)
