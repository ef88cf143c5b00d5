"""Format the tables that are printed."""

from __future__ import annotations

from typing import Any

from ..metrics.slopes import MEASURES
from .methods import METHODS, TITLES
from .regions import CROSS_TALK

# Heading, name of the figure, digits. Arrows say which way is better.
COLUMNS = (
    ("PSNR ↑", "psnr", 2),
    ("boxes ↑", "psnr_boxes", 2),
    ("SSIM ↑", "ssim", 3),
    ("boxes ↑", "ssim_boxes", 3),
    ("percept ↓", "perceptual", 3),
    ("percept2 ↓", "perceptual2", 3),
    ("LPIPS ↓", "lpips", 3),
    ("identity ↑", "identity", 4),
    ("id dist ↓", "identity_distance", 3),
    ("AKD % ↓", "keypoints", 2),
    ("expr ↓", "expression", 3),
    ("pose ° ↓", "pose", 2),
    ("opens →1", "opening", 2),
    ("flicker ↓", "flicker", 3),
    ("skin →1", "sharpness_skin", 2),
    ("hair →1", "sharpness_hair", 2),
    ("Frechet ↓", "frechet", 2),
    ("lost ↓", "lost", 2),
)
LEGEND = """\
Means over clips. PSNR in dB, and in the boxes of eyes and mouth. percept: perceptual distance (EfficientNet-Lite0);
percept2: that of EfficientNet-Lite2, which no training has used. identity: cosine
similarity of dlib's embeddings, id dist: their distance. AKD: average keypoint distance in percent of the face's
width. expr: expression distance in standard deviations. pose in degrees. opens: how much of the target's opening of the
mouth is reached. flicker in 1/255. skin, hair: sharpness, of the target's. Frechet: distance of the sets of features
(EfficientNet-Lite0, not FID). lost: share of frames without a face. In cross-reenactment, identity is compared with the
portrait, expression and pose with the motion that was asked for."""

TURN_COLUMNS = (
    ("hair →1", "sharpness_hair", ".2f"),
    ("outline ↑", "outline", ".3f"),
    ("unchanged ↑", "unchanged", ".2%"),
    ("bend px ↓", "bend", ".2f"),
)
SLOPE_LEGEND = """\
Slope / correlation of changes against the source frame, of all clips together. opening, width: of the mouth; lips: how
thick they are; lids: how far they are apart; brows: how high they are above the eyes."""
TURN_LEGEND = """\
By true frames of clips that far from the source, hair: sharpness, of the target's; outline: intersection over union of the
person with the target's. By portraits before a drawn wall, where neither source nor result shows the person, unchanged: share
of pixels that are exactly the source's; bend: how far the most bent line is off, in pixels (12 and more count as 12)."""


def table(protocols: dict[str, Any]) -> str:
    """Return the table of all protocols that compare methods, side by side."""
    rows = [
        (name, method, protocols[name]["mean"][method])
        for name in ("self", "degraded", "cross")
        if name in protocols
        for method in METHODS
        if method in protocols[name]["mean"]
    ]
    columns = [column for column in COLUMNS if any(column[1] in figures for _, _, figures in rows)]
    lines = [f"{'':<10}{'':<17}" + "".join(f"{heading:>11}" for heading, _, _ in columns)]
    previous = ""
    for name, method, figures in rows:
        cells = (f"{figures[key]:>11.{digits}f}" if key in figures else f"{'':>11}" for _, key, digits in columns)
        lines.append(f"{name if name != previous else '':<10}{TITLES[method]:<17}" + "".join(cells))
        previous = name
    return "\n".join([*lines, "", LEGEND]) if rows else ""


def slope_table(expressions: dict[str, Any]) -> str:
    """Return the table of the share of the target's expressions that each method makes."""
    lines = [f"Expression slopes over the target's, and correlations, measured by {expressions['measured_by']}:"]
    lines.append(f"{'':<17}" + "".join(f"{name + ' →1':>16}" for name in MEASURES))
    for method, row in expressions["slopes"].items():
        cells = (f"{figures['slope']:.2f} / {figures['correlation']:.2f}" for figures in row.values())
        lines.append(f"{TITLES[method]:<17}" + "".join(f"{text:>16}" for text in cells))
    return "\n".join([*lines, SLOPE_LEGEND])


def turn_table(turns: dict[str, Any]) -> str:
    """Return the table of turned heads, and of the background behind them."""
    lines = ["Turned heads:", f"{'':<27}" + "".join(f"{heading:>13}" for heading, _, _ in TURN_COLUMNS)]
    for degrees, rows in turns["mean"].items():
        name = f"{degrees}°"
        for method, figures in rows.items():
            cells = "".join(f"{figures[key]:>13{form}}" for _, key, form in TURN_COLUMNS)
            lines.append(f"{name:<10}{TITLES[method]:<17}{cells}")
            name = ""
    counts = (f"{degrees}° {count['clips']} and {count['portraits']}" for degrees, count in turns["counts"].items())
    return "\n".join([*lines, TURN_LEGEND, f"Clips and portraits: {', '.join(counts)}."])


def region_table(regions: dict[str, Any]) -> str:
    """Return the table of each region's movement relative to the driven region's, and of how well the driven one follows."""
    parts = []
    for key, measured in CROSS_TALK:
        follows = key == "cross_talk"
        names = list(regions[key])
        lines = [f"Movement of other regions, of the driven region's, {measured}:"]
        lines.append(f"{'driven':<10}" + "".join(f"{name:>9}" for name in (*names, *["follows"] * follows)))
        for driven, row in regions[key].items():
            cells = "".join(f"{row[name]:>9.1%}" if name in row else f"{'-':>9}" for name in names)
            lines.append(f"{driven:<10}{cells}" + (f"{regions['obedience'][driven]:>9.0%}" if follows else ""))
        parts.append("\n".join(lines))
    return "\n".join([*parts, "follows: of the commanded movement, as the tracker sees it."])
