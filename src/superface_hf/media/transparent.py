"""Write transparent video: WebM (VP9), QuickTime (ProRes 4444), or a folder of PNG pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from ..errors import MediaError, ProvenanceError
from ..provenance.credentials import Signer
from ..provenance.marks import SOURCE_TYPE
from ..utils.files import expanded, part_of
from .destination import check_writable
from .label import labelled
from .picture import save_picture
from .writing import VP9_QUALITY, Form, Mp4Writer

FORMS = {
    ".webm": Form(
        "webm",
        "libvpx-vp9",
        "yuva420p",
        {"crf": VP9_QUALITY, "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1", "auto-alt-ref": "0"},
        4,
        "libopus",
    ),
    ".mov": Form("mov", "prores_ks", "yuva444p10le", {"profile": "4444", "vendor": "apl0"}, 4, "aac"),
}

FIRST = "00000.png"  # of a folder of pictures


class TransparentWriter(Mp4Writer):
    """An :class:`~superface_hf.media.Mp4Writer` for frames (H, W, 4) uint8, whose colours are not multiplied by alpha.
    The path ends in .webm or .mov."""

    def _checked(self, path: str | os.PathLike[str]) -> Path:
        return check_transparent_path(path)

    def _form_of(self, path: Path) -> Form:
        return FORMS[path.suffix.lower()]

    def _encode(self, frame: np.ndarray, index: int) -> None:
        if self._label:
            frame, self._label = with_label(frame), False
            super()._encode(frame, index)
            self._label = True
            return
        super()._encode(frame, index)


class PictureFolder:
    """Writes frames (H, W, 4) as 00000.png, 00001.png, ... into a folder, which appears complete or not at all."""

    def __init__(self, path: str | os.PathLike[str], label: bool = False, source_type: str = SOURCE_TYPE) -> None:
        self._path = check_transparent_path(path)
        self._source_type = source_type
        self._label = label
        self._count = 0

    def __enter__(self) -> PictureFolder:
        self._temporary = part_of(self._path)
        try:
            self._temporary.mkdir()
        except OSError as error:
            raise MediaError(f"The folder {self._path} cannot be made: {error}") from error
        return self

    def add(self, frame: np.ndarray) -> None:
        """Append one frame."""
        frame = with_label(frame) if self._label else frame
        save_picture(self._temporary / f"{self._count:05}.png", frame, source_type=self._source_type)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                if not self._count:
                    raise MediaError(f"There are no frames to write to {self._path}.")
                self._temporary.replace(self._path)
        except OSError as failure:
            raise MediaError(f"{self._path} cannot be written: {failure}") from failure
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)


def transparent_writer(
    path: str | os.PathLike[str],
    fps: float,
    audio: np.ndarray | Iterable[np.ndarray] | None = None,
    sampling_rate: int | None = None,
    label: bool = False,
    source_type: str = SOURCE_TYPE,
) -> TransparentWriter | PictureFolder:
    """Return the writer of transparent frames for ``path``: .webm, .mov, or a folder that is new or empty (which has no
    sound)."""
    if Path(path).suffix:
        return TransparentWriter(path, fps, audio, sampling_rate, label, source_type)
    return PictureFolder(path, label, source_type)


def check_transparent_path(path: str | os.PathLike[str]) -> Path:
    """Check before a long computation that a transparent clip can be written.

    Raises:
        MediaError: another suffix, a codec that is not there, a folder that holds something, or a place that cannot be
            written.
        ProvenanceError: the environment names a certificate, and WebM cannot be signed.
    """
    target = expanded(path)
    suffix = target.suffix.lower()
    if suffix not in ("", *FORMS):
        raise MediaError(
            f"{target} cannot be transparent: name a .webm or .mov file, or a folder for PNG pictures (no suffix)."
        )
    if not suffix:
        return _checked_folder(target)
    check_writable(target)
    if (codec := FORMS[suffix].codec) not in av.codecs_available:
        raise MediaError(f"This PyAV cannot write {suffix}: it lacks {codec}. Name a folder for PNG pictures instead.")
    if Signer.from_environment() and suffix == ".webm":
        raise ProvenanceError("A WebM file cannot carry signed content credentials: name a .mov file or a folder.")
    return target


def _checked_folder(target: Path) -> Path:
    try:
        if target.is_file() or (target.is_dir() and any(target.iterdir())):
            raise MediaError(f"{target} is there already: name a folder that is new or empty.")
    except OSError as error:
        raise MediaError(f"{target} cannot be written: {error}") from error
    trial = part_of(target)
    try:
        check_writable(trial / FIRST)
    finally:
        with suppress(OSError):
            trial.rmdir()
    return target


def with_label(frame: np.ndarray) -> np.ndarray:
    """Return a frame (H, W, 4) with the visible label, which is opaque."""
    colours = labelled(np.ascontiguousarray(frame[..., :3]))
    changed = (colours != frame[..., :3]).any(-1)
    return np.dstack([colours, np.where(changed, 255, frame[..., 3])]).astype(np.uint8)


__all__ = ["PictureFolder", "TransparentWriter", "check_transparent_path", "transparent_writer"]
