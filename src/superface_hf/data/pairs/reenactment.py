"""Pairs of frames of one person: a source, a target and both meshes, for training renderers.

The meshes are made as at inference: the source's are its landmarks, and the driving ones are the source's own neutral face
with the target's motion, so that whatever a motion cannot say is no hint in training either.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ...errors import SuperFaceError
from ...face_model.coordinates import Square
from ...face_model.linear import FaceModel
from ...face_model.topology import INNER_LIPS, LEFT_LIDS, RIGHT_LIDS, inter_ocular
from ...motion import Motion
from ..batch import Batch
from ..prepared_set import PreparedClip, load_clips
from .masking import MaskingConfig, Replacement, composed_picture, draw_replacement, known_map
from .still import StillPairs

FEWEST_PICTURES = 4
CANDIDATES = 8
KNOWN_CELL = 8  # pixels of the target for each cell of the map of what is known


@dataclass(eq=False)
class Pair(Batch):
    """A source and the target to render from it; a batch of pairs has one dimension more.

    Attributes:
        source, target: (3, S, S) uint8.
        source_landmarks, target_landmarks: (478, 3) float32 in image coordinates.
        sharp: bool, whether the footage has the crops' resolution.
        known: (1, S / 8, S / 8) 1 where the target is what should be rendered.
        follows: bool, whether the target is the frame after the pair before, of the same source.
    """

    source: Tensor
    target: Tensor
    source_landmarks: Tensor
    target_landmarks: Tensor
    sharp: Tensor
    known: Tensor
    follows: Tensor


class SamplingError(SuperFaceError, ValueError):
    """Pairs cannot be drawn as asked for."""


@dataclass(frozen=True)
class PairSampling:
    """How pairs are drawn. Shares are probabilities in [0, 1].

    Attributes:
        image_size: side of the pictures given out, in pixels; a multiple of 8.
        min_crop: the smallest crop, as a share of the frame's side; half of the pairs are cropped at random.
        contrast: share of the pairs whose target is, among eight candidates, the one whose mouth and eyes are opened or
            closed most differently from the source's.
        temporal: share of the clips' pairs that come in twos of the same source, with targets next to each other in time.
        fitted: share of the clips' pairs whose driving mesh is made from the target's fitted motion, as at inference; the
            others are driven by the target's own landmarks.
        person_balance: clips of a person who has n of them weigh n ** -person_balance.
        stills: share of the pairs that come from still portraits.
        flip: share of the pairs that are mirrored.
        landmark_noise: standard deviation of the noise on the meshes, in inter-ocular distances: at inference they come
            from a tracker, not from the labels.
    """

    image_size: int = 512
    min_crop: float = 0.72
    contrast: float = 0.4
    temporal: float = 0.25
    fitted: float = 1.0
    person_balance: float = 0.6
    stills: float = 0.0
    flip: float = 0.5
    landmark_noise: float = 0.004

    def __post_init__(self) -> None:
        if self.image_size < KNOWN_CELL or self.image_size % KNOWN_CELL:
            raise SamplingError(f"image_size is {self.image_size}: give a multiple of {KNOWN_CELL}.")
        for name in ("min_crop", "contrast", "temporal", "fitted", "person_balance", "stills", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise SamplingError(f"{name} is {getattr(self, name)}: give a number from 0 to 1.")
        if not 0 <= self.landmark_noise <= 0.1:
            raise SamplingError(f"landmark_noise is {self.landmark_noise}: give inter-ocular distances from 0 to 0.1.")


class Footage:
    """A clip's kept frames, and what is computed of them once: their motion, and how open mouth and eyes are.

    Landmarks are in image coordinates of ``square``, the clip's whole frame.
    """

    def __init__(self, clip: PreparedClip) -> None:
        self.clip = clip
        self.square = Square(0.0, 0.0, float(min(clip.size)))

    def __len__(self) -> int:
        return len(self.clip.jpegs)

    @cached_property
    def openness(self) -> np.ndarray:
        """(J, 2), see :func:`openness`."""
        return openness(self.clip.landmarks[self.clip.jpeg_index])

    @cached_property
    def motion(self) -> Motion:
        """The motion of the kept frames (J), fitted together with all others that show the face."""
        found = np.flatnonzero(self.clip.found)
        _, motion = FaceModel.default().fit(self.square.to_image(self.clip.landmarks[found]), self.clip.fps)
        kept = np.searchsorted(found, self.clip.jpeg_index)
        return Motion(**{name: getattr(motion, name)[kept] for name in _MOTION_ARRAYS}, fps=self.clip.fps)

    def mesh(self, position: int) -> np.ndarray:
        """Landmarks (478, 3) of a kept frame."""
        return self.square.to_image(self.clip.landmarks[self.clip.jpeg_index[position]])

    def picture(self, position: int, box: Square, size: int) -> np.ndarray:
        """A square of a kept frame, (size, size, 3) uint8."""
        edges = (box.left, box.top, box.left + box.side, box.top + box.side)
        whole = Image.fromarray(self.clip.picture(position))
        return np.asarray(whole.resize((size, size), Image.Resampling.BICUBIC, box=edges))

    def neighbour(self, position: int) -> int:
        """The kept frame next to a kept one."""
        return position + 1 if position + 1 < len(self) else position - 1


_MOTION_ARRAYS = ("rotation", "translation", "scale", "mouth", "eyes", "brows", "gaze")


class PairDrawer:
    """Draws pairs from clips; the same numbers from ``rng`` give the same pair."""

    def __init__(self, sampling: PairSampling, masking: MaskingConfig, stills: StillPairs | None = None) -> None:
        if sampling.stills and stills is None:
            raise SamplingError(f"A share of {sampling.stills:g} of stills needs still pairs to draw from.")
        self.sampling, self.masking, self.stills = sampling, masking, stills
        self.face_model = FaceModel.default()
        self.mirror = self.face_model.mirror.numpy()

    def item(self, clips: Sequence[Footage], weights: np.ndarray, index: int, *seed: int) -> Pair:
        """Item ``index`` of an endless list that the seed determines; items 2k and 2k + 1 may belong together."""
        place, which = divmod(index, 2)
        rng = np.random.default_rng((*seed, place))
        still = self.stills is not None and rng.random() < self.sampling.stills
        temporal = rng.random() < self.sampling.temporal
        if still or not temporal:
            rng = np.random.default_rng((*seed, place, 1 + which))
        if still:
            return self._still(rng)
        return self.draw(clips, weights, rng, (which if temporal else None))

    def draw(
        self, clips: Sequence[Footage], weights: np.ndarray, rng: np.random.Generator, which: int | None = None
    ) -> Pair:
        """A pair of frames of one of the clips, which are chosen with probabilities ``weights``.

        ``which`` asks for the first (0) or second (1) of two pairs with neighbouring targets; both need the same ``rng``.
        """
        clip = clips[int(rng.choice(len(clips), p=weights))]

        def other() -> Motion:
            motion = clips[int(rng.choice(len(clips), p=weights))].motion
            return motion[int(rng.integers(len(motion)))]

        source, target = self._frames(clip, rng)
        fitted = rng.random() < self.sampling.fitted
        replacement = None
        # The fit takes a while: only where something is made of it.
        if self.masking.share:
            replacement = draw_replacement(self.masking, clip.motion, target, other, rng)
        frames = [source, target] if which is None else [source, target, clip.neighbour(target)]
        extra = [] if replacement is None or replacement.frame is None else [replacement.frame]
        box = self._crop_box(clip, frames + extra, rng)
        if which:
            target = clip.neighbour(target)
        return self._finish(*self._pictures(clip, source, target, replacement, box, fitted), rng, follows=which == 1)

    def _still(self, rng: np.random.Generator) -> Pair:
        assert self.stills is not None
        pictures, meshes, sharp = self.stills.draw(rng, self.sampling.image_size)
        return self._finish(pictures, meshes, sharp, self._all_known(), rng)

    def _frames(self, clip: Footage, rng: np.random.Generator) -> tuple[int, int]:
        source, target = (int(position) for position in rng.integers(len(clip), size=2))
        candidates = rng.integers(len(clip), size=CANDIDATES)
        if rng.random() < self.sampling.contrast:
            difference = np.abs(clip.openness[candidates] - clip.openness[source]).sum(1)
            target = int(candidates[difference.argmax()])
        return source, target

    def _pictures(
        self, clip: Footage, source: int, target: int, replacement: Replacement | None, box: Square, fitted: bool
    ) -> tuple[list[np.ndarray], list[np.ndarray], bool, np.ndarray]:
        """Source and target (S, S, 3) uint8, their meshes in image coordinates of the box, sharpness, what is known."""
        size = self.sampling.image_size

        def placed(mesh: np.ndarray) -> np.ndarray:
            return box.to_image(clip.square.to_pixels(mesh))

        pictures = [clip.picture(position, box, size) for position in (source, target)]
        meshes = [clip.mesh(source), clip.mesh(target)]
        known = self._all_known()
        driving = self._moved(clip, source, target, replacement) if fitted else meshes[1]
        if replacement is not None:
            mixed = self._moved(clip, target, target, replacement)
            driving = driving if fitted else mixed
            if replacement.frame is not None:
                shown = clip.picture(replacement.frame, box, size)
                three = (placed(meshes[1]), placed(clip.mesh(replacement.frame)), placed(mixed))
                pictures[1] = composed_picture(pictures[1], shown, three, replacement.regions)
            else:
                known = known_map((placed(meshes[1]), placed(driving)), replacement.regions, size // KNOWN_CELL)
        return pictures, [placed(meshes[0]), placed(driving)], bool(box.side >= 0.9 * size), known

    def _moved(self, clip: Footage, source: int, target: int, replacement: Replacement | None) -> np.ndarray:
        """The source's own face (478, 3) with the target's motion, some regions of it replaced."""
        shape = self.face_model.neutral_shape(clip.mesh(source), clip.motion[source])
        motion = clip.motion[target]
        return self.face_model.animate(shape, motion if replacement is None else replacement(motion))[0].numpy()

    def _all_known(self) -> np.ndarray:
        cells = self.sampling.image_size // KNOWN_CELL
        return np.ones((cells, cells), np.float32)

    def _finish(
        self,
        pictures: list[np.ndarray],
        landmarks: list[np.ndarray],
        sharp: bool,
        known: np.ndarray,
        rng: np.random.Generator,
        follows: bool = False,
    ) -> Pair:
        """Noise on the meshes, mirroring, tensors: source and target (S, S, 3) uint8, (478, 3) image coordinates."""
        # Both meshes err alike where the tracker errs by habit, and a little on their own.
        common = rng.normal(size=landmarks[0].shape)
        noise = self.sampling.landmark_noise
        landmarks = [
            mesh + (0.7 * common + 0.3 * rng.normal(size=mesh.shape)) * noise * inter_ocular(mesh) for mesh in landmarks
        ]
        if rng.random() < self.sampling.flip:
            pictures = [picture[:, ::-1] for picture in pictures]
            landmarks = [mesh[self.mirror] * np.array([-1.0, 1.0, 1.0]) for mesh in landmarks]
            known = known[:, ::-1]
        source, target = (torch.from_numpy(np.array(picture.transpose(2, 0, 1), order="C")) for picture in pictures)
        source_mesh, target_mesh = (torch.from_numpy(mesh.astype(np.float32)) for mesh in landmarks)
        return Pair(
            source,
            target,
            source_mesh,
            target_mesh,
            torch.tensor(sharp),
            torch.from_numpy(known.astype(np.float32))[None],
            torch.tensor(follows),
        )

    def _crop_box(self, clip: Footage, frames: list[int], rng: np.random.Generator) -> Square:
        """A square inside the clip's frame, in its pixels, that holds the faces of some kept frames."""
        whole = min(clip.clip.size)
        if rng.random() < 0.5:
            return Square(0, 0, whole)
        points = clip.clip.landmarks[clip.clip.jpeg_index[frames], :, :2].reshape(-1, 2)
        low, high = points.min(0), points.max(0)
        side = max((high - low).max() * 1.25, rng.uniform(self.sampling.min_crop, 1.0) * whole)
        if side >= whole:
            return Square(0, 0, whole)
        first = np.clip(high + 0.05 * side - side, 0, whole - side)
        last = np.clip(low - 0.05 * side, 0, whole - side)
        left, top = rng.uniform(np.minimum(first, last), np.maximum(first, last))
        return Square(float(left), float(top), float(side))


class ReenactmentPairs(Dataset[Pair]):
    """Pairs from a prepared set that fits into memory.

    Item i is always the same pair for the same seed, so that a resumed training goes on where it stopped. Each item:
    ``source``, ``target`` (3, S, S) uint8; ``source_landmarks``, ``target_landmarks`` (478, 3) in image coordinates;
    ``sharp`` a bool, whether the footage has the full resolution; ``known`` (1, S / 8, S / 8) in [0, 1], where the target
    is a picture of what drives (see ``masking``); ``follows`` a bool, whether source and all else are those of the item
    before, and the target is the next frame (only ever true of odd items: batches of even sizes keep such twos together).
    """

    def __init__(
        self,
        prepared: Path,
        length: int,
        seed: int = 0,
        sampling: PairSampling | None = None,
        stills: StillPairs | None = None,
        masking: MaskingConfig | None = None,
    ) -> None:
        self.drawer = PairDrawer(sampling or PairSampling(), masking or MaskingConfig(), stills)
        self.length, self.seed = length, seed
        self.clips = [Footage(clip) for clip in load_clips(Path(prepared), "train") if usable(clip)]
        if not self.clips:
            raise SamplingError(f"{prepared} holds no training clip with at least {FEWEST_PICTURES} pictures.")
        self.weights = person_weights(self.clips, self.drawer.sampling.person_balance)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        return self.drawer.item(self.clips, self.weights, index, self.seed)


class Stream(Protocol):
    """Clips for ever, as ``prepared_set.ClipStream`` gives them."""

    def __iter__(self) -> Iterator[PreparedClip]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class StreamedPairs(IterableDataset[Pair]):
    """The items of :class:`ReenactmentPairs`, endlessly, from a set that need not fit into memory.

    Pairs are drawn from a pool of clips, the newest ``pool`` ones of a stream. After every ``renewal`` items the oldest makes
    room for the next. Several readers (workers, processes) each need their own stream and seed.

    Args:
        stream: usually a ``ClipStream``.
        pool: clips held in memory (about 3 MB each).
        renewal: items drawn for each new clip: more repeat clips more often, fewer read more.
    """

    def __init__(
        self,
        stream: Stream,
        seed: int = 0,
        sampling: PairSampling | None = None,
        stills: StillPairs | None = None,
        masking: MaskingConfig | None = None,
        pool: int = 64,
        renewal: int = 16,
    ) -> None:
        if pool < 1 or renewal < 2:
            raise SamplingError(f"A pool needs at least 1 clip and 2 items for each, not {pool} and {renewal}.")
        self.drawer = PairDrawer(sampling or PairSampling(), masking or MaskingConfig(), stills)
        self.stream, self.seed, self.pool, self.renewal = stream, seed, pool, renewal
        self._index = 0
        self._pooled: deque[Footage] = deque(maxlen=pool)
        self._states: deque[dict[str, Any]] = deque(maxlen=pool)  # of the stream before each clip of the pool
        self._read = 0
        self._clips: Iterator[PreparedClip] | None = None

    def __iter__(self) -> Iterator[Pair]:
        """Yields pairs from where the last iteration, or the loaded state, ended."""
        while True:
            self._fill(self.pool + (self._index - self._index % 2) // self.renewal)
            weights = person_weights(self._pooled, self.drawer.sampling.person_balance)
            item = self.drawer.item(self._pooled, weights, self._index, self.seed)
            self._index += 1
            yield item

    def state_dict(self) -> dict[str, Any]:
        """The state, as JSON can hold it, from which :meth:`load_state_dict` continues with the same next items."""
        return {
            "index": self._index,
            "read": self._read - len(self._pooled),
            "stream": self._states[0] if self._states else self.stream.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Reads the clips of the pool again when it is next iterated."""
        self.stream.load_state_dict(state["stream"])
        self._index, self._read, self._clips = state["index"], state["read"], None
        self._pooled.clear()
        self._states.clear()

    def _fill(self, wanted: int) -> None:
        """Reads until ``wanted`` clips have been read since the start."""
        if self._clips is None:
            self._clips = iter(self.stream)
        while self._read < wanted:
            state = self.stream.state_dict()
            clip = next(self._clips)
            if usable(clip):
                self._states.append(state)
                self._pooled.append(Footage(clip))
                self._read += 1


def usable(clip: PreparedClip) -> bool:
    """Whether a clip has enough pictures, each with a face."""
    return len(clip.jpegs) >= FEWEST_PICTURES and bool(clip.found[clip.jpeg_index].all())


def person_weights(clips: Sequence[Footage], balance: float) -> np.ndarray:
    """Probabilities (N,): many clips show the same person, and count less each. Clips without a name are one person each."""
    people = [footage.clip.person or footage.clip.name for footage in clips]
    count = Counter(people)
    weights = np.array([count[person] ** -balance for person in people])
    return weights / weights.sum()


def openness(landmarks: np.ndarray) -> np.ndarray:
    """How far mouth and eyes are open: (T, 478, 3) -> (T, 2), in inter-ocular distances (eyes weighted up)."""
    unit = inter_ocular(landmarks)

    def gap(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
        return np.mean([np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1) for a, b in pairs], axis=0) / unit

    return np.stack([gap(INNER_LIPS), 2.0 * (gap(LEFT_LIDS) + gap(RIGHT_LIDS))], axis=1)
