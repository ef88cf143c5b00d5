"""Decode packets, and continue after damaged ones, so that a broken place does not end a long recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
from av.stream import Disposition

MOST_DAMAGED = 10_000  # packets in a row
AVI_HEADER = 8  # bytes before a packet, which the index counts with it


def decoded(container: av.container.InputContainer, stream: Any) -> Iterator[tuple[av.Packet | None, list[Any] | None]]:
    """Yield each packet with its frames: None instead of the frames where the packet cannot be decoded, and None for
    both where the container itself is damaged."""
    damaged = 0
    places = _indexed_times(container, stream)
    packets = container.demux(stream)
    while damaged <= MOST_DAMAGED:
        packet = frames = None
        try:
            packet = next(packets)
            _place(packet, places)
            frames = packet.decode()
            damaged = 0
        except StopIteration:
            return
        except (av.FFmpegError, ValueError):
            damaged += 1
            if packet is None:  # the iterator ended with the error, but the file has more packets
                packets = container.demux(stream)
        yield packet, frames


def _indexed_times(container: av.container.InputContainer, stream: Any) -> dict[int, int]:
    """Return the time, in the stream's unit, of each packet of an AVI file by the byte at which it begins; empty for
    other files.

    An AVI file has no time stamps. FFmpeg counts its packets, so that everything after a damaged one would come too early; the
    file's index has the true times.
    """
    if container.format.name != "avi":
        return {}
    return {entry.pos + AVI_HEADER: entry.timestamp for entry in stream.index_entries}


def _place(packet: av.Packet, places: dict[int, int]) -> None:
    """Set a packet's time to that in the index, if the index has one."""
    time = places.get(packet.pos) if packet.pos is not None else None
    if time is not None and packet.dts is not None and time != packet.dts:
        later = time - packet.dts
        packet.pts, packet.dts = packet.pts + later if packet.pts is not None else None, time


def picture_track(container: av.container.InputContainer) -> Any:
    """Return the first video track that is not the cover picture of a sound, or None where there is no video track."""
    tracks = container.streams.video
    moving = [track for track in tracks if not track.disposition & Disposition.attached_pic]
    return next(iter(moving or tracks), None)
