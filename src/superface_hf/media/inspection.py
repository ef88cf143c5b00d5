"""Read what a picture or a video says about its origin, see :mod:`superface_hf.provenance.marks`."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import MediaError
from ..provenance.credentials import ContentCredentials, read_credentials
from ..provenance.marks import (
    AI_SOURCE_TYPES,
    C2PA_START,
    C2PA_UUID,
    EBML,
    IPTC,
    LARGEST_XMP,
    RDF,
    SOFTWARE,
    VOCABULARY,
    XMP,
    XMP_UUID,
)
from .container import open_container
from .picture import load_picture, open_picture
from .sources import open_source
from .video import VideoReader
from .whole import boxes

OWN_STATEMENT = re.compile(rf"{SOFTWARE} ([^\s:]+): .*{re.escape(VOCABULARY)}(\w+)", re.DOTALL)


Kind = Literal["png", "jpeg", "webp", "mp4", "webm"]


@dataclass(frozen=True)
class Provenance:
    """What a file says about its origin.

    Attributes:
        path: the file.
        kind: its kind, by its content: "png", "jpeg", "webp", "mp4" (also .mov and .m4v), or "webm".
        source_type: IPTC's term for how it was made, such as "compositeWithTrainedAlgorithmicMedia", or None.
        software: the program that says it made the file, or None.
        version: the version of that program, or None.
        found_in: where a mark was found: "xmp", "comment", "credentials".
        credentials: the signed content credentials, or None.
    """

    path: Path
    kind: Kind
    source_type: str | None = None
    software: str | None = None
    version: str | None = None
    found_in: tuple[str, ...] = ()
    credentials: ContentCredentials | None = None

    @property
    def ai_generated(self) -> bool:
        """Whether the file says that a trained model made it, or a part of it. False proves nothing."""
        return self.source_type in AI_SOURCE_TYPES

    @property
    def ours(self) -> bool:
        """Whether the file says that this package made it."""
        return self.ai_generated and self.software == SOFTWARE

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes in types that JSON has."""
        verdicts = {"ai_generated": self.ai_generated, "ours": self.ours}
        return {"file": str(self.path), **verdicts, **{k: v for k, v in asdict(self).items() if k != "path"}}


def inspect_file(path: str | os.PathLike[str]) -> Provenance:
    """Read what a picture or video says about its origin.

    Args:
        path: a PNG, JPEG or WebP picture, or an MP4, M4V, MOV or WebM video; the file name does not matter.

    Raises:
        MediaError: it does not exist, is damaged or cut off, or is of another kind.
    """
    source = Path(path)
    kind = _kind(source)
    packet, comment, signed = _read_video(source) if kind in ("mp4", "webm") else _read_picture(source)
    found: list[str] = []
    source_type, software, version = _from_xmp(packet)
    if source_type:
        found.append("xmp")
    if own := OWN_STATEMENT.search(comment):
        found.append("comment")
        source_type, software, version = source_type or own[2], software or SOFTWARE, version or own[1]
    credentials = read_credentials(source, signed)
    if credentials and credentials.source_type:
        found.append("credentials")
        source_type, software = source_type or credentials.source_type, software or credentials.software
    return Provenance(source, kind, source_type, software, version, tuple(found), credentials)


def _kind(path: Path) -> Kind:
    with open_source(path, "picture or video") as file:
        start = file.read(12)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "webp"
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return "mp4"
    if start.startswith(EBML):
        return "webm"
    raise MediaError(
        f"{path} is none of the files that can be inspected: PNG, JPEG or WebP pictures, MP4, MOV or WebM videos."
    )


def _read_picture(path: Path) -> tuple[bytes, str, bool]:
    """Return the XMP packet, the comment, and whether there may be content credentials."""
    load_picture(path)  # raises MediaError for a damaged one
    with open_picture(path) as image:
        # Pillow gives XMP as bytes or text, by the format.
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        comment = image.info.get("Comment") or image.info.get("comment") or ""
    packet = packet.encode() if isinstance(packet, str) else packet
    comment = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment
    with path.open("rb") as file:
        signed = C2PA_START in file.read()
    return packet, comment, signed


def _read_video(path: Path) -> tuple[bytes, str, bool]:
    """Return the same as :func:`_read_picture` for a video."""
    next(iter(VideoReader(path)))  # raises MediaError for a damaged one
    packet, signed = b"", False
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        for name, length, place in () if file.read(4) == EBML else boxes(file):
            if place + length > end:
                raise MediaError(f"The video {path} is damaged or cut off after {end} bytes: fetch or write it again.")
            if name != b"uuid":
                continue
            uuid = file.read(16)
            if uuid == XMP_UUID and length - 16 <= LARGEST_XMP:
                packet = file.read(length - 16)
            signed = signed or uuid == C2PA_UUID
    with open_container(path, "video", str(path)) as container:
        tags = {name.lower(): text for name, text in container.metadata.items()}
        # Bytes that are not UTF-8 are decoded as surrogates, which cannot be printed.
        comment = tags.get("comment", "").encode("utf-8", "ignore").decode()
    return packet, comment, signed


def _from_xmp(packet: bytes) -> tuple[str | None, str | None, str | None]:
    """Return the digital source type, the software and its version from an XMP packet."""
    # The packet is not trusted: entities, which could expand without limit, are refused, and invalid XML counts as no mark.
    if not packet or len(packet) > LARGEST_XMP or b"<!" in packet:
        return None, None, None
    try:
        root = ET.fromstring(packet.strip(b"\0 \r\n\t"))
    except (ET.ParseError, ValueError, LookupError):
        return None, None, None
    values: dict[str, str] = {}
    for node in root.iter(f"{{{RDF}}}Description"):
        for name, text in [*node.attrib.items(), *((child.tag, child.text or "") for child in node)]:
            values.setdefault(name, text.strip())
    source_type = values.get(f"{{{IPTC}}}DigitalSourceType", "").rstrip("/").rpartition("/")[2]
    software = values.get(f"{{{IPTC}}}AISystemUsed") or values.get(f"{{{XMP}}}CreatorTool")
    return source_type or None, software or None, values.get(f"{{{IPTC}}}AISystemVersionUsed") or None
