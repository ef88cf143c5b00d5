"""Dub a video: replace the mouth of a person, and keep everything else.

Every frame is its own source: its face is cut out, only the landmarks of the mouth move, and only the region around the
mouth is pasted back from the teacher's rendering. Frames are processed one by one, a few of them held until the next
ones come, so memory does not grow with length.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from transformers.utils import logging

from ..animation.doubts import doubts_about
from ..animation.drawn_eyes import fit_drawn_eyes
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
from ..renderers.memory import return_freed_memory
from ..renderers.teacher import TeacherRenderer
from .shots import Shot, Track, fade_in, same_shot, with_surroundings

if TYPE_CHECKING:
    from ..models.matte.modeling_matte import SuperFaceMatteModel
    from ..models.teacher.modeling_teacher import SuperFaceTeacherModel
    from ..models.tracker.base import Face, FaceTracker

logger = logging.get_logger(__name__)

# How far smoothing looks to either side in time to separate movement from jitter, in seconds and at most in frames.
LOOK_AHEAD, MOST_AHEAD = 0.4, 12  # seconds, frames
# After the last word the lips close within this time.
CLOSING = 0.2  # seconds
# After so many batches free memory goes back to the system.
TRIM_BATCHES = 50


@dataclass(frozen=True, eq=False)
class DubbedFrame:
    """One frame of a dubbed video.

    Attributes:
        picture: (H, W, 3) uint8.
        motion: one frame, IMAGE coordinates of the smallest square around the picture: the person's own head, eyes and
            brows, and the new mouth. None where no face was found: the picture is unchanged.
        box: rows and columns of the painted part; empty where no face was found. Pixels outside are unchanged.
        mask: (h, w) float32 in [0, 1], how much of each pixel of ``box`` was painted; pixels with 0 are unchanged.
    """

    picture: np.ndarray
    motion: Motion | None = None
    box: tuple[slice, slice] = (slice(0, 0), slice(0, 0))
    mask: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Planned:
    """A frame with a face, and everything that its rendering needs.

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
    """Replaces the mouth of the person in a video.

    Args:
        renderer: renders the mouths: a teacher, or another renderer that takes each frame as its source.
        tracker, face_model, matte: see :class:`~superface_hf.TalkingFacePipeline`.
        face: "largest", "only" or an index, decided in the first frame that shows a face, and followed from there; after a
            cut, "only" and an index follow the same person, or none.
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
        """Yield the dubbed frames one by one, at ``video.fps``, in constant memory.

        Args:
            video: read as often as needed.
            mouth: the mouth coefficients (30,) of each frame: an array (T, 30), or a generator of any length.
            when_short: what happens if the video ends before the mouth: it plays backward and forward again ("bounce"), its
                last frame is held and keeps talking ("hold"), or everything ends with the video ("stop"). A mouth that
                ends before the video closes, and the video plays to its end.

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
        watched = with_surroundings(self._watched(video, mouth, when_short), reach)
        for number in itertools.count(1):
            batch = list(itertools.islice(watched, self._batch_size))
            if not batch:
                return
            if number % TRIM_BATCHES == 0:
                return_freed_memory()
            plans = [self._planned(*each, video.fps) for each in batch]
            rendered = self._rendered([plan for plan in plans if plan is not None])
            yield from (
                DubbedFrame(each[0]) if plan is None else next(rendered)
                for each, plan in zip(batch, plans, strict=True)
            )

    def _watched(
        self, video: VideoReader, mouth: Iterable[np.ndarray], when_short: WhenShort
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Track | None]]:
        """Yield each frame with the mouth to show, and the face in it."""
        waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
        shot: Shot | None = None

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
                if shot is None:
                    self._warn(picture, face)
                if shot is None or sighting.shot != number:
                    shot, number = Shot(Person(self._face_model)), sighting.shot
                landmarks = Square.around_picture(*picture.shape[:2]).to_image(face.landmarks)
                shot.person.add(landmarks)
                track = Track(face.landmarks, landmarks, shot)
            yield picture, row, track

    def _warn(self, picture: np.ndarray, face: Face) -> None:
        """Say, as of a portrait, if the first face that is dubbed may be no person's."""
        drawn = fit_drawn_eyes(picture, face.landmarks) is not None
        if doubt := doubts_about(picture, face, self._tracker, drawn):
            logger.warning(doubt)

    def _planned(
        self, picture: np.ndarray, mouth: np.ndarray, around: list[Track | None], at: int, fps: float
    ) -> _Planned | None:
        """Return how the frame ``around[at]`` is rendered, or None where it shows no face."""
        track = around[at]
        if track is None:
            return None
        start, stop = same_shot(around, at)
        tracks = [each for each in around[start:stop] if each is not None]
        motion = self._face_model.fit_frames(track.shot.person.shape, np.stack([t.landmarks for t in tracks]), fps)
        motion = motion.smooth()[at - start]
        strength = min(fade_in(around, start - 1, at), fade_in(around, stop, at))
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
        """Return the matte (1, S, S) of a crop (S, S, 3) uint8."""
        points = Square(0, 0, len(crop)).to_pixels(plan.before)
        return torch.from_numpy(cut_out_person(crop, points, self._matte))[None]


def _replayed(video: VideoReader, last: np.ndarray, when_short: WhenShort) -> Iterator[np.ndarray]:
    """Yield the frames after the video's last one, without end."""
    if when_short == "hold":
        yield from itertools.repeat(last)
    while True:
        count = 0
        for direction in (video.backwards(), video):
            # The frame at the turning point is not repeated.
            for picture in itertools.islice(direction, 1, None):
                yield picture
                count += 1
        if not count:  # a video of one frame
            yield from itertools.repeat(last)


def _next_row(rows: Iterator[np.ndarray], last: np.ndarray, shut: np.ndarray, fps: float) -> np.ndarray:
    """Return the next mouth; after the last one, the mouth closes step by step."""
    row = next(rows, None)
    if row is not None:
        return _checked(row, shut)
    return shut + (last - shut) * np.exp(-3 / (CLOSING * fps))


def _checked(row: np.ndarray, like: np.ndarray) -> np.ndarray:
    row = np.asarray(row, np.float64)
    if row.shape != like.shape or not np.isfinite(row).all():
        raise MotionError(f"A mouth must be {len(like)} finite coefficients a frame, not an array of {row.shape}.")
    return row


def _blended(plan: _Planned, painted: np.ndarray) -> np.ndarray:
    """Blend ``painted`` (H, W, 3) uint8 over the plan's picture, by the plan's mask."""
    result = plan.picture.copy()
    under, over = (each[plan.box].astype(np.float32) for each in (plan.picture, painted))
    result[plan.box] = (under + plan.mask[..., None] * (over - under) + 0.5).astype(np.uint8)
    return result
