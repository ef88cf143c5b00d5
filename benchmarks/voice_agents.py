"""Measure a face behind a voice agent: the offset between sound and lips, and whether the face keeps pace with the clock.

::

    python benchmarks/voice_agents.py [--model STUDENT] [--fps 25] [--minutes 3] [--sessions 1]

Utterances of the bundled sentence come as a text-to-speech gives them, in chunks of 100 ms, faster than they are said, with
pauses between them. Parts are taken as they come. The offset is measured in what comes out: the mouth of each part, held over
the frames that it lasts, is correlated with the mouth that audio-to-lip makes of the sound that came out beside it, shifted by
whole frames; of the first and the last minute, and over all. The drift is the time of the face against the clock's. An
interruption comes every 20 s; how soon the mouth is shut after it is printed.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path

import numpy as np

from superface_hf.drivers.loudness import LoudnessNormalizer
from superface_hf.integrations import LiveFace, LivePart, LiveSession
from superface_hf.integrations.speech import Resampler
from superface_hf.media import load_sound
from superface_hf.motion import Motion
from superface_hf.utils.assets import SPEECH

RATE, CHUNK, PAUSE, EVERY = 24_000, 0.1, 0.7, 20.0
FARTHEST = 6  # frames of offset that are tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a student: folder or Hub id (default: the embedded one)")
    parser.add_argument("--fps", type=float, default=25.0, help="frames a second (default: 25)")
    parser.add_argument("--minutes", type=float, default=3.0, help="default: 3")
    parser.add_argument("--sessions", type=int, default=1, help="faces at once in this process (default: 1)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    face = LiveFace(args.model, fps=args.fps)
    results: list[dict[str, float]] = [{} for _ in range(args.sessions)]
    threads = [
        threading.Thread(target=lambda each=each: each.update(measured(face, args.minutes * 60)), daemon=True)
        for each in results
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, figures in enumerate(results, 1):
        print(f"face {number} of {len(results)}")
        for name, value in figures.items():
            print(f"  {name:<56}{value:>10.2f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def measured(face: LiveFace, seconds: float) -> dict[str, float]:
    """One face over so many seconds."""
    speech = load_sound(SPEECH).mono(RATE)
    parts: list[LivePart] = []
    stops: list[float] = []
    quiet: list[float] = []
    with face.session(RATE) as live:
        start = time.monotonic()
        next_speech, next_stop = start, start + EVERY
        stopped: float | None = None
        while time.monotonic() - start < seconds:
            part = live.next()
            assert part is not None
            now = time.monotonic()
            parts.append(part)
            if stopped is not None:
                if part.sound.any():
                    quiet.append(now - stopped)
                elif np.abs(part.mouth - face.shut).max() < 0.01:
                    stops.append(now - stopped)
                    stopped, next_speech = None, now + PAUSE
            elif now > next_stop and part.sound.any():
                live.interrupt()
                stopped, next_stop = time.monotonic(), now + EVERY
            elif part.ends:
                next_speech = now + PAUSE
            if stopped is None and now > next_speech:
                say(live, speech)
                next_speech = float("inf")
        passed = time.monotonic() - start
        dropped, frames = live.dropped, live.frames
    figures = {
        "frames a second drawn": len(parts) / passed,
        "frames dropped, %": 100 * dropped / frames,
        "drift of the face against the clock, ms": 1e3 * (frames / face.fps - passed),
        "interruptions": float(len(stops)),
        "mouth shut after an interruption, median, ms": 1e3 * float(np.median(stops)) if stops else float("nan"),
        "mouth shut after an interruption, longest, ms": 1e3 * max(stops, default=float("nan")),
        "sound after an interruption, longest, ms": 1e3 * max(quiet, default=0.0),
    }
    for name, share in {"all": parts, **minutes(parts, face.fps)}.items():
        offset, correlation = apart(face, share)
        figures[f"offset of lips to sound, {name}, frames"] = offset
        figures[f"correlation there, {name}"] = correlation
    return figures


def say(live: LiveSession, speech: np.ndarray) -> None:
    step = round(CHUNK * RATE)
    for first in range(0, len(speech), step):
        live.push(speech[first : first + step], RATE)
    live.end()


def minutes(parts: list[LivePart], fps: float) -> dict[str, list[LivePart]]:
    """The parts of the first and of the last minute."""
    ends = np.cumsum([part.frames for part in parts]) / fps
    last = ends[-1] - 60
    return {
        "first minute": [part for part, end in zip(parts, ends, strict=True) if end <= 60],
        "last minute": [part for part, end in zip(parts, ends, strict=True) if end > last],
    }


def apart(face: LiveFace, parts: list[LivePart]) -> tuple[float, float]:
    """How many frames the lips that came out follow the sound that came out, and how alike the two are at that offset."""
    ears = face.pipe.audio_to_lip
    sound = np.concatenate([part.sound for part in parts]).astype(np.float32) / 32768
    samples = np.concatenate([(resampler := Resampler(ears.config.sampling_rate)).push(sound, RATE), resampler.flush()])
    expected = ears.predict(LoudnessNormalizer(ears.config.sampling_rate).push(samples), face.fps)
    shown = np.concatenate([np.repeat(part.mouth[None], part.frames, axis=0) for part in parts])
    said, seen = opening(face, expected), opening(face, shown)
    scores = {}
    for shift in range(-FARTHEST, FARTHEST + 1):
        first, second = said[max(0, -shift) :], seen[max(0, shift) :]
        length = min(len(first), len(second))
        scores[shift] = float(np.corrcoef(first[:length], second[:length])[0, 1])
    best = max(scores, key=lambda shift: scores[shift])
    return float(best), scores[best]


def opening(face: LiveFace, mouths: np.ndarray) -> np.ndarray:
    """Return how far a mouth is open (T,), as the ARKit blendshape jawOpen, from coefficients (T, M)."""
    jaw = Motion.neutral(1, face.fps).edit({"jawOpen": 1.0}).mouth[0]
    return mouths @ jaw / (jaw @ jaw)


if __name__ == "__main__":
    main()
