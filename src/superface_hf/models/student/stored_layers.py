"""Encode and decode the files in which a student stores its picture and the picture's layers.

Most of the person's colours, and all of the plate beside the person, are the picture's own pixels. The files hold only
pixels that differ, and are transparent elsewhere, so all other pixels are those of the picture, bit for bit.
"""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...errors import HubError
from ...layers.portrait import PortraitLayers

# The most pixels of a stored picture, and the file formats of the picture and of its layers.
LARGEST_PICTURE, PICTURE_FORMATS, LAYER_FORMATS = 25_000_000, ("PNG", "JPEG"), ("PNG", "WEBP")
# Lossless files that are larger (bytes) are stored with a small loss, because a student should have a few MB.
LARGEST_EXACT, QUALITY = 1_500_000, 93


class LayerFiles(NamedTuple):
    """A picture, the person's own colours, the matte, and the plate, as files; all have the picture's size."""

    picture: bytes
    colours: bytes
    alpha: bytes
    plate: bytes

    @classmethod
    def of(cls, picture: bytes, layers: PortraitLayers) -> LayerFiles:
        """Encode the layers of a picture that is encoded already (see :func:`picture_file`), from its decoded pixels."""
        alpha = np.zeros(layers.picture.shape[:2], np.uint8)
        alpha[layers.box] = layers.alpha
        own = layers.colours if layers.restored is None else np.clip(layers.colours + layers.restored, 0, 255)
        colours, plate = layers.picture.copy(), layers.picture.copy()
        colours[layers.box], plate[layers.box] = own, layers.plate
        return cls(picture, _changes(layers.picture, colours), _png(alpha), _changes(layers.picture, plate))

    def decoded(self) -> PortraitLayers:
        """Decode the files to layers.

        Raises:
            HubError: a file has another format or size than a student's.
        """
        picture = _decoded(self.picture, PICTURE_FORMATS, "picture").convert("RGB")
        others = []
        for name, mode in (("colours", "RGBA"), ("alpha", "L"), ("plate", "RGBA")):
            image = _decoded(getattr(self, name), LAYER_FORMATS, name)
            if image.size != picture.size:
                raise HubError(f"This student's {name} and picture differ in size: it was not made or copied well.")
            others.append(np.asarray(image.convert(mode)))
        pixels = np.array(picture)
        colours, alpha, plate = others
        share = alpha.astype(np.float32) / 255
        return PortraitLayers.of(pixels, share, _changed(pixels, colours), _changed(pixels, plate))


def picture_file(picture: np.ndarray) -> bytes:
    """Encode a picture as PNG, or as JPEG if the PNG would be large."""
    file = _png(picture)
    if len(file) <= LARGEST_EXACT:
        return file
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def measured(file: bytes, formats: tuple[str, ...], name: str) -> tuple[int, int]:
    """Return width and height of a stored file, without decoding its pixels.

    Raises:
        HubError: it has another format, or is too large.
    """
    return _opened(file, formats, name).size


def _opened(file: bytes, formats: tuple[str, ...], name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            image = Image.open(io.BytesIO(file), formats=formats)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise HubError(
            f"This student's {name} cannot be read: it must be a {' or '.join(formats)} file of at most "
            f"{LARGEST_PICTURE:,} pixels."
        ) from error
    width, height = image.size
    if width * height > LARGEST_PICTURE:
        raise HubError(f"This student's {name} has {width} x {height} pixels; at most {LARGEST_PICTURE:,} are read.")
    return image


def _decoded(file: bytes, formats: tuple[str, ...], name: str) -> Image.Image:
    image = _opened(file, formats, name)
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise HubError(f"This student's {name} cannot be read: the file is damaged. Copy it again.") from error
    return image


def _changes(picture: np.ndarray, layer: np.ndarray) -> bytes:
    differs = (picture != layer).any(-1)
    pixels = np.dstack((np.where(differs[..., None], layer, 0), np.where(differs, 255, 0))).astype(np.uint8)
    for options in ({"lossless": True}, {"quality": QUALITY}):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "WEBP", **options)
        if stream.tell() <= LARGEST_EXACT:
            break
    return stream.getvalue()


def _changed(picture: np.ndarray, changes: np.ndarray) -> np.ndarray:
    return np.where(changes[..., 3:] > 0, changes[..., :3], picture)


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()
