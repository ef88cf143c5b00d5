"""The teacher's frames of one portrait, cached on disk: pictures, and the features that it delivers.

A cache is a folder of shards, each written whole or not at all, so that stopped rendering continues where it was.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...data.jpeg import decode_batch, encode_jpeg
from ...layers.motion import Window
from ...layers.paste_back import to_uint8
from ...models.teacher.modeling_teacher import PreparedSource, SuperFaceTeacherModel
from ...utils.files import write_tensors
from ..core.run import TrainingError
from .scene import Scene

SHARD = 16  # frames
JPEG_QUALITY = 95  # 0.1 MB a frame of 512 pixels; 42 dB from what was rendered
_TENSORS = ("landmarks", "windows", "alpha", "flow", "codes")


@dataclass(frozen=True, eq=False)
class TeacherFrames:
    """N rendered frames.

    Attributes:
        pictures: a file each, of S x S pixels.
        landmarks: (N, 478, 3) the meshes that drove them, in the portrait's crop.
        windows: (N, 3) where their windows lie in it: middle and size.
        alpha: (N, 1, S/4, S/4) uint8 the person's matte.
        flow: (N, 2, S/8, S/8) float16 backward displacement of the person in the windows.
        codes: (N, code) the motion representations p_d.
    """

    pictures: list[bytes]
    landmarks: Tensor
    windows: Tensor
    alpha: Tensor
    flow: Tensor
    codes: Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    def decoded(self, chosen: Iterable[int]) -> Tensor:
        """Return chosen frames (n, 3, S, S) uint8."""
        return decode_batch(self.pictures[index] for index in chosen)

    @classmethod
    def joined(cls, parts: list[TeacherFrames]) -> TeacherFrames:
        tensors = (torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS)
        return cls([picture for part in parts for picture in part.pictures], *tensors)

    def save(self, path: Path, seconds: float) -> None:
        """Write the frames to a file, with the ``seconds`` that they took to render."""
        lengths = torch.tensor([len(picture) for picture in self.pictures])
        joined = torch.from_numpy(np.frombuffer(b"".join(self.pictures), np.uint8).copy())
        tensors = {name: getattr(self, name) for name in _TENSORS}
        write_tensors(path, {"pictures": joined, "lengths": lengths, **tensors}, {"seconds": repr(seconds)})

    @classmethod
    def load(cls, path: Path) -> tuple[TeacherFrames, float]:
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
                seconds = float(file.metadata()["seconds"])
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            raise TrainingError(f"{path} is damaged ({error}): delete it, and it is rendered again.") from error
        joined, ends = tensors["pictures"].numpy().tobytes(), tensors["lengths"].cumsum(0).tolist()
        pictures = [joined[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        return cls(pictures, *(tensors[name] for name in _TENSORS)), seconds


class FrameCache:
    """A folder of shards of one teacher, portrait and bank of motions.

    Raises:
        TrainingError: the folder holds those of others.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / "manifest.json"
        if manifest.exists():
            if _fingerprint_in(manifest) != fingerprint:
                raise TrainingError(
                    f"{folder} holds frames of another teacher, portrait, video or set of motions: choose another folder with "
                    f"-o, or delete it to begin again."
                )
        else:
            manifest.write_text(json.dumps({"fingerprint": fingerprint}))

    def path(self, shard: int) -> Path:
        return self.folder / f"shard_{shard:05d}.safetensors"

    def load(self) -> tuple[TeacherFrames, float]:
        """Return all stored frames, and the seconds that they took.

        Raises:
            TrainingError: nothing.
        """
        loaded = [TeacherFrames.load(path) for path in sorted(self.folder.glob("shard_*.safetensors"))]
        if not loaded:
            raise TrainingError(f"{self.folder} holds no frames of the teacher: there was no time to render any.")
        return TeacherFrames.joined([frames for frames, _ in loaded]), sum(seconds for _, seconds in loaded)


def _fingerprint_in(manifest: Path) -> object:
    try:
        return json.loads(manifest.read_text()).get("fingerprint")
    except (ValueError, AttributeError):
        return None


def fingerprint(teacher: SuperFaceTeacherModel, *parts: bytes) -> str:
    """Return a text that changes with anything that the frames depend on."""
    digest = hashlib.sha256()
    digest.update(repr([float(p.detach().double().sum()) for p in teacher.parameters()]).encode())
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


@torch.inference_mode()
def render_frames(
    teacher: SuperFaceTeacherModel,
    source: PreparedSource,
    scene: Scene,
    landmarks: Tensor,
    windows: Tensor,
    batch: int,
    dtype: torch.dtype,
    exact: bool,
) -> TeacherFrames:
    """Render meshes (N, 478, 3) in their windows (N, 3), before the plate of ``scene``. ``exact`` keeps pictures without
    loss."""
    size, device = teacher.config.image_size, teacher.device
    pictures, alphas, flows, codes = [], [], [], []
    parts = zip(landmarks.to(device).split(batch), windows.to(device).split(batch), strict=True)
    for driving, places in parts:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            output = teacher.render(source, driving, Window(places[:, :2], places[:, 2]))
        frames, alpha = scene.compose(output.rendered)
        pictures += [_encoded(picture, exact) for picture in to_uint8(frames)]
        alphas.append(F.avg_pool2d(alpha, 4).mul(255).round().byte().cpu())
        flows.append(F.adaptive_avg_pool2d(output.rendered.flow.float(), size // 8).half().cpu())
        codes.append(output.driving_code.float().cpu())
    kept = (landmarks.cpu().contiguous(), windows.cpu().contiguous())
    return TeacherFrames(pictures, *kept, *(torch.cat(parts) for parts in (alphas, flows, codes)))


def _encoded(picture: np.ndarray, exact: bool) -> bytes:
    if not exact:
        return encode_jpeg(picture, JPEG_QUALITY)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def reduced_appearance(source: PreparedSource, channels: int, size: int) -> Tensor:
    """Return the teacher's appearance volume (1, D, C, s, s) as its ``channels`` strongest components over the plane: (1,
    channels, size, size), each with unit variance."""
    volume = source.volume.float().flatten(1, 2)
    if volume.shape[-1] != size:
        volume = F.interpolate(volume, size=(size, size), mode="bilinear", align_corners=False)
    volume = volume[0]
    features, side = volume.flatten(1), volume.shape[-1]
    features = features - features.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(features @ features.T / features.shape[1])
    strongest = vectors[:, -channels:].T @ features / values[-channels:, None].clamp_min(1e-8).sqrt()
    return strongest.reshape(1, -1, side, side)
