"""Find out whether a file is complete: some formats state their length, and a broken download or recording is shorter."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

EBML, SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
STREAMED = 0x7FFF0000  # a RIFF file that was written as a stream states the length 0, or this or more
MAX_BOXES = 100_000  # of a recording in pieces of a second, for many hours
MP4_STARTS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def is_incomplete(file: Any) -> bool:
    """Return whether a file is shorter than its headers say (MP4, WAV, AVI, Matroska); other formats do not state their
    length."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(12)
    if start[4:8] in MP4_STARTS:
        names = set()
        for name, length, place in boxes(file):
            names.add(name)
            if place + length > end:
                return True
        return b"moov" not in names and b"moof" not in names
    if start[:4] == b"RIFF":
        length = struct.unpack("<I", start[4:8])[0]
        return 0 < length < STREAMED and 8 + length > end + 1
    if start[:4] == EBML:
        return _segment_end(file) > end
    return False


def boxes(file: Any) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes on the top level of an mp4 (ISO 14496-12): name, length of the content, and its position, to
    which the file is moved. The last box may reach beyond the file's end."""
    end = file.seek(0, os.SEEK_END)
    place = 0
    for _ in range(MAX_BOXES):
        if place + 8 > end:
            return
        file.seek(place)
        length, name = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:  # the length did not fit
            length, header = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))[0], 16
        elif length == 0:  # to the end of the file
            length = end - place
        if length < header:
            length = end - place + 1  # an impossible length: the rest cannot be read
        yield name, length - header, place + header
        place += length


def _segment_end(file: Any) -> int:
    """Return the position at which a Matroska file's one segment ends, or 0 where the file does not say."""
    file.seek(4)
    header = _number(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return 0
    length = _number(file)
    return 0 if length is None else file.tell() + length


def _number(file: Any) -> int | None:
    """Return a length as EBML writes it (RFC 8794), or None where it is unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    count = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (2 ** (8 - count) - 1)]) + file.read(count - 1), "big")
    return None if value == 2 ** (7 * count) - 1 else value
