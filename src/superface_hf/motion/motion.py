"""``Motion``: what a face does over time, without the identity of the face."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import MotionError
from .arkit import ARKIT_NAMES, EXPRESSION_REGIONS, ArkitMaps, arkit_index
from .regions import ARRAYS, HEAD, REGIONS, arrays_of, checked_regions
from .rotations import mean_rotation, rotation_matrix, rotation_vector, slerp
from .smoothing import one_euro
from .storage import load_arrays, save_arrays

# The change of a quick movement in one second, in each array's unit. Divided by it, all arrays have comparable speeds.
TYPICAL_RANGE = {"rotation": 0.1, "translation": 0.1, "scale": 0.1, "mouth": 1.0, "eyes": 1.0, "brows": 1.0,
                 "gaze": 0.2}  # fmt: skip
EDIT_RANGE = (-1.0, 2.0)
# Frame rates of a motion. A rate beyond them is a mistake, and resampling to it could fill the memory.
FPS_RANGE = (0.1, 1000.0)


@dataclass(frozen=True, eq=False)
class Motion:
    """A face's motion over T frames. Immutable: every method returns a new one, and the arrays are read-only.

    Attributes:
        rotation: (T, 3) rotation vectors in radians, from the canonical face to the picture.
        translation: (T, 2) IMAGE units (the picture's edges are at -1 and 1; x right, y down).
        scale: (T,) IMAGE units per canonical unit (an inter-ocular distance), above zero.
        mouth: (T, M) standard deviations; zero is the neutral face, here and below.
        eyes: (T, E) standard deviations, the person's left eye first.
        brows: (T, B) standard deviations, the person's left brow first.
        gaze: (T, G) radians: left eye right and down, right eye right and down, as seen in the picture.
        fps: frames per second.

    Raises:
        MotionError: shapes do not agree, a value is NaN or infinite, a scale or ``fps`` is not above zero.
    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: np.ndarray
    mouth: np.ndarray
    eyes: np.ndarray
    brows: np.ndarray
    gaze: np.ndarray
    fps: float

    def __post_init__(self) -> None:
        widths = {"rotation": (3,), "translation": (2,), "scale": ()}
        for name in ARRAYS:
            array = _frozen(getattr(self, name), name)
            width = widths.get(name, array.shape[1:] if array.ndim == 2 else None)
            if array.ndim == 0 or array.shape[1:] != width or len(array) != len(np.atleast_1d(self.rotation)):
                raise MotionError(
                    f"Motion.{name} has the shape {array.shape}, which does not fit {len(np.atleast_1d(self.rotation))} "
                    "frames: every array needs one row a frame."
                )
            object.__setattr__(self, name, array)
        if len(self.rotation) == 0:
            raise MotionError("A motion needs at least one frame.")
        if not (self.scale > 0).all():
            raise MotionError("Motion.scale must be above zero in every frame.")
        check_fps(self.fps)
        object.__setattr__(self, "fps", float(self.fps))

    @classmethod
    def neutral(cls, frames: int, fps: float) -> Motion:
        """Return a neutral face looking straight ahead for ``frames`` frames: no translation, a scale of 1."""
        if frames < 1:
            raise MotionError(f"A motion needs at least one frame, not {frames}.")
        sizes = ArkitMaps.default().sizes
        zeros = {region: np.zeros((frames, sizes[region])) for region in EXPRESSION_REGIONS}
        return cls(np.zeros((frames, 3)), np.zeros((frames, 2)), np.ones(frames), **zeros, fps=fps)

    def __len__(self) -> int:
        return len(self.rotation)

    @property
    def seconds(self) -> float:
        """The duration."""
        return len(self) / self.fps

    def __getitem__(self, index: int | slice) -> Motion:
        """Return one frame (a motion of length 1) or a slice."""
        if not isinstance(index, slice):
            position = range(len(self))[index]
            index = slice(position, position + 1)
        return self._map(lambda array: array[index])

    @staticmethod
    def concatenate(motions: Sequence[Motion]) -> Motion:
        """Return the motions one after the other. All must have the same fps and the same coefficients."""
        if not motions:
            raise MotionError("There is no motion to concatenate.")
        first = motions[0]
        for other in motions[1:]:
            first._check_same_kind(other)
        joined: dict[str, Any] = {name: np.concatenate([getattr(m, name) for m in motions]) for name in ARRAYS}
        return replace(first, **joined)

    def resample(self, fps: float) -> Motion:
        """Return the same motion at another frame rate, with the same duration; rotations are interpolated as rotations
        (slerp)."""
        check_fps(fps)
        frames = max(1, round(len(self) * fps / self.fps))
        position = np.minimum(np.arange(frames) * (self.fps / fps), len(self) - 1)
        before = position.astype(int)
        after = np.minimum(before + 1, len(self) - 1)
        weight = position - before
        resampled = self._map(lambda a: a[before] + (a[after] - a[before]) * weight.reshape(-1, *[1] * (a.ndim - 1)))
        rotation = slerp(self.rotation[before], self.rotation[after], weight)
        return replace(resampled, rotation=rotation, fps=fps)

    def smooth(self, min_cutoff: float = 1.0, beta: float = 0.5) -> Motion:
        """Remove jitter and keep quick movements, without delay (a one-euro filter run forward and backward).

        Args:
            min_cutoff: Hz, the frequency above which a face at rest is smoothed; lower is calmer.
            beta: how much the cutoff rises with speed; higher keeps blinks and lip closures sharper.
        """
        if not (min_cutoff > 0 and beta >= 0):
            raise MotionError(f"smooth needs min_cutoff > 0 and beta >= 0, not {min_cutoff} and {beta}.")
        if len(self) < 3:
            return self
        middle = rotation_matrix(mean_rotation(self.rotation))
        around = rotation_vector(middle.T @ rotation_matrix(self.rotation))
        head_unit = TYPICAL_RANGE["scale"] * float(np.median(self.scale))
        units = {**TYPICAL_RANGE, "translation": head_unit, "scale": head_unit}
        signals = {name: (around if name == "rotation" else getattr(self, name)) for name in ARRAYS}
        smoothed: dict[str, Any] = {}
        for name, signal in signals.items():
            rows = signal.reshape(len(self), -1).astype(np.float64) / units[name]
            filtered = one_euro(rows, self.fps, min_cutoff, beta) * units[name]
            smoothed[name] = filtered.reshape(signal.shape)
        smoothed["rotation"] = rotation_vector(middle @ rotation_matrix(smoothed["rotation"]))
        return replace(self, **smoothed)

    def mask(self, regions: Iterable[str]) -> Motion:
        """Put regions to rest: expressions become neutral, the head stays as it is in the first frame."""
        changes: dict[str, Any] = {}
        for region in checked_regions(regions):
            if region == "head":
                changes |= {name: np.repeat(getattr(self, name)[:1], len(self), axis=0) for name in HEAD}
            else:
                changes[region] = np.zeros_like(getattr(self, region))
        return replace(self, **changes)

    def replace(self, regions: Mapping[str, Motion]) -> Motion:
        """Take each named region from another motion, which has the same fps and length, or one frame that is held.

        ``motion.replace({"mouth": other})`` keeps everything of ``motion`` but its mouth.
        """
        changes: dict[str, Any] = {}
        for region, other in zip(checked_regions(regions), regions.values(), strict=True):
            other = self._matched(other)
            changes |= {name: getattr(other, name) for name in arrays_of(region)}
        return replace(self, **changes)

    def blend(self, other: Motion, weight: float, regions: Iterable[str] = REGIONS) -> Motion:
        """Interpolate linearly toward ``other`` in the named regions: ``weight`` 0 is this motion, 1 is ``other``."""
        if not np.isfinite(weight):
            raise MotionError(f"The weight of a blend must be finite, not {weight}.")
        other = self._matched(other)
        changes: dict[str, Any] = {}
        for region in checked_regions(regions):
            for name in arrays_of(region):
                mine, theirs = getattr(self, name), getattr(other, name)
                changes[name] = mine + weight * (theirs - mine)
            if region == "head":
                changes["rotation"] = slerp(self.rotation, other.rotation, np.full(len(self), weight))
        return replace(self, **changes)

    def relative_to(self, reference: Motion, source: Motion) -> Motion:
        """Retarget: start from ``source`` and add the changes of this motion against ``reference``.

        Args:
            reference: one frame of this motion's own person, the starting point (often ``self[0]``).
            source: one frame of the person who is to move.

        Turns are added in the head's own frame: a nod stays a nod on a tilted head. Translations are brought to the
        source's size, and scales multiply.
        """
        for name, frame in (("reference", reference), ("source", source)):
            if len(frame) != 1:
                raise MotionError(f"`{name}` must be one frame, not {len(frame)}: pass {name}[0].")
            self._check_same_kind(frame, same_fps=False)
        turn = np.swapaxes(rotation_matrix(reference.rotation), -1, -2) @ rotation_matrix(self.rotation)
        growth = source.scale / reference.scale
        changes = {region: getattr(source, region) + getattr(self, region) - getattr(reference, region)
                   for region in EXPRESSION_REGIONS}  # fmt: skip
        return replace(
            self,
            rotation=rotation_vector(rotation_matrix(source.rotation) @ turn),
            translation=source.translation + (self.translation - reference.translation) * growth[:, None],
            scale=self.scale * growth,
            **changes,
        )

    def to_arkit(self) -> np.ndarray:
        """Return ARKit blendshape scores (T, 52) in [0, 1], in the order of ``motion.arkit.ARKIT_NAMES``."""
        maps = ArkitMaps.default().to_scores
        self._check_same_kind(Motion.neutral(1, self.fps))
        scores = sum(getattr(self, region) @ maps[region] for region in EXPRESSION_REGIONS)
        return np.clip(scores, 0, 1).astype(np.float32)

    @classmethod
    def from_arkit(cls, scores: np.ndarray, fps: float) -> Motion:
        """Return the motion of ARKit blendshape scores (T, 52), usually in [0, 1]; the head looks straight ahead."""
        scores = np.asarray(scores, np.float32)
        if scores.ndim != 2 or scores.shape[1] != len(ARKIT_NAMES):
            raise MotionError(f"ARKit scores must have the shape (frames, {len(ARKIT_NAMES)}), not {scores.shape}.")
        maps = ArkitMaps.default().from_scores
        return replace(
            cls.neutral(len(scores), fps), **{region: scores @ maps[region] for region in EXPRESSION_REGIONS}
        )

    def edit(self, blendshapes: Mapping[str, float]) -> Motion:
        """Add blendshapes to every frame: ``motion.edit({"jawOpen": 0.4, "eyeBlinkLeft": 1.0})``.

        Values are usually in [0, 1]; from -1 to 2 is allowed, so that an expression can be taken back or overdone.

        Raises:
            UnknownNameError: a name that is no ARKit blendshape.
            MotionError: a value that is not finite or outside [-1, 2].
        """
        scores = np.zeros((1, len(ARKIT_NAMES)), np.float32)
        for name, value in blendshapes.items():
            slot = arkit_index(name)
            if not (np.isfinite(value) and EDIT_RANGE[0] <= value <= EDIT_RANGE[1]):
                raise MotionError(f"{name}={value} is out of range: values go from {EDIT_RANGE[0]} to {EDIT_RANGE[1]}.")
            scores[0, slot] = value
        change = Motion.from_arkit(scores, self.fps)
        self._check_same_kind(change)
        return replace(self, **{name: getattr(self, name) + getattr(change, name) for name in EXPRESSION_REGIONS})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file (to a temporary name first, so that no half-written file remains)."""
        save_arrays(path, {name: getattr(self, name) for name in ARRAYS}, self.fps)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Motion:
        """Read what :meth:`save` wrote.

        Raises:
            MediaError: the file is missing, or is no safetensors file.
            MotionError: the file holds no motion.
        """
        arrays, fps = load_arrays(path, ARRAYS)
        return cls(**arrays, fps=fps)

    def _map(self, function: Callable[[np.ndarray], np.ndarray]) -> Motion:
        changed: dict[str, Any] = {name: function(getattr(self, name)) for name in ARRAYS}
        return replace(self, **changed)

    def _check_same_kind(self, other: Motion, same_fps: bool = True) -> None:
        if same_fps and abs(other.fps - self.fps) > 1e-3:
            raise MotionError(
                f"One motion has {self.fps} fps, the other {other.fps}: call .resample({self.fps}) on it."
            )
        for name in EXPRESSION_REGIONS:
            mine, theirs = getattr(self, name).shape[1], getattr(other, name).shape[1]
            if mine != theirs:
                raise MotionError(
                    f"The motions have {mine} and {theirs} {name} coefficients: two different face models."
                )

    def _matched(self, other: Motion) -> Motion:
        """Return ``other`` with as many frames as this motion; a single frame is repeated."""
        self._check_same_kind(other, same_fps=len(other) > 1)
        if len(other) not in (1, len(self)):
            raise MotionError(f"One motion has {len(self)} frames, the other {len(other)}: slice the longer one.")
        if len(other) == len(self):
            return other
        return other._map(lambda array: np.repeat(array, len(self), axis=0))


def check_fps(fps: float) -> None:
    """Raise MotionError if ``fps`` is no usable frame rate."""
    if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:  # refuses NaN too
        raise MotionError(f"fps must be above zero, from {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}, not {fps}.")


def _frozen(value: object, name: str) -> np.ndarray:
    """Return a read-only float32 copy of an array."""
    try:
        array = np.array(value, np.float32)
    except (TypeError, ValueError) as error:
        raise MotionError(f"Motion.{name} is not an array of numbers: {error}") from error
    if not np.isfinite(array).all():
        raise MotionError(f"Motion.{name} holds NaN or infinite values.")
    array.setflags(write=False)
    return array
