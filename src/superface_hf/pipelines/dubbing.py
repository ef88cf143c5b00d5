"""Dubbing: a video of a person -> the same video with another mouth, everything outside of the mouth left as it is.

Every frame is its own source: its face is cut out, only the mouth's landmarks move, and of what the teacher renders only
the region around the mouth goes back into the frame. Frames pass through one by one, a few of them waiting for what comes
next, so memory does not grow with length.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch

from ..animation.faces import WHAT_A_FACE_NEEDS, FaceChoice, check_face_choice
from ..animation.mouth_region import MouthRegion
from ..animation.mouth_swap import MouthSwap, Person
from ..animation.portrait import snap
from ..drivers.combine import WhenShort
from ..drivers.following import follow_face
from ..errors import MotionError, NoFaceError, UnknownNameError
from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel
from ..layers.matting import cut_out_person
from ..layers.paste_back import PasteBack, RenderedCrops
from ..layers.portrait import cut_out, to_uint8
from ..media import VideoReader
from ..models.embedded import embedded_matte
from ..motion import Motion
from ..renderers.base import CropRenderer
from ..renderers.teacher import TeacherRenderer

if TYPE_CHECKING:
    from ..models.matte.modeling_matte import SuperFaceMatteModel
    from ..models.teacher.modeling_teacher import SuperFaceTeacherModel
    from ..models.tracker.base import FaceTracker


# How far tracking looks to either side in time to tell movement from jitter, and at most how many frames that may be.
LOOK_AHEAD, MOST_AHEAD = 0.4, 12  # seconds, frames
# Where a face comes into sight or gets lost, the new mouth comes and goes within so many frames.
FADE_FRAMES = 4
# After the last word the lips close within this time.
CLOSING = 0.2  # seconds
# The crop stays in its place until the face has moved by this share of its side, or grown or shrunk by it.
CROP_TOLERANCE = 0.06


@dataclass(frozen=True, eq=False)
class DubbedFrame:
    """One frame of a dubbed video.

    Attributes:
        picture: (H, W, 3) uint8.
        motion: one frame, IMAGE coordinates of the smallest square around the picture: the person's own head, eyes and
            brows, and the new mouth. None where no face was found: the picture is as it was.
        box: rows and columns of the part that was painted; empty where no face was found. Every pixel outside is as it was.
        mask: (h, w) float32 in [0, 1], how much of each pixel of ``box`` was painted; where it is 0 the pixel is as it was.
    """

    picture: np.ndarray
    motion: Motion | None = None
    box: tuple[slice, slice] = (slice(0, 0), slice(0, 0))
    mask: np.ndarray | None = None


@dataclass(eq=False)
class _Shot:
    """What stays the same while the camera shows one person: who it is, and the crop (which follows lazily)."""

    person: Person
    crop: Square | None = None

    def placed(self, pixels: np.ndarray) -> Square:
        """The crop, moved if the face, landmarks (478, 3) in PIXELS, has left its middle."""
        ideal = Square.around_face(pixels)
        if self.crop is None or not _near(ideal, self.crop):
            self.crop = ideal
        return self.crop


@dataclass(frozen=True, eq=False)
class _Track:
    """A face in one frame: landmarks (478, 3) in pixels, and in IMAGE coordinates of the square around the picture."""

    pixels: np.ndarray
    landmarks: np.ndarray
    shot: _Shot


@dataclass(frozen=True, eq=False)
class _Planned:
    """A frame and, unless it shows no face, all that rendering needs.

    ``before`` and ``after`` are the landmarks (478, 3) in the crop's IMAGE coordinates; the others as in
    :class:`DubbedFrame`.
    """

    picture: np.ndarray
    crop: Square
    before: np.ndarray
    after: np.ndarray
    motion: Motion
    box: tuple[slice, slice]
    mask: np.ndarray


class Dubber:
    """Gives the person of a video another mouth.

    Args:
        renderer: what renders the mouths: a teacher, or any other that renders each frame from a source of its own.
        tracker, face_model, matte: as the pipeline has them.
        face: "largest", "only" or an index, told in the first frame that shows a face, and followed from there; after a cut,
            "only" and an index find the same person again, or nobody.
        batch_size: frames rendered at once.

    Raises:
        UnknownNameError: ``face`` is none of these.
    """

    def __init__(
        self,
        renderer: CropRenderer | SuperFaceTeacherModel,
        tracker: FaceTracker,
        face_model: FaceModel | None = None,
        *,
        matte: SuperFaceMatteModel | None = None,
        face: FaceChoice = "largest",
        batch_size: int = 2,
    ) -> None:
        check_face_choice(face)
        self._renderer = renderer if isinstance(renderer, CropRenderer) else TeacherRenderer(renderer)
        self._tracker, self._face = tracker, face
        self._face_model = face_model or FaceModel.default()
        self._matte = matte if matte is not None else embedded_matte()
        self._batch_size = max(1, batch_size)
        self._region = MouthRegion(self._face_model)
        self._swap = MouthSwap(self._face_model, self._region.weights)

    def frames(
        self, video: VideoReader, mouth: Iterable[np.ndarray], when_short: WhenShort = "bounce"
    ) -> Iterator[DubbedFrame]:
        """Yields the dubbed frames one by one, at ``video.fps``, in constant memory.

        Args:
            video: read as often as needed.
            mouth: the mouth coefficients (30,) of each frame: an array (T, 30), or a generator of any length.
            when_short: what the picture does where the mouth goes on longer than the video: it plays backward and forward
                again ("bounce"), its last frame stands still and goes on talking ("hold"), or everything ends with the
                video ("stop"). A mouth that ends before the video closes and stays closed: the video always plays to its
                end.

        Raises:
            UnknownNameError: ``when_short`` is none of these.
            NoFaceError: no frame of the video shows a face.
            SeveralFacesError: see ``face``.
            MotionError: a mouth of another size, or one with NaN or infinite values.
            MediaError: the video cannot be read.
        """
        if when_short not in get_args(WhenShort):
            raise UnknownNameError(f"when_short must be one of {', '.join(get_args(WhenShort))}, not {when_short!r}.")
        return self._frames(video, mouth, when_short)

    def _frames(self, video: VideoReader, mouth: Iterable[np.ndarray], when_short: WhenShort) -> Iterator[DubbedFrame]:
        reach = min(MOST_AHEAD, round(LOOK_AHEAD * video.fps))
        watched = _with_surroundings(self._watched(video, mouth, when_short), reach)
        while batch := list(itertools.islice(watched, self._batch_size)):
            plans = [self._planned(*each, video.fps) for each in batch]
            rendered = self._rendered([plan for plan in plans if plan is not None])
            yield from (
                DubbedFrame(each[0]) if plan is None else next(rendered)
                for each, plan in zip(batch, plans, strict=True)
            )

    def _watched(
        self, video: VideoReader, mouth: Iterable[np.ndarray], when_short: WhenShort
    ) -> Iterator[tuple[np.ndarray, np.ndarray, _Track | None]]:
        """Each frame with the mouth it is to show, and the face in it."""
        waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
        shot: _Shot | None = None

        def pictures() -> Iterator[np.ndarray]:
            rows = iter(mouth)
            count, last, row = 0, np.zeros(0), self._swap.shut()
            for last in video:
                count += 1
                row = _next_row(rows, row, self._swap.shut(), video.fps)
                waiting.append((last, row))
                yield last
            if shot is None:
                raise NoFaceError(
                    f"No face was found in any of the {count} frames of the video that is to be dubbed. "
                    f"{WHAT_A_FACE_NEEDS}"
                )
            if when_short != "stop":
                for row, picture in zip(rows, _replayed(video, last, when_short), strict=False):
                    waiting.append((picture, _checked(row, self._swap.shut())))
                    yield picture

        number = -1
        for sighting in follow_face(self._tracker, pictures(), self._face):
            picture, row = waiting.popleft()
            track, face = None, sighting.face
            if face is not None:
                if shot is None or sighting.shot != number:
                    shot, number = _Shot(Person(self._face_model)), sighting.shot
                landmarks = Square.around_picture(*picture.shape[:2]).to_image(face.landmarks)
                shot.person.add(landmarks)
                track = _Track(face.landmarks, landmarks, shot)
            yield picture, row, track

    def _planned(
        self, picture: np.ndarray, mouth: np.ndarray, around: list[_Track | None], at: int, fps: float
    ) -> _Planned | None:
        """How the frame ``around[at]`` is to be rendered, None where it shows no face."""
        track = around[at]
        if track is None:
            return None
        start, stop = _same_shot(around, at)
        tracks = [each for each in around[start:stop] if each is not None]
        motion = self._face_model.fit_frames(track.shot.person.shape, np.stack([t.landmarks for t in tracks]), fps)
        motion = motion.smooth()[at - start]
        strength = min(_fade(around, start - 1, at), _fade(around, stop, at))
        height, width = picture.shape[:2]
        moved = self._swap(track.landmarks, motion, mouth, strength)
        pixels = Square.around_picture(height, width).to_pixels(moved)
        crop = snap(track.shot.placed(track.pixels), height, width, self._renderer.image_size)
        box, mask = self._region.mask(track.pixels, pixels, height, width)
        before, after = crop.to_image(track.pixels), crop.to_image(pixels)
        return _Planned(picture, crop, before, after, replace(motion, mouth=mouth[None]), box, mask)

    def _rendered(self, plans: list[_Planned]) -> Iterator[DubbedFrame]:
        if not plans:
            return
        crops = self._render(plans)
        for index, plan in enumerate(plans):
            one = slice(index, index + 1)
            paste = PasteBack(plan.picture, plan.crop, self._renderer.image_size)
            painted = paste(RenderedCrops(crops.frames[one], crops.warped[one], crops.flow[one]))[0]
            yield DubbedFrame(_blended(plan, painted), plan.motion, plan.box, plan.mask)

    def _render(self, plans: list[_Planned]) -> RenderedCrops:
        size = self._renderer.image_size
        sources = torch.cat([cut_out(plan.picture, plan.crop, size) for plan in plans])
        mattes = torch.stack([self._person(*each) for each in zip(to_uint8(sources), plans, strict=True)])
        before, after = (
            torch.from_numpy(np.stack([getattr(plan, name) for plan in plans])) for name in ("before", "after")
        )
        return self._renderer.render_crops(sources, mattes, before, after)

    def _person(self, crop: np.ndarray, plan: _Planned) -> torch.Tensor:
        """The matte (1, S, S) of a crop (S, S, 3) uint8."""
        points = Square(0, 0, len(crop)).to_pixels(plan.before)
        return torch.from_numpy(cut_out_person(crop, points, self._matte))[None]


def _replayed(video: VideoReader, last: np.ndarray, when_short: WhenShort) -> Iterator[np.ndarray]:
    """What follows the video's last frame, without end."""
    if when_short == "hold":
        yield from itertools.repeat(last)
    while True:
        count = 0
        for direction in (video.backwards(), video):
            # The frame at the turning point has just been shown.
            for picture in itertools.islice(direction, 1, None):
                yield picture
                count += 1
        if not count:  # a video of one frame
            yield from itertools.repeat(last)


def _with_surroundings(
    watched: Iterable[tuple[np.ndarray, np.ndarray, _Track | None]], reach: int
) -> Iterator[tuple[np.ndarray, np.ndarray, list[_Track | None], int]]:
    """Each frame's picture, mouth and, up to ``reach`` frames before and after, the tracks with its own place in them."""
    tracks: deque[_Track | None] = deque(maxlen=2 * reach + 1)
    waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
    for picture, row, track in watched:
        tracks.append(track)
        waiting.append((picture, row))
        if len(waiting) > reach:
            yield *waiting.popleft(), list(tracks), len(tracks) - 1 - reach
    while waiting:
        at = len(tracks) - len(waiting)
        yield *waiting.popleft(), list(tracks)[max(0, at - reach) :], min(at, reach)


def _same_shot(around: list[_Track | None], at: int) -> tuple[int, int]:
    """The longest run of frames around ``at`` that show the same person without a gap, as start and stop."""
    track = around[at]

    def same(index: int) -> bool:
        other = around[index]
        return other is not None and track is not None and other.shot is track.shot

    start, stop = at, at + 1
    while start > 0 and same(start - 1):
        start -= 1
    while stop < len(around) and same(stop):
        stop += 1
    return start, stop


def _fade(around: list[_Track | None], border: int, at: int) -> float:
    """How much of the new mouth is shown ``at`` so many frames from the border of a run: less near a frame without a face."""
    if not 0 <= border < len(around) or around[border] is not None:
        return 1.0
    return min(1.0, abs(at - border) / (FADE_FRAMES + 1))


def _next_row(rows: Iterator[np.ndarray], last: np.ndarray, shut: np.ndarray, fps: float) -> np.ndarray:
    """The next mouth; where there is none any more, the last one closes."""
    row = next(rows, None)
    if row is not None:
        return _checked(row, shut)
    return shut + (last - shut) * np.exp(-3 / (CLOSING * fps))


def _checked(row: np.ndarray, like: np.ndarray) -> np.ndarray:
    row = np.asarray(row, np.float64)
    if row.shape != like.shape or not np.isfinite(row).all():
        raise MotionError(f"A mouth must be {len(like)} finite coefficients a frame, not an array of {row.shape}.")
    return row


def _near(one: Square, other: Square) -> bool:
    across = abs(one.left + one.side / 2 - other.left - other.side / 2)
    down = abs(one.top + one.side / 2 - other.top - other.side / 2)
    return max(across, down, abs(one.side - other.side)) <= CROP_TOLERANCE * other.side


def _blended(plan: _Planned, painted: np.ndarray) -> np.ndarray:
    """``painted`` (H, W, 3) uint8 over the plan's picture, where its mask is above 0."""
    result = plan.picture.copy()
    under, over = (each[plan.box].astype(np.float32) for each in (plan.picture, painted))
    result[plan.box] = (under + plan.mask[..., None] * (over - under) + 0.5).astype(np.uint8)
    return result
