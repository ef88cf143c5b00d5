"""Draw pairs of frames of one person: a source, a target and both meshes.

The meshes are made as at inference: the source's are its landmarks, and the driving ones are the source's own neutral face
with the target's motion, so that whatever a motion cannot say is no hint in training either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import SuperFaceError
from ...face_model.coordinates import Square
from ...face_model.linear import FaceModel
from ...face_model.topology import inter_ocular
from ...motion import Motion
from ..batch import Batch
from .footage import Footage
from .masking import MaskingConfig, Replacement, composed_picture, draw_replacement, known_map
from .still import StillPairs

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


class PairDrawer:
    """Draws pairs from clips; the same numbers from ``rng`` give the same pair."""

    def __init__(self, sampling: PairSampling, masking: MaskingConfig, stills: StillPairs | None = None) -> None:
        if sampling.stills and stills is None:
            raise SamplingError(f"A share of {sampling.stills:g} of stills needs still pairs to draw from.")
        self.sampling, self.masking, self.stills = sampling, masking, stills
        self.face_model = FaceModel.default()
        self.mirror = self.face_model.mirror.numpy()

    def item(self, clips: Sequence[Footage], weights: np.ndarray, index: int, *seed: int) -> Pair:
        """Return the item ``index`` of an endless list that the seed determines; items 2k and 2k + 1 may belong together."""
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
        """Return a pair of frames of one of the clips, which are chosen with probabilities ``weights``.

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
        """Return the source and target (S, S, 3) uint8, their meshes in image coordinates of the box, sharpness, what is
        known."""
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
        """Return the source's own face (478, 3) with the target's motion, some regions of it replaced."""
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
        """Add noise to the meshes (478, 3, image coordinates), mirror some pairs, and return the tensors of a pair."""
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
        """Return a square inside the clip's frame, in its pixels, that holds the faces of some kept frames."""
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
