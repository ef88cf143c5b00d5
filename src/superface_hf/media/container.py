"""Open files with FFmpeg safely. Only this module does: known formats only, and no access to anything but the given bytes.

FFmpeg recognises formats by content, and some formats are instructions: an SDP description makes it listen on the network, a
playlist or a concat script opens other files and addresses. None of these is on the list, and no listed format may open
anything else.
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

# Demuxers that read one file from end to end. Still pictures, raw samples and formats that name other files are left out.
VIDEO_FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,mxf,dv,ivf,nut,rm,obu"
SOUND_FORMATS = "wav,w64,mp3,aac,flac,aiff,caf,au,ac3,eac3,amr,ape,wv,tta,dts"
OPENING = 30.0  # seconds that FFmpeg may take to recognise and open a file
# The decoder itself refuses frames above the limit on pixels by this factor, before it allocates the memory.
HARD_LIMIT = 4
# PyAV before 19 raises on broken metadata unless this option is set; PyAV 19 has no such option.
METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}


@contextmanager
def open_container(
    source: Path | IO[bytes], kind: str, name: str, limit: WorkLimit | None = None
) -> Iterator[av.container.InputContainer]:
    """Open a path, or a shared file from its start.

    Args:
        kind: "video" or "sound", for messages.
        name: its name in messages.
        limit: the limit on the pixels of a frame.

    Raises:
        MediaError: the format is not supported, or the file takes too long to open.
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
    """Return whether a file is shorter than its own headers say."""
    with open_source(source, kind) if isinstance(source, Path) else View(source) as file:
        return is_incomplete(file)


def _refused(shared: Any, kind: str, name: str, error: Exception) -> MediaError:
    """Return the error for a file that cannot be opened: what is wrong, and what to do."""
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
    """Return FFmpeg's own description of an error."""
    return str(getattr(error, "strerror", None) or error)
