"""Pictures as JPEG files in memory, with the full colour resolution."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..media import open_picture


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Return a picture (H, W, 3) uint8 as a JPEG file of ``quality`` 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def decode_jpeg(file: bytes) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 of a file (any format that :func:`~superface_hf.media.open_picture` reads)."""
    with open_picture(file) as picture:
        return np.asarray(picture.convert("RGB"))


def decode_batch(files: Iterable[bytes]) -> Tensor:
    """Return the pictures (N, 3, H, W) uint8 of files whose pictures have one size."""
    return torch.from_numpy(np.stack([decode_jpeg(file) for file in files])).permute(0, 3, 1, 2)
