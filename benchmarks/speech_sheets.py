"""Draw contact sheets of a portrait that speaks: the sound's spectrum on top, below it the faces of the moments it is over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from transformers import pipeline

from superface_hf import SuperFaceAudioToLipModel
from superface_hf.media import load_sound
from superface_hf.metrics.closures import silences
from superface_hf.utils.assets import PORTRAIT

FACES = 16
SECONDS = 3.2  # shown of each file, from where the speech begins
WINDOW = (0.26, 0.46, 0.72, 0.92)  # of the rendered crop: the bundled portrait from the eyes to the chin
SIDE = 192  # pixels of a face
STRIP = 96  # pixels of the spectrum's height


def write_sheets(paths: Iterable[Path], folder: Path, model: SuperFaceAudioToLipModel) -> None:
    """Write a picture for each sound file: two rows of ``FACES / 2`` faces of the bundled portrait, each below its sound."""
    folder.mkdir(parents=True, exist_ok=True)
    pipe: Any = pipeline("talking-face", audio_to_lip=model, device="cpu")  # type: ignore[call-overload]
    for path in paths:
        samples = beginning(load_sound(path).mono(16000))
        clip = pipe(PORTRAIT, audio=samples, sampling_rate=16000, fps=FACES / SECONDS, idle=False, paste_back=False)
        target = folder / f"{path.stem}.png"
        sheet(samples, clip.frames[:FACES], model).save(target)
        print(f"wrote {target}")


def beginning(samples: np.ndarray) -> np.ndarray:
    """Return ``SECONDS`` of a sound from shortly before its speech begins."""
    quiet = silences(samples, 16000)
    start = round(16000 * max(0.0, quiet[0][1] - 0.2)) if quiet and quiet[0][0] == 0 else 0
    piece = samples[start : start + round(16000 * SECONDS)]
    return np.pad(piece, (0, round(16000 * SECONDS) - len(piece)))


def sheet(samples: np.ndarray, frames: np.ndarray, model: SuperFaceAudioToLipModel) -> Image.Image:
    """Return the picture; each face stands in the middle below its moment, so the spectrum begins half a face earlier."""
    spectrum = spectrum_image(model.feature_extractor(samples)["input_features"][0])
    window = tuple(share * frames.shape[1] for share in WINDOW)
    faces = [Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=window) for frame in frames]
    half = FACES // 2
    result = Image.new("RGB", (half * SIDE, 2 * (STRIP + SIDE)))
    wide = Image.new("L", (FACES * SIDE + SIDE, STRIP))
    wide.paste(spectrum.resize((FACES * SIDE, STRIP)), (SIDE // 2, 0))
    draw = ImageDraw.Draw(result)
    for row in range(2):
        top = row * (STRIP + SIDE)
        result.paste(wide.crop((row * half * SIDE, 0, (row + 1) * half * SIDE, STRIP)), (0, top))
        for column, face in enumerate(faces[row * half : (row + 1) * half]):
            result.paste(face, (column * SIDE, top + STRIP))
            middle = column * SIDE + SIDE // 2
            draw.line((middle, top, middle, top + STRIP), fill=(255, 210, 0))
            seconds = (row * half + column) * SECONDS / FACES
            draw.text((column * SIDE + 4, top + STRIP + 4), f"{seconds:.1f} s", fill=(255, 255, 255))
    return result


def spectrum_image(features: np.ndarray) -> Image.Image:
    """Return log-mel features (T, mels) as a grey picture: low bands at the bottom, loud is bright."""
    low, high = np.percentile(features, (5, 99.5))
    grey = np.clip((features - low) / max(high - low, 1e-6), 0, 1)
    return Image.fromarray((255 * grey.T[::-1]).astype(np.uint8))
