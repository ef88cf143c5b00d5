"""From the driving person's motion to the portrait's: retargeting, regions, edits, and staying inside the crop."""

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

MOTION_SUFFIX = ".safetensors"
MotionLike = Motion | str | os.PathLike[str]
# The face stays within this distance of the crop's middle (IMAGE units; the border is at 1), or the head would be cut off
# at the border. A face at rest reaches to about 0.66.
REACH = 0.80
# The head may come nearer or go back by these factors: nearer, it would fill the crop; farther, it would uncover too much.
MIN_GROWTH, MAX_GROWTH = 0.75, 1.25


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
        relative: whether the driving motion's changes are added to the portrait's own pose and expression, or the driving
            pose and expression are taken as they are. Position and size always start from the portrait's own.
        edit: ARKit blendshape -> value, added to every frame.
        regions: region -> the motion it is taken from. One that is too short holds its last frame; a longer one is cut.
    """

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
        return cls(relative, edit or {}, resampled)


class Retargeter:
    """Makes driving motion the portrait's; takes it whole or in pieces, with the same result.

    The first driving frame is the reference: relative to it, changes are measured.
    """

    def __init__(self, portrait: Portrait, changes: Changes, face_model: FaceModel) -> None:
        self._portrait, self._changes, self._face_model = portrait, changes, face_model
        self._reference: Motion | None = None
        self._regions = {region: self._retarget(other, other[0]) for region, other in changes.regions.items()}
        self._done = 0

    def __call__(self, motion: Motion | None) -> tuple[Motion, torch.Tensor]:
        """The next T frames -> the portrait's motion, and its landmarks (T, 478, 3) in IMAGE coordinates of the crop.

        None is one frame in which the driving person has not been seen yet: the portrait rests.
        """
        if motion is None:
            moved = self._portrait.motion
        else:
            self._reference = self._reference or motion[0]
            moved = self._retarget(motion, self._reference)
        for region, other in self._regions.items():
            moved = moved.replace({region: _held(other, self._done, len(moved), moved.fps)})
        if self._changes.edit:
            moved = moved.edit(self._changes.edit)
        self._done += len(moved)
        return self._keep_inside(moved)

    def _retarget(self, motion: Motion, reference: Motion) -> Motion:
        moved = motion.relative_to(reference, self._portrait.motion)
        if self._changes.relative:
            return moved
        kept = {name: getattr(moved, name) for name in HEAD if name != "rotation"}
        return replace(motion, **kept)

    def _keep_inside(self, motion: Motion) -> tuple[Motion, torch.Tensor]:
        own = self._portrait.motion.scale[0]
        motion = replace(motion, scale=np.clip(motion.scale, MIN_GROWTH * own, MAX_GROWTH * own))
        landmarks = self._face_model.animate(self._portrait.shape, motion)
        # A portrait near its crop's border keeps the place it has.
        rest = torch.from_numpy(self._portrait.landmarks[:, :2])
        low = torch.minimum(rest.amin(0), torch.tensor(-REACH))
        high = torch.maximum(rest.amax(0), torch.tensor(REACH))
        plane = landmarks[..., :2]
        shift = (low - plane.amin(1)).clamp_min(0) - (plane.amax(1) - high).clamp_min(0)
        landmarks = torch.cat((plane + shift[:, None], landmarks[..., 2:]), dim=-1)
        return replace(motion, translation=motion.translation + shift.numpy()), landmarks


def still(portrait: Portrait, frames: int, fps: float) -> Motion:
    """The portrait as it is, for so many frames."""
    return Motion.concatenate([replace(portrait.motion, fps=fps)] * frames)


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
