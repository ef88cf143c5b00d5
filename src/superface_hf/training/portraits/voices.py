"""Fit what the voice encoder hears, and how far it is trusted (SAW)::

    python -m superface_hf.training.portraits.voices DATA FACES VOICE_ENCODER OUT

``DATA`` holds the clips, ``FACES`` is what ``gather`` wrote (presentation and age of each clip's face, and who is whom),
``VOICE_ENCODER`` the converted network. ``OUT`` gets ``voice_encoder/``, ``speech_to_portrait/`` and ``voices.json``, with
what was measured on held-out people. Ridge regressions: with a hundred people nothing else is learnable.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...errors import MediaError
from ...media import SoundReader
from ...models.speech_to_portrait.modeling_portrait_denoiser import PortraitDenoiser
from ...models.voice_encoder.modeling_voice_encoder import ENOUGH, SuperFaceVoiceEncoderModel
from ...models.voice_encoder.voice import RATE, heard_part
from .faces import people

FOLDS = 10
RIDGE = 0.01  # of the heads, as a share of all variance
LENGTHS = (1, 2, 4, 8, 100)  # windows of a clip that SAW learns from
STEPS = 400
NOISES = 48  # sounds that are no voice


@dataclass(eq=False)
class Voices:
    """Clips with sound.

    Attributes:
        windows: embeddings (W, 256) of each clip's windows.
        seconds: (N,) of voice.
        masculine, age: (N,) of the face, as guessed.
        person: (N,) int64.
        names: (N,).
    """

    windows: list[Tensor]
    seconds: np.ndarray
    masculine: np.ndarray
    age: np.ndarray
    person: np.ndarray
    names: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """(N,) so that every person weighs the same."""
        return 1.0 / np.bincount(self.person)[self.person]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "faces", "voice_encoder", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    encoder = SuperFaceVoiceEncoderModel.from_pretrained(options.voice_encoder, dtype=torch.float32).eval()
    voices = gather_voices(options.data, options.faces, encoder)
    report = fit(voices, encoder)
    denoiser = PortraitDenoiser(age_reach=report["age reach"])
    report |= fit_saw(voices, encoder, denoiser)
    encoder.half().save_pretrained(options.out / "voice_encoder")
    denoiser.save_pretrained(options.out / "speech_to_portrait")
    (options.out / "voices.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


def gather_voices(data: Path, faces: Path, encoder: SuperFaceVoiceEncoderModel) -> Voices:
    """Embed the sound of every clip whose face was gathered."""
    table = dict(np.load(faces / "clips.npz"))
    rows, windows, seconds = [], [], []
    for row, name in enumerate(tqdm(table["name"], mininterval=20, desc="voices")):
        try:
            heard, length = encoder.embed(heard_part(SoundReader(data / "clips" / name)))
        except MediaError:  # a clip without sound
            continue
        if len(heard):
            rows.append(row)
            windows.append(heard.clone())
            seconds.append(length)
    return Voices(
        windows, np.array(seconds), table["masculine"][rows], table["age"][rows], people(table["embedding"][rows]),
        table["name"][rows],
    )  # fmt: skip


def mean_embedding(windows: Tensor) -> Tensor:
    """Return the mean (256,), of length 1, of the windows' embeddings (W, 256)."""
    return torch.nn.functional.normalize(windows.mean(0), dim=0)


def ridge(inputs: Tensor, targets: Tensor, weights: Tensor, strength: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Solve a weighted ridge regression: (N, D), (N,) -> weights (D,), bias."""
    share = weights / weights.sum()
    centre, level = (share[:, None] * inputs).sum(0), (share * targets).sum()
    centred = inputs - centre
    gram = (share[:, None] * centred).T @ centred
    gram = gram + strength * gram.trace() * torch.eye(len(gram))
    slope = torch.linalg.solve(gram, (share[:, None] * centred).T @ (targets - level))
    return slope, level - centre @ slope


def noises(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return the sounds that are no voice: noise of several colours, hum, beeps, chords and beats, 2 seconds each."""
    random = np.random.default_rng(seed)
    time = np.arange(2 * RATE) / RATE
    sounds = []
    for number in range(count):
        kind = number % 4
        if kind == 0:  # coloured noise
            spectrum = np.fft.rfft(random.standard_normal(len(time)))
            spectrum /= np.maximum(1, np.arange(len(spectrum))) ** random.uniform(0, 1.2)
            sound = np.fft.irfft(spectrum, len(time))
        elif kind == 1:  # hum and beeps
            sound = np.sum(
                [
                    np.sin(2 * np.pi * random.uniform(50, 3000) * time + random.uniform(0, 6))
                    for _ in range(random.integers(1, 4))
                ],
                axis=0,
            )
        else:  # chords of decaying strings, or held ones, and beats
            sound = np.zeros(len(time))
            for start in np.arange(0, 2, random.uniform(0.4, 0.9)):
                after = np.maximum(0, time - start)
                root = 110 * 2 ** (random.integers(0, 30) / 12)
                for step in (0, random.choice([3, 4]), 7)[: 3 if kind == 2 else 1]:
                    for harmonic in range(1, random.integers(3, 6)):
                        pitch = root * 2 ** (step / 12) * harmonic
                        ring = np.exp(-after * random.uniform(1, 6)) * (time >= start)
                        sound += ring * np.sin(2 * np.pi * pitch * after) / harmonic
                if kind == 3:
                    sound += 2 * random.standard_normal(len(time)) * np.exp(-after * 30) * (time >= start)
        sounds.append((0.1 * sound / np.abs(sound).max()).astype(np.float32))
    return sounds


def fit(voices: Voices, encoder: SuperFaceVoiceEncoderModel) -> dict[str, float]:
    """Fit the heads on all people, and measure them with people held out in turn."""
    inputs = torch.stack([mean_embedding(windows) for windows in voices.windows])
    weights = torch.from_numpy(voices.weights).float()
    masculine, age = (torch.from_numpy(values).float() for values in (voices.masculine, voices.age))
    mean = float((weights * age).sum() / weights.sum())
    spread = float(((weights * (age - mean).square()).sum() / weights.sum()).sqrt())
    scaled, sign = (age - mean) / spread, 2 * (masculine > 0.5).float() - 1
    heard = held_out_heads(inputs, sign, scaled, weights, voices.person)
    right = (heard[:, 0] > 0) == (sign > 0)
    years = mean + spread * heard[:, 1]
    share = weights / weights.sum()
    report = {
        "people": int(voices.person.max() + 1), "clips": len(inputs),
        "presentation accuracy": float((share * right).sum()),
        "majority": float(max((share * (sign > 0)).sum(), (share * (sign < 0)).sum())),
        "accuracy, feminine": float((weights * right)[sign < 0].sum() / weights[sign < 0].sum()),
        "accuracy, masculine": float((weights * right)[sign > 0].sum() / weights[sign > 0].sum()),
        "age MAE": float((share * (years - age).abs()).sum()), "age MAE of the mean": float((share * (age - mean).abs()).sum()),
        "age r": float(_correlation(years, age, share)),
        "age reach": spread / float((share * (years - (share * years).sum()).square()).sum().sqrt()),
    }  # fmt: skip
    # The logit's scale: held-out predictions as likely as they turn out.
    scale = _logistic_scale(heard[:, 0], sign, weights)
    slope, bias = ridge(inputs, sign, weights)
    age_slope, age_bias = ridge(inputs, scaled, weights)
    error = float((share * (years - age).square()).sum().sqrt())
    with torch.no_grad():
        encoder.heads.weight[0].copy_(slope * scale)
        encoder.heads.bias[0] = bias * scale
        encoder.heads.weight[1].copy_(age_slope)
        encoder.heads.bias[1] = age_bias
        encoder.age_scale.copy_(torch.tensor([mean, spread]))
        encoder.age_error.fill_(error)
    report["voice found"], report["no voice found"] = _fit_voice(voices, encoder)
    return report


def held_out_heads(inputs: Tensor, sign: Tensor, age: Tensor, weights: Tensor, person: np.ndarray) -> Tensor:
    """Predict each clip by heads that were fitted without its person: (N, 2)."""
    heard = torch.zeros(len(inputs), 2)
    for fold in range(FOLDS):
        out = torch.from_numpy(person % FOLDS == fold)
        for column, target in enumerate((sign, age)):
            slope, bias = ridge(inputs[~out], target[~out], weights[~out])
            heard[out, column] = inputs[out] @ slope + bias
    return heard


def fit_saw(voices: Voices, encoder: SuperFaceVoiceEncoderModel, denoiser: PortraitDenoiser) -> dict[str, float]:
    """Fit beta, so that the mean face, moved by it toward what was heard, comes nearest to the group of held-out people."""
    weights = torch.from_numpy(voices.weights).float()
    masculine, age = (torch.from_numpy(values).float() for values in (voices.masculine, voices.age))
    sign, (mean, spread) = 2 * (masculine > 0.5).float() - 1, (float(value) for value in encoder.age_scale)
    whole = torch.stack([mean_embedding(windows) for windows in voices.windows])
    scale = float(encoder.heads.weight[0].detach().norm() / ridge(whole, sign, weights)[0].norm())
    told, goal, heard, share = [], [], [], []
    for length in LENGTHS:
        short = torch.stack([mean_embedding(windows[:length]) for windows in voices.windows])
        for fold in range(FOLDS):
            out = torch.from_numpy(voices.person % FOLDS == fold)
            slope, bias = ridge(whole[~out], sign[~out], weights[~out])
            age_slope, age_bias = ridge(whole[~out], (age[~out] - mean) / spread, weights[~out])
            presentation = torch.tanh(scale * (short[out] @ slope + bias) / 2)
            heard.append(torch.stack([presentation, short[out] @ age_slope + age_bias], 1))
            goal.append(torch.stack([sign[out], (age[out] - mean) / spread], 1))
            seconds = torch.from_numpy(np.minimum(voices.seconds[out.numpy()], 0.8 * (length + 1))).float()
            certainty = seconds / (seconds + ENOUGH)
            told.append(torch.stack([torch.ones_like(seconds), seconds.log(), certainty], 1))
            share.append(weights[out])
    inputs, goals, hearings, shares = (torch.cat(parts) for parts in (told, goal, heard, share))
    saw = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([saw], lr=0.05)
    for _ in range(STEPS):
        optimizer.zero_grad()
        beta = torch.sigmoid(inputs @ saw)[:, None]
        loss = (shares[:, None] * (beta * hearings - goals).square()).sum() / shares.sum() + 1e-4 * saw.square().sum()
        loss.backward()
        optimizer.step()
    denoiser.saw.copy_(saw.detach())
    denoiser.mean_group.copy_(torch.tensor([0.5, mean]))
    fixed = {
        f"SAW error, beta {value}": float((shares[:, None] * (value * hearings - goals).square()).sum() / shares.sum())
        for value in (0, 1)
    }
    return {**fixed, "SAW error, adaptive": float(loss), "beta at 1 s": denoiser.beta(1.0, 1 / (1 + ENOUGH)),
            "beta at 10 s": denoiser.beta(10.0, 10 / (10 + ENOUGH))}  # fmt: skip


def _fit_voice(voices: Voices, encoder: SuperFaceVoiceEncoderModel) -> tuple[float, float]:
    """Fit the head that tells voices from other sounds, and return the shares of held-out windows that it gets right."""
    others = [encoder.embed(sound)[0].clone() for sound in noises(NOISES)]
    weights = [torch.full((len(w),), share / len(w)) for w, share in zip(voices.windows, voices.weights, strict=True)]
    inputs = torch.cat([*voices.windows, *others])
    goal = torch.cat([torch.ones(sum(map(len, voices.windows))), -torch.ones(sum(map(len, others)))])
    count = float(sum(weight.sum() for weight in weights))
    share = torch.cat([*weights, *(torch.full((len(w),), count / len(others) / len(w)) for w in others)])
    fold = torch.cat(
        [torch.full((len(w),), int(p) % 2) for w, p in zip(voices.windows, voices.person, strict=True)]
        + [torch.full((len(w),), (number // 4) % 2) for number, w in enumerate(others)]
    )
    says = torch.zeros(len(inputs))
    for out in (0, 1):
        slope, bias = ridge(inputs[fold != out], goal[fold != out], share[fold != out], 3e-4)
        says[fold == out] = inputs[fold == out] @ slope + bias
    scale = _logistic_scale(says, goal, share)
    slope, bias = ridge(inputs, goal, share, 3e-4)
    with torch.no_grad():
        encoder.heads.weight[2].copy_(slope * scale)
        encoder.heads.bias[2] = bias * scale
    right = (says > 0) == (goal > 0)
    return tuple(float((share * right)[goal == s].sum() / share[goal == s].sum()) for s in (1, -1))  # type: ignore[return-value]


def _logistic_scale(says: Tensor, goal: Tensor, weights: Tensor) -> float:
    """Return the likeliest factor that turns scores into logits."""
    factors = torch.logspace(-1, 2, 60)
    losses = [(weights * torch.nn.functional.softplus(-factor * says * goal)).sum() for factor in factors]
    return float(factors[int(torch.stack(losses).argmin())])


def _correlation(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    a, b = a - (share * a).sum(), b - (share * b).sum()
    return (share * a * b).sum() / ((share * a * a).sum() * (share * b * b).sum()).sqrt()


if __name__ == "__main__":
    main()
