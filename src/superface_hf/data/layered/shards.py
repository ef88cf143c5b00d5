"""Read shards into memory: every frame decoded once, with OpenCV, and kept on the device as bytes."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...face_model.emphasis import ShownFaceModel
from ...face_model.linear import FaceModel, FaceShape
from ...motion import Motion
from ...motion.regions import ARRAYS
from ...motion.rotations import rotation_matrix

# Landmarks are stored as 16-bit integers in these parts of an image unit.
LANDMARK_UNIT = 8192


@dataclass(eq=False)
class PackedClip:
    """One clip on the device.

    Attributes:
        name, person: of the clip, and the number of who it shows.
        frames: (T, S, S, 3) uint8; ``mattes`` (T, M, M) uint8.
        meshes: (T, 478, 3) what the clip's motion makes of the person's shape, in image coordinates of the frames.
        poses: (T, 3, 3) scaled rotations of these meshes.
        sources: N frames that others are rendered from, and their own landmarks (N, 478, 3).
        opening, rotation: (T,) how far the mouth is open in each frame, of the face's width, and (T, 3) how the head is turned.
            They are kept off the device, as ``sources`` are: what is drawn by them must not wait for it.
    """

    name: str
    person: int
    frames: Tensor
    mattes: Tensor
    meshes: Tensor
    poses: Tensor
    sources: list[int]
    source_landmarks: Tensor
    opening: np.ndarray
    rotation: np.ndarray

    def driving(self, source: int, frames: Tensor) -> Tensor:
        """Return the meshes (F, 478, 3) of ``frames`` on the face that the ``source``-th source shows exactly."""
        at = self.sources[source]
        own = self.source_landmarks[source] - self.meshes[at]  # what the shape and motion leave out
        turn = self.poses[frames] @ inverse_pose(self.poses[at])
        return self.meshes[frames] + own @ turn.transpose(1, 2)


def inverse_pose(pose: Tensor) -> Tensor:
    """Invert a scaled rotation (3, 3)."""
    return pose.T / pose[0].square().sum()


@dataclass(eq=False)
class PackedPortrait:
    """``picture`` (S, S, 3) and ``matte`` (M, M) uint8, ``landmarks`` (478, 3) in image coordinates, on the device."""

    name: str
    picture: Tensor
    matte: Tensor
    landmarks: Tensor


def load_shards(
    folder: Path,
    split: str,
    device: torch.device,
    threads: int = 16,
    most: int | None = None,
    stride: int = 1,
) -> tuple[list[PackedClip], list[PackedPortrait]]:
    """Return all clips and portraits of ``split`` ("train" or "val").

    To save memory, ``most`` limits how many of both, and ``stride`` takes every so many-th frame.
    """
    files: dict[str, dict[str, bytes]] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                name, _, kind = member.name.partition(".")
                if name.startswith(f"{split}_"):
                    file = tar.extractfile(member)
                    assert file is not None
                    files.setdefault(name, {})[kind] = file.read()
    clips = [(name, parts) for name, parts in files.items() if "mp4" in parts][:most]
    portraits = [(name, parts) for name, parts in files.items() if "jpg" in parts][:most]
    with ThreadPoolExecutor(threads) as pool:
        loaded = list(pool.map(lambda item: _clip(item[0], item[1], device, stride), clips))
    return loaded, [_portrait(name, parts, device) for name, parts in portraits]


def _clip(name: str, parts: dict[str, bytes], device: torch.device, stride: int) -> PackedClip:
    with np.load(io.BytesIO(parts["npz"])) as stored:
        arrays = dict(stored)
    kept = arrays["sources"] % stride == 0
    arrays["sources"], arrays["source_landmarks"] = arrays["sources"][kept] // stride, arrays["source_landmarks"][kept]
    for key in ("frames", *ARRAYS):
        arrays[key] = arrays[key][::stride]
    frames = _decoded(parts["mp4"], arrays["frames"])
    mattes = _decoded(parts["matte.mp4"], arrays["frames"] // 2)[..., 0]
    motion = Motion(**{key: arrays[key] for key in ARRAYS}, fps=float(arrays["fps"]))
    meshes = ShownFaceModel(FaceModel.default()).animate(FaceShape(torch.from_numpy(arrays["shape"])), motion)
    gap = (meshes[:, 14] - meshes[:, 13]).norm(dim=-1) / (meshes[:, 454] - meshes[:, 234]).norm(dim=-1)
    poses = rotation_matrix(motion.rotation) * motion.scale[:, None, None]
    return PackedClip(
        name, int(arrays["person"]), torch.from_numpy(frames).to(device), torch.from_numpy(mattes).to(device),
        meshes.to(device), torch.from_numpy(poses).float().to(device), arrays["sources"].tolist(),
        torch.from_numpy(arrays["source_landmarks"]).float().to(device) / LANDMARK_UNIT, gap.numpy(), motion.rotation,
    )  # fmt: skip


def _decoded(video: bytes, wanted: Iterable[int]) -> np.ndarray:
    """Return the wanted frames (T, H, W, 3) uint8 RGB of an mp4."""
    import cv2

    chosen = {int(index): place for place, index in enumerate(wanted)}
    found: list[np.ndarray | None] = [None] * len(chosen)
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(video)
        file.flush()
        capture = cv2.VideoCapture(file.name)
        for index in range(max(chosen) + 1):
            good, frame = capture.read()
            if not good:
                raise RuntimeError(f"an mp4 of the shards ends at frame {index} of {max(chosen) + 1}")
            if index in chosen:
                found[chosen[index]] = frame[..., ::-1]
        capture.release()
    return np.stack(found)  # type: ignore[arg-type]


def _portrait(name: str, parts: dict[str, bytes], device: torch.device) -> PackedPortrait:
    import cv2

    decoded: Any = cv2.imdecode(np.frombuffer(parts["jpg"], np.uint8), cv2.IMREAD_COLOR)
    picture = decoded[..., ::-1]
    with np.load(io.BytesIO(parts["portrait.npz"])) as stored:
        landmarks = torch.from_numpy(stored["landmarks"]).float() / LANDMARK_UNIT
        matte = torch.from_numpy(stored["matte"])
    return PackedPortrait(name, torch.from_numpy(picture.copy()).to(device), matte.to(device), landmarks.to(device))
