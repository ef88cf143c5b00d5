"""Measure how well speech drives the mouth: on real people in no training set, and on synthetic voices with known phonemes.

::

    python benchmarks/audio_to_lip.py --data $SUPERFACE_DATA --prepared .cache/prepared

Real people are the validation clips with sound; ``--prepared`` holds their labels, written by ``superface prepare``. Synthetic
speech of voices that are in no training set needs espeak-ng and flite. "Shuffled" is the same with the sound of the next clip
or utterance: the result without listening. Audio-visual offsets and confidences are those of this package's sync
expert and not comparable with SyncNet's. ``--sheets`` draws pictures of speech in several languages to look at.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speech_sheets import write_sheets

from superface_hf import SuperFaceAudioToLipModel, SuperFaceSyncExpertModel
from superface_hf.data.speech.clips import SpeechClip, load_speech_clips
from superface_hf.data.speech.synthetic_speech import FRAME_RATE, SAMPLING_RATE, Utterance, utterances
from superface_hf.face_model.lips import mouth_opening
from superface_hf.metrics.closures import bilabial_closure, closed_in_silence
from superface_hf.metrics.lips import lip_distance, lip_velocity_distance, opening_correlation, opening_spread
from superface_hf.models.embedded import embedded_sync_expert, load_audio_to_lip

FPS = 25.0  # of the mouths made of synthetic speech
PIECE_SECONDS = 4.0  # of true motion, on which the sync expert itself is judged
SILENCE_MARGIN = 0.1  # seconds at both ends of a silence in which lips may still close or already part
Row = dict[str, float]


def measure_clip(
    clip: SpeechClip, other: np.ndarray, model: SuperFaceAudioToLipModel, expert: SuperFaceSyncExpertModel
) -> Row:
    """Measure one clip of a real person; ``other`` is another person's sound.

    Some recordings' sound is a frame or two off, which no driver can know: "correlation" compares with the truth as it was
    recorded, "in step" after the offset that the expert finds between the clip's own sound and true motion.
    """
    frames = len(clip.mouth)
    made = model.predict(clip.samples, clip.fps, frames)
    wrong = model.predict(fitted(other, len(clip.samples)), clip.fps, frames)
    true_sync = expert.offset(clip.samples, clip.mouth, clip.fps)
    made_sync, wrong_sync = (expert.offset(clip.samples, mouth, clip.fps) for mouth in (made, wrong))
    recorded, in_step = (replace(clip, offset=seconds) for seconds in (0.0, -true_sync.offset / clip.fps))
    return {
        "correlation": against_truth(made, recorded, opening_correlation),
        "in step": against_truth(made, in_step, opening_correlation),
        "shuffled": against_truth(wrong, recorded, opening_correlation),
        "spread": against_truth(made, in_step, opening_spread),
        "LMD": against_truth(made, in_step, lip_distance),
        "LVD": against_truth(made, in_step, lambda a, b: lip_velocity_distance(a, b, clip.fps)),
        "offset": made_sync.offset,
        "confidence": made_sync.confidence,
        "true offset": true_sync.offset,
        "true confidence": true_sync.confidence,
        "shuffled offset": wrong_sync.offset,
        "shuffled confidence": wrong_sync.confidence,
    }


def against_truth(made: np.ndarray, clip: SpeechClip, metric: Any) -> float:
    """Return a metric of a mouth (T, 30) at the clip's frame rate, over the frames where the truth is reliable."""
    true, believed = clip.mouth_at(np.arange(len(made)) / clip.fps)
    return metric(made[believed], true[believed])


def measure_utterance(
    said: Utterance, other: np.ndarray, model: SuperFaceAudioToLipModel, expert: SuperFaceSyncExpertModel
) -> Row:
    """Measure one utterance of a voice that is in no training set."""
    true = said.mouth[:: round(FRAME_RATE / FPS)]
    made = model.predict(said.samples, FPS, len(true))
    wrong = model.predict(fitted(other, len(said.samples)), FPS, len(true))
    phonemes = [(phoneme.symbol, phoneme.start, phoneme.end) for phoneme in said.phonemes]
    made_sync, true_sync, wrong_sync = (expert.offset(said.samples, mouth, FPS) for mouth in (made, true, wrong))
    closures, true_closures = (bilabial_closure(mouth, FPS, phonemes) for mouth in (made, true))

    def silent(mouth: np.ndarray, margin: float) -> float:
        return closed_in_silence(mouth, FPS, said.samples, SAMPLING_RATE, margin=margin)

    return {
        "correlation": opening_correlation(made, true),
        "shuffled": opening_correlation(wrong, true),
        "spread": opening_spread(made, true),
        "bilabials closed": closures[0],
        "others closed": closures[1],
        "bilabials closed, truth": true_closures[0],
        "others closed, truth": true_closures[1],
        "silence closed": silent(made, 0.0),
        "silence closed, inner": silent(made, SILENCE_MARGIN),
        "silence closed, truth": silent(true, 0.0),
        "offset": made_sync.offset,
        "confidence": made_sync.confidence,
        "true offset": true_sync.offset,
        "shuffled offset": wrong_sync.offset,
        "shuffled confidence": wrong_sync.confidence,
    }


def fitted(samples: np.ndarray, length: int) -> np.ndarray:
    """Return the samples, repeated or cut to ``length``."""
    return np.resize(samples, length)


def measure_expert(clips: Sequence[SpeechClip], expert: SuperFaceSyncExpertModel) -> Row:
    """Measure the sync expert itself: pieces of true motion against their own sound and against another clip's.

    A piece is judged rightly if its offset is at most a frame from the median of its clip's pieces.
    """
    right, wrong, own, others = [], [], [], []
    for clip, other in zip(clips, [*clips[1:], clips[0]], strict=True):
        strange = fitted(other.samples, len(clip.samples))
        pieces, shuffled = [], []
        for start in np.arange(0, clip.seconds - PIECE_SECONDS + 0.01, PIECE_SECONDS / 2):
            first, frames = round(start * clip.fps), round(PIECE_SECONDS * clip.fps)
            heard = slice(round(first / clip.fps * SAMPLING_RATE), round((first + frames) / clip.fps * SAMPLING_RATE))
            mouth = clip.mouth[first : first + frames]
            pieces.append(expert.offset(clip.samples[heard], mouth, clip.fps))
            shuffled.append(expert.offset(strange[heard], mouth, clip.fps))
        middle = np.median([piece.offset for piece in pieces]) if pieces else 0.0
        right += [abs(piece.offset - middle) <= 1 for piece in pieces]
        wrong += [abs(piece.offset - middle) <= 1 for piece in shuffled]
        own += [piece.confidence for piece in pieces]
        others += [piece.confidence for piece in shuffled]
    figures = {"right": right, "right, shuffled": wrong, "confidence": own, "confidence, shuffled": others}
    return {name: float(np.mean(values)) for name, values in figures.items()} | {"pieces": len(right)}


def measure_silence(model: SuperFaceAudioToLipModel) -> Row:
    """Measure the mouth over ten seconds without speech: digital silence, and a quiet room."""
    room = 10 ** (-60 / 20) * np.random.default_rng(0).normal(size=10 * SAMPLING_RATE)
    sounds = {"nothing": np.zeros(10 * SAMPLING_RATE, np.float32), "a quiet room": room.astype(np.float32)}
    openings = {name: mouth_opening(model.predict(samples, FPS)) for name, samples in sounds.items()}
    return {f"largest opening in {name}": float(opening.max()) for name, opening in openings.items()}


def measure_speed(model: SuperFaceAudioToLipModel, seconds: float = 60.0) -> Row:
    """Return the speed in multiples of real time, and the delay of the first frame when chunks of sound arrive in real
    time."""
    samples = (0.1 * np.random.default_rng(0).normal(size=round(seconds * SAMPLING_RATE))).astype(np.float32)
    result: Row = {}
    usual = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model.predict(samples[: 5 * SAMPLING_RATE], FPS)
        taken, computed = [], []
        for _ in range(3):
            start, start_cpu = time.perf_counter(), time.process_time()
            model.predict(samples, FPS)
            taken.append(time.perf_counter() - start)
            computed.append(time.process_time() - start_cpu)
        result[f"x real time, {threads} thread{'s' * (threads > 1)}"] = seconds / min(taken)
        if threads == 1:  # processor time: the speed of an idle machine, even if this one is busy
            result["x real time, 1 thread, by CPU time"] = seconds / min(computed)
    torch.set_num_threads(usual)
    for chunk_ms in (20, 40):
        result[f"first frame after ms, {chunk_ms} ms chunks"] = first_frame_ms(model, samples, chunk_ms)
    result["look-ahead ms"] = 1000 * model.stream(FPS).latency
    return result


def first_frame_ms(model: SuperFaceAudioToLipModel, samples: np.ndarray, chunk_ms: int) -> float:
    """Return the time from the start of the first chunk to the first frame, in ms: waiting for sound, and computing."""
    stream = model.stream(FPS)
    chunk = chunk_ms * SAMPLING_RATE // 1000
    ready = 0.0  # the time at which all sound so far is processed
    for end in range(chunk, len(samples), chunk):
        start = time.perf_counter()
        frames = stream.push(samples[end - chunk : end])
        ready = max(ready, end / SAMPLING_RATE) + time.perf_counter() - start
        if len(frames):
            return 1000 * ready
    raise RuntimeError("No frame came out of the stream.")


def within_one(rows: Sequence[Row], column: str, centre: float = 0.0) -> float:
    """Return the share of rows whose offset is at most a frame from ``centre``."""
    return float(np.mean([abs(row[column] - centre) <= 1 for row in rows]))


def means(rows: Sequence[Row]) -> Row:
    return {column: float(np.nanmean([row[column] for row in rows])) for column in rows[0]}


def report_clips(rows: dict[str, Row]) -> Row:
    """Print the table of the real people, and return their summary."""
    columns = ("correlation", "in step", "shuffled", "spread", "LMD", "LVD", "offset", "true offset", "confidence")
    print("validation clips".ljust(18) + "".join(f"{column:>13}" for column in columns))
    for name, row in rows.items():
        print(name.ljust(18) + "".join(f"{row[column]:>13.2f}" for column in columns))
    table = list(rows.values())
    summary = means(table)
    print("mean".ljust(18) + "".join(f"{summary[column]:>13.2f}" for column in columns))
    usual = float(np.median([row["true offset"] for row in table]))
    summary |= {
        "offset within 1": within_one(table, "offset"),
        "true offset within 1 of its median": within_one(table, "true offset", usual),
        "true offset, median": usual,
        "shuffled offset within 1": within_one(table, "shuffled offset"),
    }
    return summary


def report(title: str, figures: Row) -> None:
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"  {name:<42}{value:>9.3f}")


def next_sound(sounds: Sequence[np.ndarray], index: int) -> np.ndarray:
    return sounds[(index + 1) % len(sounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("SUPERFACE_DATA")
    parser.add_argument(
        "--data", type=Path, default=default, required=default is None, help="folder with clips/, speech/"
    )
    parser.add_argument("--prepared", type=Path, default=Path(".cache/prepared"), help="labels, from superface prepare")
    parser.add_argument("--cache", type=Path, default=Path(".cache/speech"), help="where fitted labels are kept")
    parser.add_argument("--model", help="folder or Hub id of an audio-to-lip model (default: the embedded one)")
    parser.add_argument("--expert", help="folder or Hub id of a sync expert (default: the embedded one)")
    parser.add_argument("--utterances", type=int, default=60, help="synthetic ones; 0 needs no espeak-ng")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument(
        "--sheets", type=Path, help="write a contact sheet of each of DATA/speech/*.flac into this folder"
    )
    args = parser.parse_args()

    model = load_audio_to_lip(args.model)
    expert = SuperFaceSyncExpertModel.from_pretrained(args.expert).eval() if args.expert else embedded_sync_expert()
    clips = load_speech_clips(args.data, args.prepared, "val", args.cache, with_offsets=False)
    sounds = [clip.samples for clip in clips]
    rows = {clip.name: measure_clip(clip, next_sound(sounds, i), model, expert) for i, clip in enumerate(clips)}
    results: dict[str, Any] = {"clips": rows, "clips, summary": report_clips(rows)}
    report("validation clips, summary", results["clips, summary"])
    results["expert"] = measure_expert(clips, expert)
    report(f"the sync expert on {PIECE_SECONDS:g} s pieces of true motion", results["expert"])
    if args.utterances:
        said = list(utterances(args.utterances, test=True))
        sounds = [one.samples for one in said]
        table = [measure_utterance(one, next_sound(sounds, i), model, expert) for i, one in enumerate(said)]
        summary = means(table) | {
            f"{kind} within 1": within_one(table, kind) for kind in ("offset", "true offset", "shuffled offset")
        }
        results |= {"utterances": table, "utterances, summary": summary}
        report(f"synthetic speech of unseen voices ({len(said)} utterances)", summary)
    for title, figures in (("without speech", measure_silence(model)), ("speed", measure_speed(model))):
        results[title] = figures
        report(title, figures)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    if args.sheets:
        write_sheets(sorted((args.data / "speech").glob("*.flac")), args.sheets, model)


if __name__ == "__main__":
    main()
