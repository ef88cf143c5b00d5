"""Read and write pictures: every input becomes (H, W, 3) uint8 RGB, upright."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from ..errors import MediaError
from ..provenance.credentials import Signer
from ..provenance.marks import SOURCE_TYPE, picture_marks
from .destination import check_writable, replacing
from .foreign import advice, is_heic
from .label import labelled
from .sources import describe, open_source

MAX_PIXELS = 64_000_000
MIN_SIDE = 16  # pixels; nothing smaller can show a face
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# The formats that Pillow may open. Its other formats run programs (EPS), or are rarely used and tested. HEIF needs
# `pillow-heif`. Some phones write MPO, which opens as JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "HEIF", "PPM")
SIXTEEN_BIT = 65535
# First bytes of video files, and brands of MP4-like files that hold pictures instead.
VIDEO_STARTS = (b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV", b"OggS")
STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ")


def load_picture(source: Any) -> np.ndarray:
    """Read a picture.

    Args:
        source: a path, an http(s) URL, bytes, an open binary file, a PIL image, or an array: (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4), of uint8, uint16 (0 to 65535), bool, or floats in [0, 1].

    Returns:
        (H, W, 3) uint8, RGB (sRGB where the file carries a colour profile), turned upright as its EXIF says. Transparent
        places become white, grey becomes RGB, 16 bits become 8. Of an animation the first frame.

    Raises:
        MediaError: it cannot be read, is no picture, is smaller than 16 pixels on a side or has more than 64 megapixels.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        _check_format(source)
        return _from_pil(source, describe(source))
    with open_picture(source) as image:
        return _from_pil(image, describe(source))


@contextmanager
def open_picture(source: Any, formats: Sequence[str] = FORMATS, most_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open a picture with Pillow, for its header, its metadata or a smaller version (``draft``).

    All pictures are opened here: only a few formats are allowed, and the size is checked before a pixel is decoded.

    Args:
        source: a path, an http(s) URL, bytes or an open binary file.
        formats: Pillow's names of the formats that may be opened, among ``FORMATS``.
        most_pixels: the most pixels that the picture may have.

    Raises:
        MediaError: it cannot be read, has another format or is too large; also for damage found while the block runs.
    """
    name = describe(source)
    Image.init()
    with open_source(source, "picture") as file:
        whole = io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file
        start = whole.read(16)
        whole.seek(0)
        if is_heic(start):
            _add_heif(name)
        known = [each for each in formats if each in FORMATS and each in Image.OPEN]
        try:
            with warnings.catch_warnings():
                # Our own limit is lower, and it is checked before any pixel is decoded.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(whole, formats=known)
            with image:
                _check_pixels(image.width, image.height, name, most_pixels)
                yield image
        except UnidentifiedImageError:
            if _starts_as_video(whole):
                raise MediaError(
                    f"{name} is a video, and a picture is needed. To give a video other words, dub it (superface dub, or the "
                    "pipeline with video= and audio= and no picture); to let it drive a picture, pass it as the video."
                ) from None
            raise MediaError(
                f"{name} is not a picture in a format that can be read ({', '.join(known)}). {advice(start) or ''}".rstrip()
            ) from None
        except Image.DecompressionBombError:
            raise MediaError(f"{name} is too large: {_limit(most_pixels)}") from None
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
            raise MediaError(f"The picture {name} is damaged: {error}") from error


def _add_heif(name: str) -> None:
    """Let Pillow read HEIC photographs, if the package for them is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise MediaError(
            f"{name} is a HEIC photograph, which needs the package pillow-heif: pip install pillow-heif. "
            "Or convert it to JPEG or PNG."
        ) from error
    register_heif_opener()


def save_picture(
    path: str | os.PathLike[str], picture: np.ndarray, label: bool = False, source_type: str = SOURCE_TYPE
) -> None:
    """Write a generated picture, marked as such in its metadata (:mod:`superface_hf.provenance.marks`).

    Args:
        path: ends in .png, .jpg, .jpeg or .webp. A failed write leaves nothing behind.
        picture: (H, W, 3) uint8.
        label: whether to draw "AI-generated" visibly in a corner of the picture.
        source_type: IPTC's term for how it was made; ``marks.MADE_UP`` for a made-up face.

    Raises:
        MediaError: an unsupported suffix, or a place that cannot be written.
        ProvenanceError: the environment names a certificate that cannot sign.
    """
    target = check_picture_path(path)
    with replacing(target) as temporary:
        image = Image.fromarray(labelled(picture) if label else picture)
        image.save(temporary, quality=95, **picture_marks(target.suffix, source_type))
        if signer := Signer.from_environment():
            signer.sign(temporary)


def check_picture_path(path: str | os.PathLike[str]) -> Path:
    """Check before a long computation that its picture can be written (see :func:`save_picture`)."""
    target = Path(path)
    if target.suffix.lower() not in PICTURE_SUFFIXES:
        raise MediaError(
            f"A picture cannot be written to {target}: its name must end in {', '.join(PICTURE_SUFFIXES)}."
        )
    target = check_writable(target)
    Signer.from_environment()
    return target


def _starts_as_video(file: Any) -> bool:
    """Return whether a file's first bytes are those of an MP4, MOV, Matroska, WebM, AVI, MPEG, FLV or Ogg file."""
    try:
        file.seek(0)
        head = file.read(12)
    except (OSError, ValueError):
        return False
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return head[8:12] not in STILL_BRANDS
    return head.startswith(VIDEO_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def _check_format(image: Image.Image) -> None:
    """Refuse formats that are not read. The caller opened the picture, but its pixels may not be decoded yet."""
    if isinstance(image, ImageFile.ImageFile) and image.format not in (*FORMATS, "MPO"):
        raise MediaError(
            f"A picture in the format {image.format} is not read: convert it to one of {', '.join(FORMATS)}."
        )


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    _check_size(image.width, image.height, name)
    try:
        upright = ImageOps.exif_transpose(image)
        upright = _to_srgb(upright)
        if upright.mode.startswith("I") or upright.mode == "F":
            return _from_array(_wide_values(upright))
        if "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
            upright = _on_white((upright.convert("LA") if upright.mode == "La" else upright).convert("RGBA"))
        return np.array(upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MediaError(f"The picture {name} is damaged: {error}") from error


def _wide_values(image: Image.Image) -> np.ndarray:
    """Return the values of more than 8 bits for :func:`_from_array`. A file may hold smaller ones in them: by the highest,
    its white is 1 (floats only), 255 or 65535."""
    values = np.asarray(image)
    if image.mode == "F" and not np.isfinite(values).all():
        raise MediaError("The picture holds NaN or infinite values.")
    highest = values.max(initial=0)
    if image.mode == "F" and highest <= 1:
        return np.clip(values, 0, 1)
    if image.mode in ("F", "I") and highest <= 255:
        return np.clip(values, 0, 255).astype(np.uint8)
    return np.clip(values, 0, SIXTEEN_BIT).astype(np.uint16)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert a picture with a colour profile to sRGB. Phones write wide-gamut colours, and skin would come out pale."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile is ignored, and the plain values are used
    return converted if converted is not None else image


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image)


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise MediaError(
            f"A picture array must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {array.shape}."
        )
    _check_size(array.shape[1], array.shape[0], "the given array")
    values = _to_uint8(array)
    if values.shape[2] == 4:
        return np.array(_on_white(Image.fromarray(values)).convert("RGB"))
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return (array.astype(np.float32) * (255 / SIXTEEN_BIT)).round().astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise MediaError("The picture array holds NaN or infinite values.")
        if array.min() < -1e-3 or array.max() > 1 + 1e-3:
            raise MediaError(
                f"A picture array of floats must lie in [0, 1]; this one reaches from {array.min():g} to {array.max():g}. "
                "Divide it by 255, or convert it to uint8."
            )
        return (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer):
        if array.min() < 0 or array.max() > 255:
            raise MediaError(f"A picture array of {array.dtype} must lie in 0..255: convert it to uint8 or uint16.")
        return array.astype(np.uint8)
    raise MediaError(f"A picture array of {array.dtype} is not supported: use uint8, uint16 or floats in [0, 1].")


def _check_size(width: int, height: int, name: str) -> None:
    _check_pixels(width, height, name, MAX_PIXELS)
    if min(width, height) < MIN_SIDE:
        raise MediaError(
            f"{name} has {width} x {height} pixels: at least {MIN_SIDE} on each side are needed to show a face."
        )


def _check_pixels(width: int, height: int, name: str, most: int) -> None:
    if width * height > most:
        raise MediaError(f"{name} has {width} x {height} pixels: {_limit(most)}")


def _limit(most: int) -> str:
    return f"the limit is {most / 1_000_000:g} megapixels. Scale it down, or crop it around the person."
