"""Plot an evaluation (needs matplotlib, extra ``[metrics]``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SuperFaceError, install_command
from .methods import METHODS, TITLES
from .regions import CROSS_TALK

FIGURES = (
    ("psnr", "PSNR, dB"),
    ("psnr_boxes", "PSNR of eyes and mouth, dB"),
    ("perceptual", "perceptual distance (EfficientNet-Lite0)"),
    ("keypoints", "keypoint distance, % of the face's width"),
    ("sharpness_hair", "sharpness of the hair, of the target's"),
    ("flicker", "flicker, 1/255"),
)


def check_matplotlib() -> None:
    """Raise SuperFaceError, before anything is rendered, if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SuperFaceError(f"Plots need matplotlib: {install_command('metrics')}.") from error


def plot_clips(path: Path, title: str, clips: dict[str, dict[str, dict[str, float]]]) -> None:
    """Plot bars of each clip by each method."""
    figure = _figure(14, 8)
    place = np.arange(len(clips))
    for number, (name, heading) in enumerate(FIGURES, start=1):
        axes = figure.add_subplot(2, 3, number)
        for shift, method in enumerate(METHODS):
            values = [clip[method][name] for clip in clips.values()]
            axes.bar(place + (shift - 1) * 0.27, values, 0.27, label=TITLES[method])
        axes.set_title(heading, fontsize=10)
        axes.set_xticks(place, list(clips), rotation=60, fontsize=8)
        if name.startswith("psnr"):
            finite = [clip[method][name] for clip in clips.values() for method in METHODS]
            axes.set_ylim(bottom=max(0.0, float(np.nanmin(finite)) - 2))
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=100)


def plot_regions(path: Path, regions: dict[str, Any]) -> None:
    """Plot the cross-talk measured in the pictures in two ways, beside that of the driving meshes."""
    figure = _figure(15, 4.5)
    for number, (key, heading) in enumerate(CROSS_TALK, start=1):
        names = list(regions[key])
        shares = np.array([[100 * regions[key][a].get(b, np.nan) for b in names] for a in names])
        axes = figure.add_subplot(1, 3, number)
        axes.imshow(shares, vmin=0, vmax=30, cmap="YlOrRd")
        for row, column in np.argwhere(np.isfinite(shares)):
            axes.text(column, row, f"{shares[row, column]:.1f}", ha="center", va="center", fontsize=9)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("moves")
        axes.set_ylabel("is driven")
        axes.set_title(f"{heading},\n% of the driven movement", fontsize=10)
    figure.savefig(path, dpi=100)


def _figure(width: float, height: float) -> Any:
    """Return a figure without a window, independent of the user's settings."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
