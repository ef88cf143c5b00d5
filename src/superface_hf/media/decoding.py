"""Decodes on where a file is damaged: a broken place must not end a long recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
from av.stream import Disposition

MOST_DAMAGED = 10_000  # packets in a row


def decoded(container: av.container.InputContainer, stream: Any) -> Iterator[tuple[av.Packet | None, list[Any] | None]]:
    """Yields each packet with its frames; None instead of the frames where the packet cannot be decoded, and None for both
    where the container itself is damaged."""
    damaged = 0
    packets = container.demux(stream)
    while damaged <= MOST_DAMAGED:
        packet = frames = None
        try:
            packet = next(packets)
            frames = packet.decode()
            damaged = 0
        except StopIteration:
            return
        except (av.FFmpegError, ValueError):
            damaged += 1
            if packet is None:  # an iterator ends with its error, but the file goes on
                packets = container.demux(stream)
        yield packet, frames


def picture_track(container: av.container.InputContainer) -> Any:
    """The first video track that is no cover picture of a sound; None where there is no video track."""
    tracks = container.streams.video
    moving = [track for track in tracks if not track.disposition & Disposition.attached_pic]
    return next(iter(moving or tracks), None)
