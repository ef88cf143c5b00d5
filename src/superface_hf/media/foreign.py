"""Recognise files of kinds that are not supported, and say what to do about them."""

from __future__ import annotations

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
KINDS = {
    b"SDPX": "a DPX picture",
    b"XPDS": "a DPX picture",
    b"\x76\x2f\x31\x01": "an OpenEXR picture",
    b"#?RADIANCE": "a Radiance HDR picture",
    b"#?RGBE": "a Radiance HDR picture",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"FUJIFILMCCD-RAW": "a camera's raw file",
    b"IIU\0": "a camera's raw file",
    b"%PDF": "a PDF document",
}
RAW_BRANDS = (b"crx ",)


def is_heic(start: bytes) -> bool:
    """Return whether a file with this start is a HEIC or HEIF photograph."""
    return start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS


def advice(start: bytes) -> str | None:
    """Return what kind of file has this start, and what to do with it; None where nothing is known."""
    kind = next((kind for mark, kind in KINDS.items() if start.startswith(mark)), None)
    if start[4:8] == b"ftyp" and start[8:12] in RAW_BRANDS:
        kind = "a camera's raw file"
    if is_heic(start):
        return "It is a HEIC photograph: convert it to JPEG or PNG."
    if kind is None:
        return None
    return f"It is {kind}: export it from the program that made it, as PNG or JPEG in sRGB (a sequence of them as mp4)."
