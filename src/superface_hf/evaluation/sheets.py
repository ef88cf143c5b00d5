"""Write contact sheets: rows of small pictures with headings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..provenance.marks import picture_marks

CELL = 256  # pixels
HEADING = 18  # pixels
JPEG_QUALITY = 85


def cell(picture: np.ndarray, side: int) -> Image.Image:
    """Return a picture (H, H, 3) uint8 at ``side`` pixels."""
    return Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), Image.Resampling.LANCZOS)


def write_sheet(path: Path, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> None:
    """Write rows of cells of one size; each row's name is written into its first cell."""
    side = rows[0][1][0].width
    sheet = Image.new("RGB", (side * len(headings), HEADING + side * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        draw.text((column * side + 4, 3), heading, fill="black")
    for line, (name, cells) in enumerate(rows):
        for column, picture in enumerate(cells):
            sheet.paste(picture, (column * side, HEADING + line * side))
        draw.text((4, HEADING + line * side + 3), name, fill="white", stroke_width=2, stroke_fill="black")
    sheet.save(path, quality=JPEG_QUALITY, **picture_marks(path.suffix))
