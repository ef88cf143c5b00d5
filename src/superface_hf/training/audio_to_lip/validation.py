"""Measure how well a model's mouth follows real clips and synthetic speech that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data.speech.clips import SpeechClip
from ...data.speech.synthetic_speech import FRAME_RATE, SAMPLING_RATE, Utterance
from ...data.speech.visemes import closed_mouth
from ...face_model.lips import CLOSED, mouth_opening
from ...models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel

LONG_SILENCE = 0.3  # seconds
LAGS = np.round(np.arange(-0.32, 0.321, 0.02), 3)  # seconds


def measure_lips(
    model: SuperFaceAudioToLipModel, clips: Sequence[SpeechClip], spoken: Sequence[Utterance]
) -> dict[str, float]:
    """Return the means over clips: correlation of the opening with the truth, how much it varies against the truth, and its
    lag.

    For synthetic speech also the share of /p b m/ with touching lips, and of the frames in silences with a closed mouth.
    """
    result: dict[str, float] = {}
    if clips:
        result |= _summary("real", [curves(model, clip) for clip in clips])
        result["real_in_step"] = float(
            np.mean([abs(LAGS[lag_curve(model, clip).argmax()]) <= 1.01 / clip.fps for clip in clips])
        )
    if spoken:
        openings = [mouth_opening(model.predict(said.samples, FRAME_RATE, len(said.mouth))) for said in spoken]
        pairs = [(own, mouth_opening(said.mouth)) for own, said in zip(openings, spoken, strict=True)]
        result |= _summary("synthetic", pairs)
        for name, measure in (("bilabials", _closures), ("silence", _silences)):
            closed = np.concatenate([measure(own, said) for own, said in zip(openings, spoken, strict=True)])
            if len(closed):
                result[name] = float(closed.mean())
    return {name: round(value, 4) for name, value in result.items()}


def curves(model: SuperFaceAudioToLipModel, clip: SpeechClip) -> tuple[np.ndarray, np.ndarray]:
    """Return the openings of model and truth over a clip's frames that can be believed."""
    times = np.arange(round(len(clip.samples) / SAMPLING_RATE * FRAME_RATE)) / FRAME_RATE
    truth, good = clip.mouth_at(times)
    own = model.predict(clip.samples, FRAME_RATE, len(times))
    return mouth_opening(own)[good], mouth_opening(truth)[good]


def lag_curve(model: SuperFaceAudioToLipModel, clip: SpeechClip) -> np.ndarray:
    """Correlate the clip's opening with the model's, the truth moved later by each of ``LAGS``."""
    times = np.arange(round(len(clip.samples) / SAMPLING_RATE * FRAME_RATE)) / FRAME_RATE
    own = mouth_opening(model.predict(clip.samples, FRAME_RATE, len(times)))
    truth = mouth_opening(clip.mouth - clip.rest + closed_mouth())
    scores = []
    for lag in LAGS:
        position = (times - clip.offset - lag) * clip.fps
        good = np.interp(position, np.arange(len(truth)), clip.found.astype(float), left=0, right=0) > 0.99
        scores.append(correlation(own[good], np.interp(position[good], np.arange(len(truth)), truth)))
    return np.array(scores)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation of two signals; 0 where one of them does not move."""
    if len(a) < 5 or a.std() < 1e-5 or b.std() < 1e-5:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _summary(name: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    return {
        f"{name}_correlation": float(np.mean([correlation(own, true) for own, true in pairs])),
        f"{name}_variation": float(np.median([own.std() / max(true.std(), 1e-5) for own, true in pairs])),
        f"{name}_opening": float(np.mean([own.mean() for own, _ in pairs])),
    }


def _closures(opening: np.ndarray, said: Utterance) -> np.ndarray:
    """Return for each /p b m/ whether the lips touch in a frame of it."""
    closed = []
    for phoneme in said.phonemes:
        if phoneme.bilabial:
            first, last = int(np.floor(phoneme.start * FRAME_RATE)), int(np.ceil(phoneme.end * FRAME_RATE))
            closed.append(opening[first : last + 1].min() < CLOSED)
    return np.array(closed, float)


def _silences(opening: np.ndarray, said: Utterance) -> np.ndarray:
    """Return for each frame in a long silence whether the mouth is closed, without a tenth of a second at both ends."""
    closed = []
    for phoneme in said.phonemes:
        if not phoneme.signs and phoneme.end - phoneme.start > LONG_SILENCE:
            first, last = int(np.ceil((phoneme.start + 0.1) * FRAME_RATE)), int((phoneme.end - 0.1) * FRAME_RATE)
            closed.append(opening[first : last + 1] < CLOSED)
    return np.concatenate(closed).astype(float) if closed else np.zeros(0)
