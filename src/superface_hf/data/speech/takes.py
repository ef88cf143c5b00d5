"""Recorded speech with animators' curves (``speech_blendshapes/``), as clips to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...media import load_sound
from ...motion.arkit import ARKIT_NAMES, arkit_index
from .clips import SAMPLING_RATE, SpeechClip
from .visemes import mouth_of

FPS = 30.0
# What each channel (beside its side or corner, "_l", "_dr", "_c") does in ARKit terms at 1. Their jaw is `mouth_stretch`.
CHANNELS: dict[str, dict[str, float]] = {
    "mouth_stretch": {"jawOpen": 0.8},
    "mouth_oh": {"jawOpen": 0.25, "mouthFunnel": 0.2},
    "mouth_oo": {"mouthPucker": 0.5, "mouthFunnel": 0.1},
    "mouth_pucker": {"mouthPucker": 0.6},
    "mouth_funnel": {"mouthFunnel": 0.4},
    "mouth_lowerLipDepress": {"mouthLowerDown": 0.5},
    "mouth_upperLipRaise": {"mouthUpperUp": 0.5},
    "mouth_press": {"mouthPress": 0.3},
    "mouth_suck_d": {"mouthRollLower": 0.3},
    "mouth_suck_u": {"mouthRollUpper": 0.3},
    "mouth_lipStretch": {"mouthStretch": 0.6},
    "mouth_lipCornerPull": {"mouthSmile": 0.6},
}


def load_speech_takes(data: Path) -> list[SpeechClip]:
    """Return all takes below ``data / "speech_blendshapes"``, as clips of one person; none if the folder is not there."""
    import pyarrow.parquet as pq

    takes = []
    for table in sorted((data / "speech_blendshapes").glob("*.parquet")):
        columns = {name: np.array(values) for name, values in pq.read_table(table).to_pydict().items()}
        mouth = mouth_of(arkit_scores(columns)).astype(np.float32)
        samples = load_sound(table.with_suffix(".flac")).mono(SAMPLING_RATE)
        takes.append(SpeechClip(table.stem, "speech_blendshapes", FPS, samples, mouth, np.ones(len(mouth), bool)))
    return takes


def arkit_scores(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the channels (T,) by name -> ARKit scores (T, 52); a channel's sides and corners count as their mean."""
    frames = len(next(iter(columns.values())))
    scores = np.zeros((frames, len(ARKIT_NAMES)), np.float32)
    for channel, shapes in CHANNELS.items():
        values = [array for name, array in columns.items() if _belongs(name, channel)]
        if not values:
            continue
        for shape, share in shapes.items():
            for name in (shape,) if shape in ARKIT_NAMES else (f"{shape}Left", f"{shape}Right"):
                scores[:, arkit_index(name)] += share * np.mean(values, axis=0)
    return scores


def _belongs(name: str, channel: str) -> bool:
    """Return whether a channel belongs to a name: "mouth_funnel_dl" to "mouth_funnel", and "mouth_suck_dl" to
    "mouth_suck_d"."""
    rest = name.removeprefix(channel)
    return rest != name and rest in ("_l", "_r", "_c", "l", "r", "_dl", "_dr", "_ul", "_ur")
