"""Follows one face through the cuts of a video.

A face that was named by an index, or by its speaking, is told from the others by its place, its size and its look, so it is
found again where the camera has gone elsewhere in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from ..animation.faces import FaceChoice, choose_face, is_index
from ..errors import UnknownNameError
from ..face_model.topology import INNER_LIPS
from ..models.tracker.crops import CHIN, FOREHEAD, FaceCrop
from ..models.tracker.detection import box_overlap

if TYPE_CHECKING:
    from ..models.tracker.base import Face, FaceTracker

DrivingFace = FaceChoice | Literal["speaking"]
# A face whose box overlaps less with its last one, or a picture that differs more from the last one (mean difference of 0 to
# 255), belongs to another shot.
SAME_PLACE, CUT = 0.3, 40.0
# Looks agree like this or better (of 1) in 95 of 100 pairs of frames of one person; of two people, in 5 of 100.
ALIKE = 0.6
# A face that looks less than that like the chosen one is taken for it after so many frames without any.
PATIENCE = 25
# Looks that differ by less than this do not tell two people apart; place and size do.
NO_TELLING = 0.05
PLACE_WEIGHT, SIZE_WEIGHT = 0.3, 0.1
MOST_RIVALS = 8
# How much of the picture around a face is its look (in face sizes), how fine, and how quickly its memory follows.
LOOK_MARGIN, LOOK_SIZE, LOOK_PACE = 1.5, 12, 0.1
# So long it is watched who speaks.
WATCHED = 60.0  # seconds
# Of those frames, a speaker must be seen in this share.
SEEN_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Sighting:
    """The face in one frame, None where it is not seen, and the number of the shot (from 0): one more after a cut, or where
    another person is seen."""

    face: Face | None
    shot: int


def check_driving_face(face: DrivingFace) -> None:
    """Raises UnknownNameError for anything but "largest", "only", "speaking" or an index."""
    if not is_index(face) and face not in ("largest", "only", "speaking"):
        raise UnknownNameError(f'driving_face must be "largest", "only", "speaking" or an index from 0, not {face!r}.')


def follow_face(
    tracker: FaceTracker,
    pictures: Iterable[np.ndarray],
    face: DrivingFace = "largest",
    *,
    name: str = "face",
    speech: SpeechHeard | None = None,
) -> Iterator[Sighting]:
    """The chosen face of every picture.

    Args:
        pictures: (H, W, 3) uint8 each, taken one at a time.
        face: "largest" is whoever the tracker follows; "only" and an index are told in the first frame that shows a face;
            for "speaking" the first frames are watched before the first sighting comes.
        name: the argument that ``face`` was passed as.
        speech: what "speaking" is to be judged by.

    Raises:
        SeveralFacesError: see ``face``.
    """
    seen: Iterator[tuple[_Seen, Face | None]]
    if face == "largest":
        seen = _tracked(tracker, pictures)
    else:
        seen = _picked((_Seen.of(picture, tracker.find_faces(picture)) for picture in pictures), face, name, speech)
    shot = 0
    before: tuple[_Seen, Face] | None = None
    for view, found in seen:
        if found is not None:
            if before is not None and (
                box_overlap(before[1].box, found.box) < SAME_PLACE or view.differs(before[0]) > CUT
            ):
                shot += 1
            before = view, found
        yield Sighting(found, shot)


@dataclass(frozen=True, eq=False)
class SpeechHeard:
    """What is known of who speaks in a video.

    Attributes:
        fps: of the video.
        levels: how loud it is in each of its first frames, decibels; empty where nothing is heard.
        seconds: how long mouths are watched.
    """

    fps: float
    levels: np.ndarray = field(default_factory=lambda: np.zeros(0))
    seconds: float = WATCHED


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is kept of a picture: a small one, its faces, and their looks."""

    small: np.ndarray
    faces: list[Face]
    looks: list[np.ndarray]

    @classmethod
    def of(cls, picture: np.ndarray, faces: list[Face]) -> _Seen:
        step = max(1, min(picture.shape[:2]) // 64)
        return cls(
            picture[::step, ::step].astype(np.float32), faces, [look_of(picture, each.landmarks) for each in faces]
        )

    def differs(self, other: _Seen) -> float:
        """Mean difference of 0 to 255."""
        if self.small.shape != other.small.shape:
            return np.inf
        return float(np.abs(self.small - other.small).mean())


def look_of(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """What tells a person in one video from others: colours of the upright face and what is around it, (432,) of length 1."""
    cut = FaceCrop.around(landmarks, LOOK_MARGIN).cut(picture, 4 * LOOK_SIZE)
    small = Image.fromarray(cut).resize((LOOK_SIZE, LOOK_SIZE), Image.Resampling.BOX)
    colours = np.asarray(small, np.float64).ravel()
    return _unit(colours - colours.mean())


class _Chosen:
    """The chosen face: where it was last, how it looks, and how those look that it is not."""

    def __init__(self, face: Face, view: _Seen) -> None:
        self._look = view.looks[view.faces.index(face)]
        self._rivals: list[np.ndarray] = []
        self._last, self._view, self._missing = face, view, 0

    def find(self, view: _Seen) -> Face | None:
        """The face in the next frame."""
        found = self._best(view)
        if found is None:
            self._missing += 1
            return None
        self._missing = 0
        self._last, self._view = found, view
        for face, look in zip(view.faces, view.looks, strict=True):
            if face is found:
                self._look = _unit(self._look + LOOK_PACE * (look - self._look))
            elif len(self._rivals) < MOST_RIVALS and self._unlike_rivals(look) > 1 - ALIKE:
                self._rivals.append(look)
        return found

    def _best(self, view: _Seen) -> Face | None:
        goes_on = view.differs(self._view) <= CUT and self._missing == 0
        best, most = None, -np.inf
        for face, look in zip(view.faces, view.looks, strict=True):
            alike = float(self._look @ look)
            if 1 - self._unlike_rivals(look) > alike + NO_TELLING:
                continue
            near = box_overlap(face.box, self._last.box) if goes_on else 0.0
            if near <= SAME_PLACE and alike < ALIKE and self._missing < PATIENCE:
                continue
            growth = abs(np.log(max(face.area, 1.0) / max(self._last.area, 1.0)))
            score = alike + near + PLACE_WEIGHT * self._closeness(face) - SIZE_WEIGHT * growth
            if score > most:
                best, most = face, score
        return best

    def _closeness(self, face: Face) -> float:
        """1 where the face was last, falling to 0 some faces away."""
        apart = np.hypot(*(face.box[:2] + face.box[2:] - self._last.box[:2] - self._last.box[2:]) / 2)
        return float(np.exp(-apart / np.sqrt(max(self._last.area, 1.0))))

    def _unlike_rivals(self, look: np.ndarray) -> float:
        return 1 - max((float(rival @ look) for rival in self._rivals), default=-1.0)


def _tracked(tracker: FaceTracker, pictures: Iterable[np.ndarray]) -> Iterator[tuple[_Seen, Face | None]]:
    views: list[_Seen] = []

    def watched() -> Iterator[np.ndarray]:
        for picture in pictures:
            views.append(_Seen.of(picture, []))
            yield picture

    for face in tracker.follow(watched()):
        yield views.pop(0), face


def _picked(
    views: Iterator[_Seen], face: DrivingFace, name: str, speech: SpeechHeard | None
) -> Iterator[tuple[_Seen, Face | None]]:
    chosen: _Chosen | None = None
    if face == "speaking":
        speech = speech or SpeechHeard(25.0)
        first = list(islice(views, max(1, round(speech.seconds * speech.fps))))
        views = chain(first, views)
        speaker = _speaker(first, speech.levels)
        chosen = None if speaker is None else _Chosen(*speaker)
    for view in views:
        if chosen is None and view.faces:
            index: FaceChoice = "largest" if face == "speaking" else face
            chosen = _Chosen(choose_face(view.faces, index, "the first frame with a face", name), view)
        yield view, None if chosen is None else chosen.find(view)


def _speaker(views: list[_Seen], levels: np.ndarray) -> tuple[Face, _Seen] | None:
    """The first sight of the face whose mouth moves most, and most with the sound; None where there is no face."""
    tracks: list[_Track] = []
    for number, view in enumerate(views):
        free = list(tracks)
        for face, look in zip(view.faces, view.looks, strict=True):
            track = max(free, key=lambda each: each.fits(face, look), default=None)
            if track is None or track.fits(face, look) < ALIKE:
                tracks.append(_Track(face, look, view))
                track = tracks[-1]
            else:
                free.remove(track)
            track.add(number, face)
    most = max((len(track.openings) for track in tracks), default=0)
    steady = [track for track in tracks if len(track.openings) >= SEEN_SHARE * most]
    best = max(steady, key=lambda track: track.speaks(levels), default=None)
    return None if best is None else (best.first, best.view)


@dataclass(eq=False)
class _Track:
    """One face through some frames."""

    first: Face
    look: np.ndarray
    view: _Seen
    last: Face | None = None
    numbers: list[int] = field(default_factory=list)
    openings: list[float] = field(default_factory=list)

    def fits(self, face: Face, look: np.ndarray) -> float:
        near = 0.0 if self.last is None else box_overlap(self.last.box, face.box)
        return near + float(self.look @ look)

    def add(self, number: int, face: Face) -> None:
        upper, lower = np.array(INNER_LIPS).T
        gap = np.linalg.norm(face.landmarks[lower] - face.landmarks[upper], axis=-1).mean()
        height = np.linalg.norm(face.landmarks[CHIN] - face.landmarks[FOREHEAD])
        self.last = face
        self.numbers.append(number)
        self.openings.append(float(gap / max(float(height), 1e-6)))

    def speaks(self, levels: np.ndarray) -> float:
        """How much the mouth moves, up to three times that where it moves with the sound."""
        openings, numbers = np.array(self.openings), np.array(self.numbers)
        moves = float(openings.std())
        heard = numbers < len(levels)
        if heard.sum() < 8 or moves == 0:
            return moves
        loud = np.maximum(levels[numbers[heard]], -60.0)
        if loud.std() < 1e-6 or openings[heard].std() < 1e-6:
            return moves
        together = float(np.corrcoef(loud, openings[heard])[0, 1])
        return moves * (1 + 2 * max(0.0, together))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
