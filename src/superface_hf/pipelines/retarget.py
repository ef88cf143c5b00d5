"""From the driving person's motion to the portrait's: retargeting, regions and edits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..drivers.bundled import bundled_motion
from ..errors import MotionError
from ..face_model.linear import FaceModel
from ..motion import HEAD, Motion
from .portrait import Portrait
from .portrait_mouth import PortraitMouth

MOTION_SUFFIX = ".safetensors"
MotionLike = Motion | str | os.PathLike[str]
# The head may come nearer or go back by these factors: nearer, the picture's pixels would show; farther, the body would not
# belong to the head.
MIN_GROWTH, MAX_GROWTH = 0.75, 1.5
# A blink is more than this share of a shut eye; less is an expression, and may be noise.
SHUTTING = 0.3


def as_motion(motion: MotionLike) -> Motion:
    """A motion as it is, from a .safetensors file, or a bundled one by its name.

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
    """What the caller wants changed, checked and at the clip's frame rate.

    Attributes:
        fps: the clip's frame rate.
        relative: whether the driving motion's changes are added to the portrait's own pose and expression, or the driving
            pose and expression are taken as they are. Position and size always start from the portrait's own.
        edit: ARKit blendshape -> value, added to every frame.
        regions: region -> the motion it is taken from. One that is too short holds its last frame; a longer one is cut.
    """

    fps: float
    relative: bool
    edit: Mapping[str, float]
    regions: Mapping[str, Motion]

    @classmethod
    def checked(
        cls, relative: bool, edit: Mapping[str, float] | None, regions: Mapping[str, MotionLike] | None, fps: float
    ) -> Changes:
        """Raises UnknownNameError or MotionError now, before anything is rendered."""
        probe = Motion.neutral(1, fps)
        probe.edit(edit or {})
        others = {region: as_motion(other) for region, other in (regions or {}).items()}
        probe.replace({region: other[0] for region, other in others.items()})
        resampled = {name: other if other.fps == fps else other.resample(fps) for name, other in others.items()}
        return cls(fps, relative, edit or {}, resampled)


class Retargeter:
    """Makes driving motion the portrait's; takes it whole or in pieces, with the same result.

    The first driving frame is the reference: relative to it, changes are measured.
    """

    def __init__(self, portrait: Portrait, changes: Changes, face_model: FaceModel) -> None:
        self._portrait, self._changes, self._face_model = portrait, changes, face_model
        self._reference: Motion | None = None
        self._regions = {region: self._retarget(other, other[0]) for region, other in changes.regions.items()}
        self._spoken = PortraitMouth(portrait.shape, portrait.motion.mouth[0], face_model)
        self._done = 0

    def __call__(self, motion: Motion | None, mouth: np.ndarray | None = None) -> tuple[Motion, torch.Tensor]:
        """The next T frames -> the portrait's motion, and its landmarks (T, 478, 3) in IMAGE coordinates of the crop.

        Args:
            motion: T frames. None is one frame in which the driving person has not been seen yet: the portrait rests.
            mouth: (T, M) of speech, instead of the motion's. It is taken as it is, whatever ``changes.relative`` says: added
                to a portrait's smile, it could never shut.
        """
        if motion is None:
            moved = replace(self._portrait.motion, fps=self._changes.fps)
        else:
            self._reference = self._reference or motion[0]
            moved = self._retarget(motion, self._reference)
        if mouth is not None:
            moved = replace(moved, mouth=self._spoken(mouth))
        for region, other in self._regions.items():
            moved = moved.replace({region: _held(other, self._done, len(moved), moved.fps)})
        if self._changes.edit:
            moved = moved.edit(self._changes.edit)
        self._done += len(moved)
        return self._placed(moved)

    def _retarget(self, motion: Motion, reference: Motion) -> Motion:
        moved = motion.relative_to(reference, self._portrait.motion)
        if self._changes.relative:
            shut = _how_shut(motion.eyes)
            return replace(moved, eyes=moved.eyes + shut * (motion.eyes - moved.eyes))
        kept = {name: getattr(moved, name) for name in HEAD if name != "rotation"}
        return replace(motion, **kept)

    def _placed(self, motion: Motion) -> tuple[Motion, torch.Tensor]:
        own = self._portrait.motion.scale[0]
        motion = replace(motion, scale=np.clip(motion.scale, MIN_GROWTH * own, MAX_GROWTH * own))
        return motion, self._face_model.animate(self._portrait.shape, motion)


def on_portrait(
    motion: Motion, portrait: Portrait, face_model: FaceModel, mouth: np.ndarray | None = None
) -> tuple[Motion, torch.Tensor]:
    """A whole motion on a portrait as the pipeline renders it unasked: relative, unchanged. As :class:`Retargeter` gives it."""
    changes = Changes.checked(True, None, None, motion.fps)
    return Retargeter(portrait, changes, face_model)(motion, mouth)


def _how_shut(eyes: np.ndarray) -> np.ndarray:
    """(T, E) -> (T, E) in [0, 1], the same for all coefficients of an eye.

    An eye that shuts is taken as it is: on a portrait with narrow or wide eyes, its change alone would shut them too far or
    not quite.
    """
    lids = Motion.neutral(1, 1.0).edit({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}).eyes.reshape(2, -1)
    scores = (eyes.reshape(len(eyes), 2, -1) * lids).sum(-1) / (lids**2).sum(-1)
    x = np.clip((scores - SHUTTING) / (1 - SHUTTING), 0, 1)
    return np.repeat(x * x * (3 - 2 * x), lids.shape[1], axis=1)


def resampled(motions: Iterable[Motion | None], fps: float, to: float) -> Iterator[Motion | None]:
    """Brings single frames to another rate as they come, as ``Motion.resample`` does for a whole motion."""
    if fps == to:
        yield from motions
        return
    step, emitted, count = fps / to, 0, 0
    previous: Motion | None = None
    for count, motion in enumerate(motions, start=1):
        while count > 1 and emitted * step <= count - 1:
            share = emitted * step - (count - 2)
            between = previous.blend(motion, share) if previous and motion else previous or motion
            yield between and replace(between, fps=to)
            emitted += 1
        previous = motion
    for _ in range(emitted, max(1, round(count / step)) if count else 0):
        yield previous and replace(previous, fps=to)


def _held(motion: Motion, start: int, frames: int, fps: float) -> Motion:
    """``frames`` frames from ``start``, the last one held beyond the end."""
    part = motion[start : start + frames] if start < len(motion) else motion[-1]
    missing = frames - len(part)
    joined = Motion.concatenate([part, *[motion[-1]] * missing]) if missing else part
    return replace(joined, fps=fps)
