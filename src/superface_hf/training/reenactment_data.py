"""Pairs of frames of one person: a source, a target and both meshes, for training renderers."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ..face_model.linear import FaceModel
from ..face_model.topology import INNER_LIPS, LEFT_LIDS, RIGHT_LIDS, inter_ocular
from ..geometry import Square
from .prepare import PreparedClip, load_clips
from .still_pairs import StillPairs


@dataclass(frozen=True)
class PairSampling:
    """How pairs are drawn.

    Attributes:
        image_size: side of the pictures given out, in pixels.
        min_crop: the smallest crop, as a share of the frame's side; half of the pairs are cropped at random.
        contrast: share of the pairs whose target is, among eight candidates, the one whose mouth and eyes are opened or
            closed most differently from the source's.
        person_balance: clips of a source that has n of them weigh n ** -person_balance.
        stills: share of the pairs that come from still portraits.
        flip: share of the pairs that are mirrored.
        landmark_noise: standard deviation of the noise on the meshes, in inter-ocular distances: at inference they come
            from a tracker, not from the labels.
    """

    image_size: int = 512
    min_crop: float = 0.72
    contrast: float = 0.4
    person_balance: float = 0.6
    stills: float = 0.0
    flip: float = 0.5
    landmark_noise: float = 0.012


class ReenactmentPairs(Dataset[dict[str, torch.Tensor]]):
    """Item i is always the same pair for the same seed, so that a resumed training goes on where it stopped.

    Each item: ``source``, ``target`` (3, S, S) uint8; ``source_landmarks``, ``target_landmarks`` (478, 3) in image
    coordinates; ``sharp`` a bool, whether the footage has the full resolution.
    """

    def __init__(
        self,
        prepared: Path,
        length: int,
        seed: int = 0,
        sampling: PairSampling | None = None,
        stills: StillPairs | None = None,
    ) -> None:
        self.sampling = sampling or PairSampling()
        self.stills = stills
        self.mirror = FaceModel.default().mirror.numpy()
        self.length, self.seed = length, seed
        self.clips = [clip for clip in load_clips(prepared, "train") if len(clip.jpegs) >= 4]
        self.openness = [openness(clip.landmarks[clip.jpeg_index]) for clip in self.clips]
        self.weights = _clip_weights(prepared / "clips.csv", self.clips, self.sampling.person_balance)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((self.seed, index))
        if self.stills is not None and rng.random() < self.sampling.stills:
            return self._finish(*self.stills.draw(rng, self.sampling.image_size), rng)
        number = int(rng.choice(len(self.clips), p=self.weights))
        clip, opened = self.clips[number], self.openness[number]
        source = int(rng.integers(len(clip.jpegs)))
        target = int(rng.integers(len(clip.jpegs)))
        if rng.random() < self.sampling.contrast:
            candidates = rng.integers(len(clip.jpegs), size=8)
            target = int(candidates[np.abs(opened[candidates] - opened[source]).sum(1).argmax()])
        return self._pair(clip, source, target, rng)

    def _pair(self, clip: PreparedClip, source: int, target: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        meshes = [clip.landmarks[clip.jpeg_index[position]] for position in (source, target)]
        box = self._crop_box(clip.size, np.concatenate(meshes), rng)
        size = self.sampling.image_size
        pictures = [
            Image.fromarray(clip.picture(position)).resize((size, size), Image.Resampling.BICUBIC, box=tuple(box))
            for position in (source, target)
        ]
        landmarks = [Square(box[0], box[1], box[2] - box[0]).to_image(mesh) for mesh in meshes]
        sharp = bool(box[2] - box[0] >= 0.9 * size)
        return self._finish([np.asarray(picture) for picture in pictures], landmarks, sharp, rng)

    def _finish(
        self, pictures: list[np.ndarray], landmarks: list[np.ndarray], sharp: bool, rng: np.random.Generator
    ) -> dict[str, torch.Tensor]:
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
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
            for name, picture in zip(("source", "target"), pictures, strict=True)
        }
        meshes = {
            f"{name}_landmarks": torch.from_numpy(mesh.astype(np.float32))
            for name, mesh in zip(("source", "target"), landmarks, strict=True)
        }
        return {**tensors, **meshes, "sharp": torch.tensor(sharp)}

    def _crop_box(self, size: tuple[int, int], points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A square inside the frame that holds both faces: x0, y0, x1, y1 in pixels."""
        side_limit = min(size)
        if rng.random() < 0.5:
            return np.array([0, 0, side_limit, side_limit], float)
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        need = (high - low).max() * 1.25
        side = max(need, rng.uniform(self.sampling.min_crop, 1.0) * side_limit)
        if side >= side_limit:
            return np.array([0, 0, side_limit, side_limit], float)
        first = np.clip(high + 0.05 * side - side, 0, side_limit - side)
        last = np.clip(low - 0.05 * side, 0, side_limit - side)
        corner = rng.uniform(np.minimum(first, last), np.maximum(first, last))
        return np.array([*corner, *(corner + side)])


def openness(landmarks: np.ndarray) -> np.ndarray:
    """How far mouth and eyes are open: (T, 478, 3) -> (T, 2), in inter-ocular distances (eyes weighted up)."""
    unit = inter_ocular(landmarks)

    def gap(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
        return np.mean([np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1) for a, b in pairs], axis=0) / unit

    return np.stack([gap(INNER_LIPS), 2.0 * (gap(LEFT_LIDS) + gap(RIGHT_LIDS))], axis=1)


def _clip_weights(table: Path, clips: list[PreparedClip], balance: float) -> np.ndarray:
    """Many clips show the same person, and clips of one source folder mostly do: weigh sources, not clips."""
    with open(table, newline="") as file:
        origin = {Path(row["clip"]).stem: (row["repo"], str(Path(row["path"]).parent)) for row in csv.DictReader(file)}
    count = Counter(origin[clip.name] for clip in clips)
    weights = np.array([count[origin[clip.name]] ** -balance for clip in clips])
    return weights / weights.sum()
