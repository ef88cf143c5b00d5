"""Follow one face through the cuts of a video.

A face that was chosen by an index, or because it speaks, is recognised by its position, its size and its look. So it is found
again after a cut to another scene.
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
# A new shot begins where the face's box overlaps less with its last one, or the picture differs more from the last one (mean
# difference of 0 to 255).
SAME_PLACE, CUT = 0.3, 40.0
# The cosine similarity of two looks is at least this in 95 of 100 pairs of frames of one person, and in 5 of 100 of two people.
ALIKE = 0.6
# A face that looks less similar is accepted after so many frames in which the chosen face was not found.
PATIENCE = 25
# Looks whose similarities differ by less than this do not decide between two people; position and size do.
UNDECIDED = 0.05
PLACE_WEIGHT, SIZE_WEIGHT = 0.3, 0.1
MOST_RIVALS = 8
# The look: its margin around the face (in face sizes), its side in pixels, and the share of a new frame in its running average.
LOOK_MARGIN, LOOK_SIZE, LOOK_PACE = 1.5, 12, 0.1
# The seconds of a video in which the speaker is found, and the share of those frames that must show the speaker.
WATCHED = 60.0
SEEN_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Sighting:
    """The followed face in one frame (None where it is not seen), and the number of the shot, from 0. The shot changes
    at a cut, or where another person is seen."""

    face: Face | None
    shot: int


def check_driving_face(face: DrivingFace) -> None:
    """Raise UnknownNameError for anything but "largest", "only", "speaking" or an index."""
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
    """Yield the chosen face of every picture.

    Args:
        pictures: (H, W, 3) uint8 each, taken one at a time.
        face: "largest" is the face that the tracker follows; "only" and an index are decided in the first frame that shows a
            face; for "speaking" the first frames are read before the first result comes.
        name: the name of the argument ``face`` in error messages.
        speech: the sound by which "speaking" is decided.

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
    """What is known about the speech in a video, to find out who speaks.

    Attributes:
        fps: the frame rate of the video.
        levels: the loudness of each of its first frames, in decibels; empty without sound.
        seconds: the seconds in which mouths are compared.
    """

    fps: float
    levels: np.ndarray = field(default_factory=lambda: np.zeros(0))
    seconds: float = WATCHED


@dataclass(frozen=True, eq=False)
class _Seen:
    """The data kept of a picture: a small copy, its faces, and their looks."""

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
        """Return the mean difference of two pictures, 0 to 255."""
        if self.small.shape != other.small.shape:
            return np.inf
        return float(np.abs(self.small - other.small).mean())


def look_of(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the look of a person (432,), of length 1: colours of the upright face and its surroundings. It tells the
    people of one video apart."""
    cut = FaceCrop.around(landmarks, LOOK_MARGIN).cut(picture, 4 * LOOK_SIZE)
    small = Image.fromarray(cut).resize((LOOK_SIZE, LOOK_SIZE), Image.Resampling.BOX)
    colours = np.asarray(small, np.float64).ravel()
    return _unit(colours - colours.mean())


class _Chosen:
    """The chosen face: its last position, its look, and the looks of other faces."""

    def __init__(self, face: Face, view: _Seen) -> None:
        self._look = view.looks[view.faces.index(face)]
        self._rivals: list[np.ndarray] = []
        self._last, self._view, self._missing = face, view, 0

    def find(self, view: _Seen) -> Face | None:
        """Return the chosen face in the next frame, or None."""
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
            if 1 - self._unlike_rivals(look) > alike + UNDECIDED:
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
        """Return 1 for a face at the last position, falling to 0 with the distance in face sizes."""
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
    """Return the face that speaks, with the picture in which it is first seen: its mouth moves most, and with the
    sound; None where there is no face."""
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
        """Return how much the mouth moves, weighted up to three times where it moves with the sound."""
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
