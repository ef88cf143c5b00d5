"""Retarget the driving person's motion to the portrait, with regions and edits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..errors import MotionError, UnknownNameError
from ..face_model import topology
from ..face_model.emphasis import ShownFaceModel, how_shut
from ..face_model.linear import FaceModel, FaceShape
from ..face_model.lips import CLOSED, mouth_opening
from ..face_model.topology import lid_gap
from ..motion import Motion
from ..motion.bundled import bundled_motion
from ..motion.regions import HEAD
from ..utils.easing import smoothstep
from .drawn_eyes import move_drawn_eyes
from .portrait import Portrait
from .portrait_mouth import PortraitMouth
from .rest import Rest, calmest

MOTION_SUFFIX = ".safetensors"
MotionLike = Motion | str | os.PathLike[str]
Relative = bool | Literal["auto"]
# Limits of the head's growth. Larger, the picture's pixels would show; smaller, the body would not fit the head.
MIN_GROWTH, MAX_GROWTH = 0.75, 1.5
# Eyes open by less than the first share of a usual opening count as shut, and are opened to the second, by at most so
# many blinks.
ASLEEP, AWAKE, MOST_LIFT = 0.4, 0.85, 3.0
# A mouth whose coefficients change by no more than this (standard deviations) is left alone.
LIPS_MOVE = 1e-3
# A mouth this far (root mean square of its coefficients) from its rest pose moves fully.
LIPS_AWAY = 0.2


def as_motion(motion: MotionLike) -> Motion:
    """Return a motion: the given one, the one in a .safetensors file, or a bundled one by its name.

    Raises:
        MediaError: the file cannot be read.
        UnknownNameError: no bundled motion has this name.
        MotionError: the argument is something else.
    """
    if isinstance(motion, Motion):
        return motion
    if isinstance(motion, (str, os.PathLike)):
        path = Path(motion)
        if path.suffix == MOTION_SUFFIX or len(path.parts) > 1:
            return Motion.load(path)
        return bundled_motion(str(motion))
    raise MotionError(
        f"A motion must be a Motion, a {MOTION_SUFFIX} file or the name of a bundled one, not {type(motion).__name__}."
    )


@dataclass(frozen=True, eq=False)
class Changes:
    """The changes that a caller asks for, checked and at the clip's frame rate.

    Attributes:
        fps: the clip's frame rate.
        relative: how the driving motion is applied. "auto": the changes of head, eyes and brows from the driver's rest
            are added to the portrait's own, and the lips are taken as they are. True: all changes since the first frame
            are added. False: the driving pose and expression are taken as they are. Position and size always start from
            the portrait's own.
        edit: ARKit blendshape -> value, added to every frame.
        regions: region -> the motion it is taken from. A motion that is too short holds its last frame; a longer one is cut.
    """

    fps: float
    relative: Relative
    edit: Mapping[str, float]
    regions: Mapping[str, Motion]

    @classmethod
    def checked(
        cls, relative: Relative, edit: Mapping[str, float] | None, regions: Mapping[str, MotionLike] | None, fps: float
    ) -> Changes:
        """Check the arguments now, before anything is rendered."""
        if relative != "auto" and not isinstance(relative, (bool, np.bool_)):
            raise UnknownNameError(f'relative must be "auto", True or False, not {relative!r}.')
        probe = Motion.neutral(1, fps)
        probe.edit(edit or {})
        others = {region: as_motion(other) for region, other in (regions or {}).items()}
        probe.replace({region: other[0] for region, other in others.items()})
        resampled = {name: other if other.fps == fps else other.resample(fps) for name, other in others.items()}
        return cls(fps, relative, edit or {}, resampled)


class Retargeter:
    """Turns driving motion into the portrait's motion. Motion may come whole or in pieces, with the same result.

    Changes are measured from the driver's rest where ``changes.relative`` is "auto" and rest is known, and otherwise from the
    first driving frame.
    """

    def __init__(self, portrait: Portrait, changes: Changes, face_model: FaceModel) -> None:
        self._portrait, self._changes = portrait, changes
        self._shown, self._shape = shown(portrait, face_model)
        self._spoken = PortraitMouth(portrait.shape, portrait.motion.mouth[0], face_model)
        self._awake = awake(portrait, face_model) if changes.relative == "auto" else portrait.motion
        self._first: Motion | None = None
        self._regions = {
            region: self._retarget(other, other[0], rest_of(other)) for region, other in changes.regions.items()
        }
        self._done = 0

    def __call__(
        self, motion: Motion | None, mouth: np.ndarray | None = None, rest: Rest | None = None
    ) -> tuple[Motion, torch.Tensor]:
        """Return the portrait's motion for the next T frames, and its landmarks (T, 478, 3) in IMAGE coordinates of the crop.

        Args:
            motion: T frames. None is one frame before the driving person has been seen: the portrait rests.
            mouth: (T, M) the mouth of speech, instead of the motion's. It is always taken absolutely: added to a portrait's
                smile, it could not shut.
            rest: the rest pose of the driving person, for "auto".
        """
        if motion is None:
            moved = replace(self._portrait.motion, fps=self._changes.fps)
        else:
            self._first = self._first or motion[0]
            moved = self._retarget(motion, self._first, rest)
        if mouth is not None:
            moved = replace(moved, mouth=self._spoken(mouth))
        for region, other in self._regions.items():
            moved = moved.replace({region: _held(other, self._done, len(moved), moved.fps)})
        if self._changes.edit:
            moved = moved.edit(self._changes.edit)
        self._done += len(moved)
        return self._placed(moved)

    def _retarget(self, motion: Motion, first: Motion, rest: Rest | None) -> Motion:
        if self._changes.relative == "auto":
            return self._from_rest(motion, rest or Rest(first, lips=False))
        moved = motion.relative_to(first, self._portrait.motion)
        if self._changes.relative:
            return _shutting(moved, motion)
        kept = {name: getattr(moved, name) for name in HEAD if name != "rotation"}
        return replace(motion, **kept)

    def _from_rest(self, motion: Motion, rest: Rest) -> Motion:
        if rest.still:
            head: dict[str, Any] = {name: np.repeat(getattr(self._awake, name), len(motion), axis=0) for name in HEAD}
            return replace(motion, **head, mouth=self._spoken(motion.mouth))
        moved = _shutting(motion.relative_to(rest.motion, self._awake), motion)
        return replace(moved, mouth=self._lips(motion.mouth, moved.mouth, rest)) if rest.lips else moved

    def _lips(self, mouth: np.ndarray, changed: np.ndarray, rest: Rest) -> np.ndarray:
        """Return the driver's mouth (T, M) on the portrait, absolute; where both mouths rest shut, the portrait keeps
        its own.

        Args:
            mouth: (T, M) the driver's.
            changed: (T, M) the portrait's mouth if only the driver's changes were added.
            rest: the rest pose of the driving person.
        """
        spoken = self._spoken(mouth)
        if max(self._spoken.own_gap, mouth_opening(rest.motion.mouth).item()) > 2 * CLOSED:
            return spoken
        away = np.sqrt(np.square(mouth - rest.motion.mouth).mean(1, keepdims=True)) / LIPS_AWAY
        return changed + smoothstep(away) * (spoken - changed)

    def _placed(self, motion: Motion) -> tuple[Motion, torch.Tensor]:
        own = self._portrait.motion.scale[0]
        motion = replace(motion, scale=np.clip(motion.scale, MIN_GROWTH * own, MAX_GROWTH * own))
        if self._portrait.drawn_eyes:
            return motion, torch.from_numpy(move_drawn_eyes(self._shape, motion, self._shown))
        return motion, self._shown.animate(self._shape, motion)


def shown(portrait: Portrait, face_model: FaceModel) -> tuple[ShownFaceModel, FaceShape]:
    """Return the model whose meshes move a portrait, and the neutral face with which the portrait's own motion gives
    exactly these landmarks."""
    model = ShownFaceModel(face_model)
    return model, model.neutral_shape(portrait.landmarks, portrait.motion)


def on_portrait(
    motion: Motion, portrait: Portrait, face_model: FaceModel, mouth: np.ndarray | None = None
) -> tuple[Motion, torch.Tensor]:
    """Return a whole motion on a portrait, as :class:`Retargeter` does: its changes since the first frame are added to
    the portrait's own pose."""
    changes = Changes.checked(True, None, None, motion.fps)
    return Retargeter(portrait, changes, face_model)(motion, mouth)


def rest_of(motion: Motion, tracked: bool = False) -> Rest:
    """Return the rest pose of a whole motion.

    Args:
        tracked: whether the motion was tracked from a person. A hand-made motion without mouth movement keeps the portrait's
            own mouth.
    """
    return Rest(calmest(motion), lips=tracked or bool(np.ptp(motion.mouth, axis=0).max() > LIPS_MOVE))


def awake(portrait: Portrait, face_model: FaceModel) -> Motion:
    """Return a portrait's motion (1 frame) with its eyes open: what opens and shuts from there would never open shut ones."""
    own = portrait.motion
    level = replace(own, rotation=np.zeros((1, 3)), translation=np.zeros((1, 2)), scale=np.ones(1))
    blink = Motion.neutral(1, own.fps).edit({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}).eyes
    mean = face_model.mean[None].numpy()
    eyes = own.eyes.copy()
    for eye, lids in enumerate((topology.LEFT_LIDS, topology.RIGHT_LIDS)):
        half = slice(eye * eyes.shape[1] // 2, (eye + 1) * eyes.shape[1] // 2)

        def opening(lift: float, half: slice = half, lids: tuple[tuple[int, int], ...] = lids) -> float:
            tried = own.eyes.copy()
            tried[:, half] -= lift * blink[:, half]
            points = face_model.animate(portrait.shape, replace(level, eyes=tried)).numpy()
            return float((lid_gap(points, lids) / lid_gap(mean, lids))[0])

        if opening(0.0) < ASLEEP:
            low, high = 0.0, MOST_LIFT
            for _ in range(12):
                middle = (low + high) / 2
                low, high = (middle, high) if opening(middle) < AWAKE else (low, middle)
            eyes[:, half] -= high * blink[:, half]
    return replace(own, eyes=eyes)


def _shutting(moved: Motion, driving: Motion) -> Motion:
    """Return the motion with eyes that shut as the driver's do: a shutting eye is taken absolutely. Its change alone would shut
    a portrait's narrow eyes too far, and wide ones not completely."""
    shut = how_shut(driving.eyes)
    return replace(moved, eyes=moved.eyes + shut * (driving.eyes - moved.eyes))


def resampled(
    motions: Iterable[Motion | None], fps: float, to: float, cut: Callable[[], bool] = lambda: False
) -> Iterator[Motion | None]:
    """Resample single frames to another rate as they come, as ``Motion.resample`` does for a whole motion.

    ``cut`` returns whether the newest frame begins a shot; then nothing is interpolated between it and the frame before.
    """
    if fps == to:
        yield from motions
        return
    step, emitted, count = fps / to, 0, 0
    previous: Motion | None = None
    for count, motion in enumerate(motions, start=1):
        while count > 1 and emitted * step <= count - 1:
            share = emitted * step - (count - 2)
            if cut():
                between = motion if share >= 1 else previous or motion
            else:
                between = previous.blend(motion, share) if previous and motion else previous or motion
            yield between and replace(between, fps=to)
            emitted += 1
        previous = motion
    for _ in range(emitted, max(1, round(count / step)) if count else 0):
        yield previous and replace(previous, fps=to)


def _held(motion: Motion, start: int, frames: int, fps: float) -> Motion:
    """Return ``frames`` frames from ``start``; the last frame is held beyond the end."""
    part = motion[start : start + frames] if start < len(motion) else motion[-1]
    missing = frames - len(part)
    joined = Motion.concatenate([part, *[motion[-1]] * missing]) if missing else part
    return replace(joined, fps=fps)
