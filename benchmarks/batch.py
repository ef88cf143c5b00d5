"""Measure how many seconds of clips a batch renders a second, and how that grows with Ray's workers.

::

    python benchmarks/batch.py [--model STUDENT] [--rows 16] [--workers 1 2] [--runs 5] [--no-ray]

Each row is the bundled sentence said by a student (default: the embedded one), with idle motion of its own. Every run renders
into a new folder. Ray is started before the clock is; actors load their models while it runs, as they do in use, and so does
this process. Medians of the runs are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from superface_hf.batch import run_batch
from superface_hf.hub import weights_folder
from superface_hf.utils.assets import SPEECH

FPS = 25.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a student: folder or Hub id (default: the embedded one)")
    parser.add_argument("--rows", type=int, default=16, help="clips a run (default: 16)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="Ray's actors (default: 1 2)")
    parser.add_argument("--runs", type=int, default=5, help="of each (default: 5)")
    parser.add_argument("--no-ray", action="store_true", help="measure this process alone")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    model = str(args.model or weights_folder("student"))
    rows = [{"model": model, "audio": str(SPEECH), "seed": seed, "fps": FPS} for seed in range(args.rows)]
    figures: dict[str, float] = {"this process": median(rows, "local", 1, args.runs)}
    if not args.no_ray:
        import ray

        for workers in args.workers:
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
            figures[f"ray, {workers} workers"] = median(rows, "ray", workers, args.runs)
            ray.shutdown()
    print(f"{args.rows} clips, {os.cpu_count()} cores; seconds of clips rendered in a second, median of {args.runs}")
    for name, value in figures.items():
        print(f"{name:<24}{value:>8.2f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


def median(rows: list[dict], engine: str, workers: int, runs: int) -> float:
    return statistics.median(seconds_of(rows, engine, workers) for _ in range(runs))


def seconds_of(rows: list[dict], engine: str, workers: int) -> float:
    """Return the seconds of clips that are rendered in a second."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        report = run_batch(rows, folder, engine, workers, device="cpu", progress=False)  # type: ignore[arg-type]
        took = time.perf_counter() - start
    assert report.counts["done"] == len(rows), report.counts
    return sum(row["frames"] for row in report.rows) / FPS / took


if __name__ == "__main__":
    main()
