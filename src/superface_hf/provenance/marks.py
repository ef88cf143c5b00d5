"""Mark the output of this package as AI-generated. :mod:`superface_hf.media.inspection` reads the marks.

Every mp4 and picture carries the mark twice, as plain metadata that needs no further library:

- an XMP packet with IPTC's Digital Source Type and the AI system used, where picture agencies, search engines and editing
  programs look for it (https://iptc.org/standards/photo-metadata/);
- a sentence for people in the comment field, which also survives tools that copy a video into a new file without its XMP.

Signed content credentials (C2PA) come on top where a certificate is given, see :mod:`superface_hf.provenance.credentials`.
A mark helps those who look for it. Anybody can remove it, so a file without one proves nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from ..version import __version__
from .credentials import Signer

SOFTWARE = "superface-hf"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# IPTC's terms for a person's picture of which a trained model made a part (the rendered head in the photograph), and
# for a picture that a trained model made completely.
SOURCE_TYPE = "compositeWithTrainedAlgorithmicMedia"
MADE_UP = "trainedAlgorithmicMedia"
AI_SOURCE_TYPES = (MADE_UP, SOURCE_TYPE, "compositeSynthetic")
STATEMENT = f"AI-generated with {SOFTWARE} {__version__}: a program made or changed the face shown here. "
# Shown wherever a made-up face appears.
DISCLAIMER = (
    "A made-up face. It was drawn from averages of many people; the voice moved only how masculine or feminine and how old it "
    "looks. It is not what the speaker looks like, and cannot be used to identify anybody."
)

# Identifiers of the mp4 boxes that hold XMP (Adobe's XMP specification, part 3) and content credentials.
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
# The first bytes of content credentials in a picture: a JUMBF description box of C2PA's type (ISO 19566-5).
C2PA_START = b"jumdc2pa"
EBML = b"\x1aE\xdf\xa3"  # the first bytes of a WebM, which has its mark in a tag alone
LARGEST_XMP = 2**20  # bytes; a packet is a few kilobytes
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = "http://ns.adobe.com/xap/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


def statement(source_type: str = SOURCE_TYPE) -> str:
    """Return the mark as a sentence for people."""
    disclaimer = f" {DISCLAIMER}" if source_type == MADE_UP else ""
    return f"{STATEMENT}Digital source type: {VOCABULARY}{source_type}{disclaimer}"


def mp4_tags(source_type: str = SOURCE_TYPE) -> dict[str, str]:
    """Return the mark as tags of an mp4 container."""
    return {"comment": statement(source_type), "encoding_tool": f"{SOFTWARE} {__version__}"}


def xmp_packet(source_type: str = SOURCE_TYPE) -> bytes:
    """Return the mark as an XMP packet, UTF-8."""
    properties = {
        "xmp:CreatorTool": f"{SOFTWARE} {__version__}",
        "Iptc4xmpExt:DigitalSourceType": VOCABULARY + source_type,
        "Iptc4xmpExt:AISystemUsed": SOFTWARE,
        "Iptc4xmpExt:AISystemVersionUsed": __version__,
    }
    attributes = "".join(f"\n   {name}={quoteattr(value)}" for name, value in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{RDF}">\n'
        f'  <rdf:Description rdf:about="" xmlns:xmp="{XMP}" xmlns:Iptc4xmpExt="{IPTC}"{attributes}/>\n'
        ' </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def mark_video(path: Path, source_type: str = SOURCE_TYPE) -> None:
    """Add the XMP packet to a finished mp4, and sign it where the environment names a signer.

    Raises:
        ProvenanceError: it cannot be signed.
    """
    append_xmp(path, source_type)
    if signer := Signer.from_environment():
        signer.sign(path)


def append_xmp(path: Path, source_type: str = SOURCE_TYPE) -> None:
    """Add the XMP packet to a finished mp4, as a box behind all others, so that nothing else in the file moves."""
    content = XMP_UUID + xmp_packet(source_type)
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(content), b"uuid") + content)


def picture_marks(suffix: str, source_type: str = SOURCE_TYPE) -> dict[str, Any]:
    """Return the mark as arguments for Pillow's ``save``.

    Args:
        suffix: the suffix of the file's name: .png, .jpg, .jpeg or .webp, in any case.
    """
    if suffix.lower() == ".webp":
        return {"xmp": xmp_packet(source_type)}
    if suffix.lower() != ".png":
        return {"xmp": xmp_packet(source_type), "comment": statement(source_type)}
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", f"{SOFTWARE} {__version__}")
    info.add_text("Comment", statement(source_type))
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(source_type).decode())
    return {"pnginfo": info}
