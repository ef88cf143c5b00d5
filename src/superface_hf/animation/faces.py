"""Choose one of the faces in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ..errors import NoFaceError, SeveralFacesError, UnknownNameError

if TYPE_CHECKING:
    from ..models.tracker.base import Face

FaceChoice = Literal["largest", "only"] | int
WHAT_A_FACE_NEEDS = (
    "It must be turned to the camera, with both eyes and the mouth in sight; a small face is found in a picture that is cut "
    "out around it."
)


def check_face_choice(face: FaceChoice) -> None:
    """Raise UnknownNameError for anything but "largest", "only" or an index."""
    if not is_index(face) and face not in ("largest", "only"):
        raise UnknownNameError(f'face must be "largest", "only" or an index from 0, not {face!r}.')


def choose_face(faces: Sequence[Face], face: FaceChoice, where: str, name: str = "face") -> Face:
    """Choose one of the faces found, which are ordered from the largest; ``name`` is the argument's name for messages."""
    if not faces:
        raise NoFaceError(f"No face was found in {where}. {WHAT_A_FACE_NEEDS}")
    if face == "only" and len(faces) > 1:
        raise SeveralFacesError(
            f'There are {len(faces)} faces in {where}, and {name}="only" allows one: '
            f'pass {name}="largest" or an index from 0 (the largest) to {len(faces) - 1}.'
        )
    index = face if isinstance(face, int) else 0
    if index >= len(faces):
        raise SeveralFacesError(
            f"{name}={index} does not exist: there are {len(faces)} faces in {where}, counted from 0, the largest first."
        )
    return faces[index]


def is_index(face: object) -> bool:
    """Return whether ``face`` is an integer from 0; True and False are not."""
    return isinstance(face, int) and not isinstance(face, bool) and face >= 0
