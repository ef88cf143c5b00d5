"""Limits on what visitors upload: shown before the upload, and checked by the server before anything is decoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MediaError

if TYPE_CHECKING:
    import numpy as np

    from ..media import Sound, VideoReader, WorkLimit

# Formats that Pillow may open; others run programs (EPS) or are rarely tested.
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# First bytes (offset, bytes) of sound and video files. Other files are refused before FFmpeg opens them: a playlist, which is a
# text file, could make it open other files and addresses.
SIGNATURES = (
    (0, b"RIFF"),  # wav, avi
    (0, b"RF64"),
    (0, b"fLaC"),
    (0, b"OggS"),
    (0, b"ID3"),
    (0, b"\xff\xfb"),  # mp3 without a tag
    (0, b"\xff\xf3"),
    (0, b"\xff\xf2"),
    (0, b"\xff\xf1"),  # AAC
    (0, b"\xff\xf9"),
    (0, b"FORM"),  # aiff
    (0, b"caff"),
    (0, b"\x1aE\xdf\xa3"),  # webm, mkv
    (4, b"ftyp"),  # mp4, m4a, mov, 3gp
    (4, b"moov"),
    (4, b"wide"),
)
MB = 2**20


@dataclass(frozen=True)
class Limits:
    """The limits of the app.

    Attributes:
        picture_mb, sound_mb, video_mb: megabytes of a file.
        megapixels: megapixels of a picture.
        longest_side: pixels; larger pictures are scaled down to it first.
        speech_seconds, video_seconds: length of a recording.
        video_side: pixels of a video's longer side.
        video_fps: frames per second of a video.
        distill_minutes: the budget of a distillation.
        waiting: requests that may wait in the queue.
        sessions: visitors whose choices are kept (0.4 MB each); each call of a program counts as a new one.
        job_seconds: time to make one result.
        live_seconds: how long a live portrait may last; 0 offers nothing by WebRTC.
        keep_seconds: time until visitors' files are deleted.
        kept_mb: megabytes of all visitors' files together.
        uploads, connections: simultaneous ones, of all visitors.
        upload_seconds: time of an upload.
        silence_seconds: a connection that is expected to send data but is silent for this time is closed.
    """

    picture_mb: int = 10
    sound_mb: int = 20
    video_mb: int = 50
    megapixels: int = 25
    longest_side: int = 1280
    speech_seconds: float = 30.0
    video_seconds: float = 20.0
    video_side: int = 1920
    video_fps: int = 60
    distill_minutes: int = 30
    waiting: int = 100
    sessions: int = 500
    job_seconds: float = 600.0
    live_seconds: float = 120.0
    keep_seconds: float = 3600.0
    kept_mb: int = 4000
    uploads: int = 32
    connections: int = 600
    upload_seconds: float = 300.0
    silence_seconds: float = 15.0

    @property
    def largest_upload(self) -> int:
        """The size of the largest upload in bytes."""
        return max(self.picture_mb, self.sound_mb, self.video_mb) * MB

    @property
    def work(self) -> WorkLimit:
        """The limit of one job: its time, and the pixels of the largest accepted video.

        Where the recording is longer than the video, the frames are read once more to find where decoding can start, and then
        backward and forward again.
        """
        from ..media import WorkLimit
        from ..media.work import MIN_PIXELS

        pixels = max(self.video_side**2, MIN_PIXELS)
        frames = (2 * self.video_seconds + self.speech_seconds) * self.video_fps
        return WorkLimit(self.megapixels, pixels * frames / 1_000_000_000, self.job_seconds)

    @property
    def picture_words(self) -> str:
        return f"JPEG, PNG or WebP, up to {self.picture_mb} MB and {self.megapixels} megapixels"

    @property
    def sound_words(self) -> str:
        return f"up to {self.speech_seconds:g} seconds and {self.sound_mb} MB"

    @property
    def video_words(self) -> str:
        return (
            f"up to {self.video_seconds:g} seconds, {self.video_mb} MB, {self.video_fps} frames a second and "
            f"{self.video_side} pixels on the longer side"
        )

    @property
    def job_words(self) -> str:
        return f"What takes longer than {self.job_seconds / 60:g} minutes to make is stopped."

    @property
    def keep_words(self) -> str:
        return f"Your files are deleted after {self.keep_seconds / 60:g} minutes."


def check_file(path: str, kind: str, max_mb: int) -> None:
    """Check the size of a file.

    Raises:
        MediaError: the file is empty or too large.
    """
    size = Path(path).stat().st_size
    if size == 0:
        raise MediaError(f"The {kind} is empty. Please choose another file.")
    if size > max_mb * MB:
        raise MediaError(
            f"The {kind} has {size / MB:.0f} MB, and at most {max_mb} MB can be taken. Please choose a smaller file."
        )


def check_picture(path: str, limits: Limits) -> None:
    """Check a picture's size and header, without decoding its pixels.

    Raises:
        MediaError: it is not a picture, or too large.
    """
    from PIL import Image

    check_file(path, "picture", limits.picture_mb)
    try:
        with warnings.catch_warnings():
            # Nothing is decoded here, and this app's limit is lower.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=PICTURE_FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise MediaError(_too_many_pixels("far too many", limits)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError("This file is not a picture that can be read. Please choose a JPEG, PNG or WebP.") from error
    if width * height > limits.megapixels * 1_000_000:
        raise MediaError(_too_many_pixels(f"{width} x {height}", limits))


def read_picture(path: str, limits: Limits) -> np.ndarray:
    """Return a checked picture (H, W, 3) uint8, upright, scaled down to ``limits.longest_side`` if it is larger.

    Raises:
        MediaError: the picture fails :func:`check_picture`, or is damaged.
    """
    import numpy as np
    from PIL import Image

    from ..media import load_picture

    check_picture(path, limits)
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            # A JPEG can be decoded at a fraction of its size; others ignore this.
            image.draft("RGB", (2 * limits.longest_side, 2 * limits.longest_side))
            picture = load_picture(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError("The picture is damaged. Please choose another file.") from error
    height, width = picture.shape[:2]
    share = limits.longest_side / max(height, width)
    if share >= 1:
        return picture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def check_recording(path: str, kind: str, max_mb: int) -> None:
    """Check the size and the first bytes of a sound or video.

    Raises:
        MediaError: it is empty, too large, or of another format.
    """
    check_file(path, kind, max_mb)
    with open(path, "rb") as file:
        start = file.read(12)
    if not any(start[offset:].startswith(mark) for offset, mark in SIGNATURES):
        wanted = "an mp4, webm or mov" if kind == "video" else "a wav, mp3, m4a, ogg or flac"
        raise MediaError(f"This file is not a {kind} that can be read. Please choose {wanted}.")


def read_sound(path: str, limits: Limits) -> Sound:
    """Return a checked recording. The length in its header is not trusted: reading stops at the limit.

    Raises:
        MediaError: the file fails :func:`check_recording`, is too long, damaged, or silent.
    """
    import numpy as np

    from ..media import Sound, SoundReader

    check_recording(path, "sound", limits.sound_mb)
    reader = SoundReader(path)
    blocks: list[np.ndarray] = []
    for block in reader:
        blocks.append(block)
        if sum(map(len, blocks)) > (limits.speech_seconds + 0.5) * reader.rate:
            raise MediaError(
                f"The recording lasts longer than {limits.speech_seconds:g} seconds. Please choose a shorter one."
            )
    sound = Sound(np.concatenate(blocks), reader.rate)
    if sound.silent:
        raise MediaError("Nothing can be heard in the recording. Is the microphone switched on?")
    return sound


def read_video(path: str, limits: Limits) -> VideoReader:
    """Return a reader of a checked video; its frames are not decoded yet.

    Raises:
        MediaError: the file fails :func:`check_recording`, or its header claims too large frames, too many, or too many
        a second.
    """
    from ..media import VideoReader, Work

    check_recording(path, "video", limits.video_mb)
    reader = VideoReader(path, work=Work(limits.work))
    width, height = reader.size or (0, 0)
    _check_side(width, height, limits)
    if reader.fps > limits.video_fps + 0.5:
        raise MediaError(
            f"The video has {reader.fps:.0f} frames a second, and at most {limits.video_fps} can be taken. "
            "Please choose another."
        )
    if reader.frame_count and reader.frame_count > most_frames(reader.fps, limits):
        raise MediaError(_too_long(limits))
    return reader


def most_frames(fps: float, limits: Limits) -> int:
    """Return the largest number of frames that a video may have."""
    return round((limits.video_seconds + 0.5) * fps)


def watched(frames: Iterator[np.ndarray], fps: float, limits: Limits) -> Iterator[np.ndarray]:
    """Yield the frames, and check their number and size; the header is not trusted.

    Raises:
        MediaError: there are too many, or one is too large.
    """
    yield from sized(islice(frames, most_frames(fps, limits)), limits)
    if next(frames, None) is not None:
        raise MediaError(_too_long(limits))


def sized(frames: Iterable[np.ndarray], limits: Limits) -> Iterator[np.ndarray]:
    """Yield the frames, and check the size of each.

    Raises:
        MediaError: one is too large, even if the header says otherwise.
    """
    for frame in frames:
        _check_side(frame.shape[1], frame.shape[0], limits)
        yield frame


def _check_side(width: int, height: int, limits: Limits) -> None:
    if max(width, height) > limits.video_side:
        raise MediaError(
            f"The video has {width} x {height} pixels, and at most {limits.video_side} on the longer side can be taken. "
            "Please choose a smaller one."
        )


def _too_long(limits: Limits) -> str:
    return f"The video lasts longer than {limits.video_seconds:g} seconds. Please choose a shorter one."


def _too_many_pixels(size: str, limits: Limits) -> str:
    return (
        f"The picture has {size} pixels, and at most {limits.megapixels} megapixels can be taken. "
        "Please scale it down, or crop it around the person."
    )
