"""Which of several finds is a face of its own, and which comes first. A find is a face with the crop it was measured in."""

from __future__ import annotations

from dataclasses import replace

from .base import Face
from .crops import FaceCrop
from .detection import box_overlap


def distinct(found: list[tuple[Face, FaceCrop]]) -> list[tuple[Face, FaceCrop]]:
    """Remove duplicates of a face, keeping the higher score, and order faces by rank, then by size."""
    surest = max((face.detected for face, _ in found), default=1.0)
    found = [(replace(face, detected=face.detected / surest), crop) for face, crop in found]
    kept: list[tuple[Face, FaceCrop]] = []
    for face, crop in sorted(found, key=lambda item: -item[0].score):
        if all(box_overlap(face.box, other.box) < (0.1 if other.certain > face.certain else 0.5) for other, _ in kept):
            kept.append((face, crop))
    return in_order(kept)


def in_order(found: list[tuple[Face, FaceCrop]]) -> list[tuple[Face, FaceCrop]]:
    """Return faces ordered by rank, then by size."""
    return sorted(found, key=lambda item: (-item[0].rank, -item[0].area))


def same_face(found: list[tuple[Face, FaceCrop]], last: Face | None) -> tuple[Face, FaceCrop]:
    """Return the face that was followed before, by its position, or the largest where none is near."""
    if last is not None:
        box = last.box
        near = max(found, key=lambda item: box_overlap(item[0].box, box))
        if box_overlap(near[0].box, box) > 0.1:
            return near
    return found[0]
