"""Compare a student's runtimes on the bundled sentence: torch, the player without torch, and headless Chromium.

::

    python benchmarks/runtimes.py [STUDENT] [--runs 5] [--no-browser]

STUDENT is a folder or Hub id (default: the embedded one). Each run renders all frames of the sentence, from sound to pictures
or to an mp4; the medians of the runs are printed, taken in turns, so that whatever the machine does besides slows all alike.
"CPU ms" is what one frame takes of all cores together, which other work changes less than the frames a second. "graph" and
"drawing" are the player's two parts, on one thread. The browser draws with WebGL in software (SwiftShader), without playing the
sound. dB are those of the player's frames to torch's.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from transformers import pipeline

from superface_hf.export import export_folder
from superface_hf.export.loading import load_exportable
from superface_hf.media import load_sound
from superface_hf.motion.rows import motion_rows
from superface_hf.player import StudentPlayer
from superface_hf.utils.assets import SPEECH

RATE, FPS = 16000, 25.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-background-networking", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SPEAK = """async () => {
    const begin = performance.now();
    for await (const frame of superface.render(samples)) ;
    superface.drawing.gl.finish();
    return (performance.now() - begin) / 1000;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", nargs="?", default="student", help="folder or Hub id")
    parser.add_argument("--runs", type=int, default=5, help="of each (default: 5)")
    parser.add_argument("--no-browser", action="store_true", help="only torch and the player")
    args = parser.parse_args()
    student, lips = load_exportable(args.student), load_exportable("audio_to_lip")
    samples = load_sound(SPEECH).mono(RATE)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"onnx": Path(temporary) / "onnx", "web": Path(temporary) / "web"}
        for (runtime, folder), precision in zip(folders.items(), ("fp32", "fp16"), strict=True):
            print(export_folder(student, lips, folder, runtime, precision))  # type: ignore[arg-type]
        pipe, player = pipeline("talking-face", model=student, device="cpu"), StudentPlayer(folders["onnx"])  # type: ignore[call-overload]
        works: dict[str, Callable[[], Any]] = {
            "torch": lambda: list(pipe.stream(audio=(samples, RATE), fps=FPS, batch_size=4)),
            "player": lambda: list(player.frames((samples, RATE), fps=FPS)),
        }
        frames = {name: work() for name, work in works.items()}  # the first time is slower
        count, path = len(frames["torch"]), Path(temporary) / "out.mp4"
        errors = [np.square(a.astype(float) - b).mean() for a, b in zip(*frames.values(), strict=True)]
        print(f"{count} frames; player to torch: {10 * np.log10(255**2 / max(float(np.mean(errors)), 1e-9)):.1f} dB")
        works |= parts(player, samples)
        works |= {
            "torch to mp4": lambda: pipe.write(path, audio=(samples, RATE), fps=FPS, progress=False),
            "player to mp4": lambda: player.write(path, (samples, RATE), fps=FPS),
        }
        with browser(folders["web"], samples, not args.no_browser) as speak:
            rows = measured(works, speak, args.runs, count)
    for name, (rate, cpu) in rows.items():
        print(f"{name:<16}{rate:>8.1f} frames/s" + (f"{cpu:>10.1f} CPU ms" if cpu else ""))
    print(f"player / torch: {rows['player'][0] / rows['torch'][0]:.2f} times as fast, ", end="")
    print(f"{rows['torch'][1] / rows['player'][1]:.2f} by CPU time")


def parts(player: StudentPlayer, samples: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The player's parts for all frames of the samples, one frame after the other."""
    rows = np.concatenate([motion_rows(motion) for motion in player.motions((samples, RATE), fps=FPS)])
    graph, picture = player._graph, player._picture
    maps = [{name: each[0] for name, each in graph(motion=row[None]).items()} for row in rows]
    return {
        "graph": lambda: [graph(motion=row[None]) for row in rows],
        "drawing": lambda: [picture.frame(each) for each in maps],
    }


def measured(
    works: dict[str, Callable[[], Any]], speak: Callable[[], float] | None, runs: int, count: int
) -> dict[str, tuple[float, float]]:
    """Medians of frames a second and CPU milliseconds a frame (0 where they are another process's)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(runs):
        for name, work in works.items():
            begin, cpu = time.perf_counter(), time.process_time()
            work()
            seconds = time.perf_counter() - begin
            found.setdefault(name, []).append((count / seconds, 1e3 * (time.process_time() - cpu) / count))
        if speak:
            found.setdefault("browser", []).append((count / speak(), 0.0))
    return {
        name: (statistics.median(rate for rate, _ in rows), statistics.median(cpu for _, cpu in rows))
        for name, rows in found.items()
    }


class Served(SimpleHTTPRequestHandler):
    def log_message(self, *said: object) -> None:
        pass


@contextmanager
def browser(folder: Path, samples: np.ndarray, wanted: bool) -> Iterator[Callable[[], float] | None]:
    """Yield a function that lets the student speak in headless Chromium and returns the seconds; None without Chromium."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not wanted or program is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=os.fspath(folder))) as server,
        sync_playwright() as playwright,
    ):
        Thread(target=server.serve_forever, daemon=True).start()
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = chromium.new_page()
        page.set_default_timeout(180_000)
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_function("globalThis.superface")
        page.evaluate(
            "text => { globalThis.samples = new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer) }",
            base64.b64encode(samples.tobytes()).decode(),
        )
        page.evaluate(SPEAK)
        yield lambda: float(page.evaluate(SPEAK))
        chromium.close()
        server.shutdown()


if __name__ == "__main__":
    main()
