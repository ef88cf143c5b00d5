"""The one place where FFmpeg opens a stranger's file: known formats only, and nothing but the bytes it is given.

FFmpeg tells formats by content, and some of them are recipes: an SDP description makes it listen on the network, a playlist
or a concat script opens other files and addresses. None of them is on the list, and what is on it may not open anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import av

from ..errors import MediaError
from .foreign import advice
from .sources import View, open_source
from .whole import is_incomplete
from .work import WorkLimit

# Demuxers that read one file from end to end. Still pictures, raw samples and all that names other files are left out.
VIDEO_FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,mxf,dv,ivf,nut,rm,obu"
SOUND_FORMATS = "wav,w64,mp3,aac,flac,aiff,caf,au,ac3,eac3,amr,ape,wv,tta,dts"
OPENING = 30.0  # seconds in which FFmpeg has to find out what it is
# Above the limit on a frame's pixels by this factor decoding is refused by the decoder, before it takes the memory.
HARD_LIMIT = 4
# PyAV 19 reads broken metadata in its own way; before, it had to be told.
METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}


@contextmanager
def open_container(
    source: Path | IO[bytes], kind: str, name: str, limit: WorkLimit | None = None
) -> Iterator[av.container.InputContainer]:
    """Opens a path, or a shared file from its start.

    Args:
        kind: "video" or "sound", for messages.
        name: how messages call it.
        limit: on the pixels of a frame.

    Raises:
        MediaError: it is in none of the formats that are read, or takes too long to open.
    """
    with ExitStack() as stack:
        shared = stack.enter_context(open_source(source, kind)) if isinstance(source, Path) else source
        file = View(shared, time.monotonic() + OPENING)
        most = int((limit or WorkLimit()).megapixels * 1_000_000) * HARD_LIMIT
        options = {"max_pixels": str(min(most, 2**31 - 1))}
        try:
            container = av.open(
                file,
                "r",
                options=options,
                container_options={
                    "format_whitelist": f"{VIDEO_FORMATS},{SOUND_FORMATS}",
                    "protocol_whitelist": "none",
                },
                timeout=(OPENING, None),
                **METADATA,
            )
        except TimeoutError:
            raise MediaError(f"{name} takes more than {OPENING:g} s to open as a {kind}, and was given up.") from None
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _refused(shared, kind, name, error) from error
        stack.enter_context(container)
        file.deadline = None
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.options = options
        yield container


def incomplete(source: Path | IO[bytes], kind: str) -> bool:
    """Whether a file says itself that more of it should be there."""
    with open_source(source, kind) if isinstance(source, Path) else View(source) as file:
        return is_incomplete(file)


def _refused(shared: Any, kind: str, name: str, error: Exception) -> MediaError:
    """What is wrong with a file that cannot be opened, and what to do."""
    start = View(shared).read(16)
    if what := advice(start):
        return MediaError(f"{name} is not a {kind}. {what}")
    if isinstance(error, av.ArgumentError):
        return MediaError(f"{name} is not a {kind} in a format that can be read (mp4, webm, wav, mp3, ...).")
    if is_incomplete(View(shared)):
        return MediaError(
            f"{name} is an incomplete {kind}: the file ends too early, and what says how to read it is missing. Copy or "
            "download it again, or end the recording properly."
        )
    return MediaError(f"{name} is not a {kind} that can be read: {reason(error)}")


def reason(error: BaseException) -> str:
    """What went wrong, in FFmpeg's words."""
    return str(getattr(error, "strerror", None) or error)
