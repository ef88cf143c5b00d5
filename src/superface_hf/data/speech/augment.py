"""Augmentation of speech: rooms, noise, microphones and codecs.

Everything here keeps time: frame k of the sound still belongs to frame k of the picture. Pitch and speed are changed together,
where windows are cut (see ``audio_to_lip_data``), because they change the times of the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLING_RATE = 16000
MU = 255.0  # of the G.711 telephone codec


@dataclass(frozen=True)
class SoundAugment:
    """How often each change is made, and how strong it is; all ranges are drawn from evenly.

    Attributes:
        noise: share of the sounds with noise, at ``snr`` dB below the speech.
        hum: share of those noises that is mains hum and its harmonics; the others are hiss of any colour.
        reverberation: share that stands in a room, with a decay of 60 dB in ``decay`` seconds.
        band: share heard through a low-pass at ``cutoff`` Hz, half of them also without their lowest frequencies.
        telephone: share coded with 8 bits by the mu-law.
        clipping: share that is turned up until the peaks are cut off, by ``overdrive`` dB.
        level: root mean square of the speech at the end, in dB below full scale.
        speed: by which factor pitch and speed are changed.
    """

    noise: float = 0.5
    snr: tuple[float, float] = (5.0, 40.0)
    hum: float = 0.1
    reverberation: float = 0.25
    decay: tuple[float, float] = (0.1, 0.6)
    band: float = 0.25
    cutoff: tuple[float, float] = (2800.0, 7500.0)
    telephone: float = 0.1
    clipping: float = 0.05
    overdrive: tuple[float, float] = (3.0, 10.0)
    level: tuple[float, float] = (-36.0, -14.0)
    speed: tuple[float, float] = (0.87, 1.15)

    def draw_speed(self, rng: np.random.Generator) -> float:
        """Return a factor for pitch and speed; half of the time 1."""
        return float(rng.uniform(*self.speed)) if rng.random() < 0.5 else 1.0

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a worse recording of ``samples`` (N,) float32, of the same length and timing, within [-1, 1]."""
        result: np.ndarray = samples.astype(np.float32)
        if rng.random() < self.reverberation:
            result = in_room(result, rng.uniform(*self.decay), rng)
        if rng.random() < self.noise:
            noise = hum(len(result), rng) if rng.random() < self.hum else hiss(len(result), rng)
            result = result + noise * speech_level(result) * 10 ** (-rng.uniform(*self.snr) / 20)
        if rng.random() < self.band:
            low = rng.uniform(100.0, 350.0) if rng.random() < 0.5 else 0.0
            result = band_passed(result, low, rng.uniform(*self.cutoff))
        result = at_level(result, rng.uniform(*self.level))
        if rng.random() < self.clipping:
            peak = np.abs(result).max() * 10 ** (-rng.uniform(*self.overdrive) / 20)
            result = np.clip(result, -peak, peak)
        if rng.random() < self.telephone:
            result = mu_law(result)
        return np.clip(result, -1, 1).astype(np.float32)


def speech_level(samples: np.ndarray) -> float:
    """Return the root mean square of the louder parts, so that pauses do not count; at least -60 dB."""
    blocks = samples[: len(samples) // 400 * 400].reshape(-1, 400)
    if not len(blocks):
        return 1e-3
    power = (blocks**2).mean(1)
    return float(max(np.sqrt(power[power >= np.percentile(power, 60)].mean()), 1e-3))


def at_level(samples: np.ndarray, level: float) -> np.ndarray:
    """Bring speech to ``level`` dB (root mean square against full scale)."""
    return samples * np.float32(10 ** (level / 20) / speech_level(samples))


def hiss(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise (length,) of root mean square 1 whose spectrum falls by 0 to 9 dB an octave, loudness drifting a little."""
    spectrum = np.fft.rfft(rng.standard_normal(length).astype(np.float32))
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLING_RATE), 60.0)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1.5), length)
    drift = np.interp(np.arange(length), np.linspace(0, length, 6), rng.uniform(0.5, 1.5, 6))
    noise = noise * drift
    return (noise / np.sqrt((noise**2).mean() + 1e-12)).astype(np.float32)


def hum(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return a steady tone (length,) with harmonics, of root mean square 1."""
    base = rng.choice([50.0, 60.0, rng.uniform(80.0, 600.0)])
    time = np.arange(length) / SAMPLING_RATE
    tone = sum(rng.uniform() / k * np.sin(2 * np.pi * (k * base * time + rng.uniform())) for k in range(1, 9))
    return (tone / np.sqrt((tone**2).mean() + 1e-12)).astype(np.float32)


def tones(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return a sound like music (length,): notes of several harmonics that begin and fade, of root mean square 1."""
    time = np.arange(length) / SAMPLING_RATE
    sound = np.zeros(length)
    for _ in range(int(rng.integers(3, 9) * (1 + length / SAMPLING_RATE))):
        start, frequency = rng.uniform(0, time[-1] if length else 0), 110.0 * 2 ** (rng.integers(0, 36) / 12)
        since = np.maximum(time - start, 0)
        envelope = np.minimum(since / rng.uniform(0.005, 0.05), 1) * np.exp(-since / rng.uniform(0.1, 0.8))
        for k in range(1, int(rng.integers(2, 6))):
            sound += envelope * rng.uniform(0.2, 1) / k * np.sin(2 * np.pi * k * frequency * time)
    return (sound / np.sqrt((sound**2).mean() + 1e-12)).astype(np.float32)


def in_room(samples: np.ndarray, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Reverberation: the direct sound, then decaying noise as its echoes."""
    length = round(decay * SAMPLING_RATE)
    echo = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echo *= rng.uniform(0.1, 0.7) / np.sqrt((echo**2).sum())
    echo[: round(0.004 * SAMPLING_RATE)] = 0
    echo[0] = 1.0
    size = 1 << int(np.ceil(np.log2(len(samples) + length)))
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)
    return wet[: len(samples)].astype(np.float32)


def band_passed(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keep only what lies between ``low`` and ``high`` Hz, with soft edges."""
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLING_RATE)
    keep = 1 / (1 + (frequency / high) ** 16)
    if low:
        keep = keep * (1 - 1 / (1 + (frequency / low) ** 8))
    return np.fft.irfft(np.fft.rfft(samples) * keep, len(samples)).astype(np.float32)


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Code sound with 8 bits on a logarithmic scale, and decode it."""
    coded = np.sign(samples) * np.log1p(MU * np.minimum(np.abs(samples), 1)) / np.log1p(MU)
    coded = np.round(coded * 127) / 127
    return (np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(MU)) / MU).astype(np.float32)
