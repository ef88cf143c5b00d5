"""Check how commands behave with bad inputs, hostile students, signals, kills and neighbours; with ``--long``, memory and time.

::

    python benchmarks/reliability.py [--only inputs students signals kills neighbours] [--out docs/reliability.md]
    python benchmarks/reliability.py --long [--minutes 10] [--only teacher student dubbing space]

Each check is bounded and runs in its own folder. The program prints one table, whose last column says whether all
passed; ``--out`` writes it into a page between the lines ``<!-- figures -->`` and ``<!-- /figures -->`` (``<!-- long
-->`` for ``--long``). The long checks repeat the bundled sentence for ``--minutes``. They compare the memory of the
rendering process after a tenth of the time with that at the end, and the ends of sound and picture in the file. The
teacher renders at a low frame rate, which takes about fifteen minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import superface_hf  # noqa: F401 - before torch: how its threads wait is read when it is loaded
from superface_hf import cli
from superface_hf.utils.assets import PORTRAIT, SPEECH

MAX_SECONDS, MAX_MB = 1.0, 500.0  # of the refusal of a student
MAX_GROWTH = 50.0  # MB of memory over a long run
FEW = 5.0  # frames a second where the teacher renders: ten minutes of them take ten minutes
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """A line of the table: what was tried how often, how often it held, and what else is to be said."""

    name: str
    tried: int
    held: int
    note: str = ""

    def __str__(self) -> str:
        verdict = "yes" if self.held == self.tried else "NO"
        return f"| {self.name} | {self.tried} | {self.held} | {self.note} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="the long checks instead")
    parser.add_argument("--minutes", type=float, default=10.0, help="of speech in each long check (default: 10)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the checks")
    parser.add_argument("--out", type=Path, help="also put the table into this page")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(LONG[args.job](args.minutes)))
        return
    checks = SHORT
    if args.long:
        checks = {name: lambda folder, name=name: [_long(name, args.minutes)] for name in LONG}  # type: ignore[misc]
    unknown = set(args.only or ()) - set(checks)
    if unknown:
        parser.error(f"checks are {', '.join(checks)}, not {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in args.only or checks:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            rows += checks[name](Path(folder))
            print(f"({name}: {time.monotonic() - start:.0f} s)", file=sys.stderr)
    table = "\n".join(["| check | tried | held | | all |", "|---|---|---|---|---|", *map(str, rows)])
    print(table)
    if args.out:
        _put(args.out, "long" if args.long else "figures", table)
    sys.exit(any(row.held < row.tried for row in rows))


def _put(page: Path, mark: str, table: str) -> None:
    text, put = page.read_text(), f"<!-- {mark} -->\n{table}\n<!-- /{mark} -->"
    page.write_text(re.sub(f"<!-- {mark} -->.*<!-- /{mark} -->", lambda _: put, text, flags=re.DOTALL))


# Bad inputs.


def bad_inputs(folder: Path) -> list[Row]:
    """Give every command that reads a file files with the wrong content."""
    pictures, sounds, motions, settings = (list(make(folder)) for make in (_pictures, _sounds, _motions, _settings))
    out = ["-o", str(folder / "out.mp4")]
    speech, nod = ["--audio", str(SPEECH)], ["--motion", "nod"]
    given = [["edit", str(path), "--set", "jawOpen=1", "-o", str(folder / "out.png")] for path in pictures]
    given += [["generate", str(path), *nod, *out] for path in pictures]
    given += [["generate", str(PORTRAIT), "--audio", str(path), *out] for path in sounds]
    given += [["generate", str(PORTRAIT), "--video", str(path), *out] for path in (*sounds, *pictures)]
    given += [["dub", str(path), *speech, *out] for path in sounds]
    given += [["track", str(path), "-o", str(folder / "m.safetensors")] for path in sounds]
    given += [["track", "--audio", str(path), "-o", str(folder / "m.safetensors")] for path in sounds]
    given += [["generate", str(PORTRAIT), "--motion", str(path), *out] for path in motions]
    given += [["generate", str(PORTRAIT), *nod, "--region", f"mouth={path}", *out] for path in motions]
    given += [["train", "teacher", "--config", str(path), "--print"] for path in settings]
    given += [["prepare", "--config", str(path), "--show-settings", "-o", str(folder)] for path in settings]
    given += [
        ["generate", str(PORTRAIT), *nod, *out, f"--fps={fps}"] for fps in ("1e-12", "0", "-1", "nan", "inf", "1e12")
    ]
    given += [
        ["edit", str(PORTRAIT), "--set", "jawOpen=1", *out, f"--device={name}"] for name in ("cuda:99", "gpu", "meta")
    ]
    names = {path.name for path in folder.iterdir()}
    held, longest = 0, 0.0
    for arguments in given:
        start = time.monotonic()
        status, said = _told(arguments)
        longest = max(longest, time.monotonic() - start)
        if status == 1 and said.startswith("superface: ") and said.count("\n") == 1:
            held += 1
        else:
            print(f"did not hold: {arguments}: {status}, {said[-300:]!r}", file=sys.stderr)
    left = {path.name for path in folder.iterdir()} - names
    return [
        Row("bad inputs: one line, status 1", len(given), held, f"longest {longest:.1f} s"),
        Row("files left by them", len(given), len(given) - len(left)),
    ]


def _told(arguments: list[str]) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        except Exception as error:  # any other exception is what this check counts
            return -1, f"{type(error).__name__}: {error}"
    return status, said.getvalue()


def _pictures(folder: Path) -> Iterator[Path]:
    whole = PORTRAIT.read_bytes()
    contents = {
        "empty.png": b"",
        "half.png": whole[: len(whole) // 2],
        "header.png": whole[:40],
        "text.jpg": b"this is no picture",
        "random.webp": os.urandom(5000),
        "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n%%EOF\n",
    }
    yield from _written(folder, contents)
    yield folder / "missing.png"
    yield folder


def _sounds(folder: Path) -> Iterator[Path]:
    def wav(channels: int, frames: bytes) -> bytes:
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(channels)
            sound.setsampwidth(2)
            sound.setframerate(16000)
            sound.writeframes(frames)
        return file.getvalue()

    contents = {
        "empty.wav": b"",
        "nothing.wav": wav(1, b""),
        "channels.wav": wav(500, bytes(100_000)),
        "random.mp4": os.urandom(20_000),
        "text.mp3": b"this is no sound",
        "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "description.wav": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    }
    yield from _written(folder, contents)
    yield folder / "missing.wav"


def _motions(folder: Path) -> Iterator[Path]:
    import numpy as np
    import torch
    from safetensors.torch import save

    from superface_hf import Motion

    motion = Motion.neutral(3, 25)
    names = ("rotation", "translation", "scale", "mouth", "eyes", "brows", "gaze")
    good = {name: torch.from_numpy(np.array(getattr(motion, name))) for name in names}
    metadata = {"format": "superface-motion", "version": "1", "fps": "25.0"}

    def changed(name: str, value: Any) -> bytes:
        return save({**good, name: value}, metadata)

    contents = {
        "bf16.safetensors": changed("mouth", good["mouth"].bfloat16()),
        "f8.safetensors": changed("mouth", good["mouth"].to(torch.float8_e4m3fn)),
        "whole.safetensors": changed("scale", torch.ones(3, dtype=torch.int64)),
        "nan.safetensors": changed("gaze", good["gaze"] * torch.nan),
        "short.safetensors": changed("eyes", good["eyes"][:2]),
        "wide.safetensors": changed("brows", torch.zeros(3, 5000)),
        "format.safetensors": save(good, {}),
        "fps.safetensors": save(good, {**metadata, "fps": "1e-12"}),
        "lacking.safetensors": save({"mouth": good["mouth"]}, metadata),
        "half.safetensors": save(good, metadata)[:500],
        "random.safetensors": os.urandom(5000),
    }
    yield from _written(folder, contents)
    yield folder / "missing.safetensors"


def _settings(folder: Path) -> Iterator[Path]:
    contents = {
        "binary.yaml": bytes(range(256)),
        "list.yaml": b"- a",
        "open.yaml": b"run: [1",
        "python.yaml": b"run: !!python/object/apply:os.getcwd []",
        "twice.yaml": b"run: {out: a, out: b}",
        "key.yaml": b"? [a]\n: b",
        "itself.yaml": b"run: &r {out: *r}",
        "date.yaml": b"run: {out: 2020-13-45}",
        "deep.yaml": b"[" * 5000,
        "nul.yaml": b"\x00",
    }
    yield from _written(folder, contents)
    yield folder / "missing.yaml"


def _written(folder: Path, contents: dict[str, bytes]) -> Iterator[Path]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name


# Hostile students.


def hostile_students(folder: Path) -> list[Row]:
    """Load copies of the embedded student with one thing changed: each must be refused in one line, soon, and in little
    memory."""
    import torch
    from safetensors.torch import load_file, save_file

    from superface_hf import SuperFaceError, SuperFaceStudentModel
    from superface_hf.hub import weights_folder

    source = weights_folder("student")
    config, stored = json.loads((source / "config.json").read_text()), load_file(source / "model.safetensors")
    SuperFaceStudentModel.from_pretrained(source)  # load modules and caches before measuring
    weight = next(name for name, tensor in stored.items() if tensor.is_floating_point() and tensor.dim() == 4)
    picture = torch.frombuffer(bytearray(b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(200)), dtype=torch.uint8)
    changes: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("a crop of 12,000 pixels", {}, {"square": torch.tensor([0, 0, 12_000])}),
        ("a crop of nothing", {}, {"square": torch.tensor([0, 0, 0])}),
        ("a crop elsewhere", {}, {"square": torch.tensor([2**40, 0, 300])}),
        ("a picture that is a program", {"picture_bytes": len(picture)}, {"picture": picture}),
        ("landmarks that are none", {}, {"landmark_bits": torch.full((478, 3), 2**31 - 1, dtype=torch.int32)}),
        ("carriers that are none", {}, {"carriers": torch.full((120,), 10**9)}),
        ("weights that are not numbers", {}, {weight: stored[weight] * torch.nan}),
        ("weights of 8 bits", {}, {weight: stored[weight].to(torch.float8_e4m3fn)}),
        ("a weight of another shape", {}, {weight: torch.zeros(2, 2)}),
        ("none of its weights", {}, dict.fromkeys(stored)),
        ("a million labels", {"num_labels": 10**9, "prior_points": 10**9}, {}),
        ("a type that is none", {"dtype": "os"}, {}),
        ("a name of 10,000 letters", {"person": "x" * 10_000}, {}),
    ]
    for name in ("image_size", "code_channels", "motion_channels", "picture_bytes"):
        changes += [(f"{name} of {value}", {name: value}, {}) for value in (10**9, -1, float("nan"), [10**9] * 3)]
    held, slowest, before = 0, 0.0, _peak_mb()
    for name, settings, weights in changes:
        (folder / "config.json").write_text(json.dumps({**config, **settings}))
        kept = {key: value for key, value in {**stored, **weights}.items() if value is not None}
        save_file(kept or {"other": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
        start = time.monotonic()
        try:
            SuperFaceStudentModel.from_pretrained(folder)
            print(f"did not hold: {name} was loaded", file=sys.stderr)
        except SuperFaceError as error:
            held += "\n" not in str(error)
        slowest = max(slowest, time.monotonic() - start)
    grown = _peak_mb() - before
    return [
        Row("hostile students: one line", len(changes), held),
        Row("refused within a second and 500 MB", 2, (slowest < MAX_SECONDS) + (grown < MAX_MB), f"slowest {slowest:.2f} s, "
            f"{grown:.0f} MB"),
    ]  # fmt: skip


def _peak_mb() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# Signals and kills.


def signals(folder: Path) -> list[Row]:
    """Send signals to a command while it writes: check its status, its one line, and that no file is left."""
    wanted = {"SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130}
    held, slowest = 0, 0.0
    for name, status in wanted.items():
        command = ["generate", str(PORTRAIT), "--motion", "look_around", "-o", str(folder / "out.mp4")]
        process = _begun(command)
        _wait_for(lambda: any(folder.glob(".out.*.part.mp4")), process)
        start = time.monotonic()
        process.send_signal(getattr(signal, name))
        said = process.communicate()[1]
        slowest = max(slowest, time.monotonic() - start)
        good = process.returncode == status and "Traceback" not in said and not any(folder.iterdir())
        held += good and said.strip().splitlines()[-1].startswith("superface: stopped")
    return [Row("signals: status 143, 129, 130, one line, nothing left", len(wanted), held, f"slowest {slowest:.1f} s")]


def kills(folder: Path) -> list[Row]:
    """Kill (``kill -9``) prepare and a training and run them again: the results must equal those without the kill."""
    return [_killed_prepare(folder / "prepare"), _killed_training(folder / "training")]


def _killed_prepare(folder: Path) -> Row:
    import numpy as np

    from superface_hf.media import load_picture, write_mp4

    picture = load_picture(PORTRAIT)
    (folder / "raw").mkdir(parents=True)
    for number in range(6):  # a still portrait that moves a little, in another direction in each video
        shifts = [round(6 * np.sin(frame * (number + 2) / 9)) for frame in range(40)]
        write_mp4(folder / "raw" / f"p{number}.mp4", [np.roll(picture, shift, axis=1) for shift in shifts], 25)
    options = ["--set", "sync=false", "--set", "val_share=0", "--device", "cpu"]
    command = ["prepare", str(folder / "raw"), *options, "-o"]
    _begun([*command, str(folder / "whole")]).wait()
    process = _begun([*command, str(folder / "killed")])
    _wait_for(lambda: len(list((folder / "killed" / ".parts").glob("*.json"))) >= 2, process)
    process.kill()
    process.wait()
    _begun([*command, str(folder / "killed")]).wait()
    same = _digest(folder / "whole", "*.parquet") == _digest(folder / "killed", "*.parquet")
    parts = [path for path in (folder / "killed").rglob("*") if ".part" in path.name and path.is_file()]
    return Row("kill -9 of prepare: the same set, no half file", 2, int(same) + (not _loadable_parts(parts)))


def _loadable_parts(parts: list[Path]) -> list[Path]:
    """Return half-written files whose names would be read."""
    return [path for path in parts if not path.name.startswith(".")]


def _killed_training(folder: Path) -> Row:
    sys.path.insert(0, str(HERE.parent / "tests"))
    from teacher_training_set import settings, write_set

    from superface_hf.utils.settings import as_yaml

    prepared = write_set(folder / "set")
    for name in ("whole", "killed"):
        config = settings(
            prepared, folder / name, schedule={"steps": 12}, run={"first_checkpoint": 3, "checkpoint_minutes": 0.05}
        )
        (folder / f"{name}.yaml").write_text(as_yaml(config))
    command = ["train", "teacher", "--config"]
    _begun([*command, str(folder / "whole.yaml")]).wait()
    process = _begun([*command, str(folder / "killed.yaml")])
    _wait_for(lambda: (folder / "killed" / "checkpoint" / "progress.json").exists(), process)
    process.kill()
    process.wait()
    _begun([*command, str(folder / "killed.yaml")]).wait()
    weights = "checkpoint/averaged/model.safetensors"
    same = _digest(folder / "whole", weights) == _digest(folder / "killed", weights)
    steps = [json.loads(line).get("step") for line in (folder / "killed" / "log.jsonl").read_text().splitlines()]
    return Row(
        "kill -9 of train: the same weights, each step logged once", 2, int(same) + (steps == list(range(1, 13)))
    )


def _begun(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "superface_hf.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _wait_for(there: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not there() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def _digest(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def neighbours(folder: Path) -> list[Row]:
    sys.path.insert(0, str(HERE))
    from neighbours import JOBS, WANTED, measure

    rows = []
    for job in JOBS:
        kept = measure(job, 5.0, 2)["kept"]
        rows.append(Row(f"two {job}s side by side keep 40% each", 1, int(kept >= WANTED), f"{kept:.0%}"))
    return rows


SHORT: dict[str, Callable[[Path], list[Row]]] = {
    "inputs": bad_inputs,
    "students": hostile_students,
    "signals": signals,
    "kills": kills,
    "neighbours": neighbours,
}


# Long runs, each in a separate process.


def _long(name: str, minutes: float) -> Row:
    command = [sys.executable, __file__, "--job", name, "--minutes", str(minutes)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        print(result.stderr[-3000:], file=sys.stderr)
        return Row(f"{minutes:g} minutes of speech, {name}", 2, 0, "it failed")
    found = json.loads(result.stdout.splitlines()[-1])
    held = (found["growth"] <= MAX_GROWTH) + (abs(found["apart"]) <= found["frame"])
    note = f"memory {found['growth']:+.0f} MB; sound and picture end {1000 * found['apart']:+.0f} ms apart"
    return Row(f"{minutes:g} minutes of speech, {name}", 2, held, note)


class Memory:
    """This process's memory, or another's, a few times a second in the background; ``growth`` in MB since ``settled``."""

    def __init__(self, process: int | None = None) -> None:
        self._path = Path(f"/proc/{process or os.getpid()}/statm")
        self._seen: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            resident = int(self._path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            self._seen.append((time.monotonic(), resident))

    @property
    def growth(self) -> float:
        """The highest of the last tenth over the highest of the second tenth of the time."""
        start, end = self._seen[0][0], self._seen[-1][0]

        def highest(begin: float, until: float) -> float:
            span = end - start
            return max(mb for at, mb in self._seen if start + begin * span <= at <= start + until * span)

        return highest(0.9, 1.0) - highest(0.1, 0.2)


def _said_for(folder: Path, seconds: float) -> Path:
    """Return a wav file with the bundled sentence, repeated."""
    import numpy as np

    from superface_hf.media import load_sound

    samples = (load_sound(SPEECH).mono(16000) * 32767).astype(np.int16)
    path, wanted = folder / "speech.wav", round(seconds * 16000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        for _ in range(-(-wanted // len(samples)) - 1):
            file.writeframes(samples.tobytes())
        file.writeframes(samples[: wanted - (-(-wanted // len(samples)) - 1) * len(samples)].tobytes())
    return path


def _ends_apart(path: Path) -> tuple[float, float]:
    """Return by how many seconds the sound ends after the picture, and the duration of a frame."""
    import av

    with av.open(str(path)) as file:
        ends = {}
        for stream in (file.streams.video[0], file.streams.audio[0]):
            assert stream.duration is not None
            assert stream.time_base is not None
            ends[stream.type] = float((stream.start_time or 0) + stream.duration) * float(stream.time_base)
        rate = file.streams.video[0].average_rate
        assert rate is not None
        return ends["audio"] - ends["video"], float(1 / rate)


def _rendered(minutes: float, model: str, dubbed: bool = False) -> dict[str, float]:
    from transformers import pipeline

    from superface_hf.hub import weights_folder
    from superface_hf.media import load_picture, write_mp4

    pipe: Any = pipeline("talking-face", model=str(weights_folder(model)), device="cpu")  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech, out = _said_for(folder, 60 * minutes), folder / "out.mp4"
        given: dict[str, Any] = {"audio": str(speech)}
        if dubbed:  # a video of the whole length: nothing of it may be held
            write_mp4(folder / "talk.mp4", islice(cycle([load_picture(PORTRAIT)]), round(60 * minutes * FEW)), FEW)
            given["video"] = str(folder / "talk.mp4")
        elif model == "teacher":
            given.update(image=PORTRAIT, fps=FEW)  # the teacher renders a few a second
        with Memory() as memory:
            pipe.write(out, progress=False, **given)
        apart, frame = _ends_apart(out)
    return {"growth": memory.growth, "apart": apart, "frame": frame}


def _served(minutes: float) -> dict[str, float]:
    """Let the Space's bundled student speak in pieces to one visitor after another, and measure the server's memory."""
    from gradio_client import Client, handle_file

    port, seconds = 7869, 20.0
    code = f"from superface_hf.space import build, launch; launch(build(), server_name='127.0.0.1', server_port={port})"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with tempfile.TemporaryDirectory() as name:
            speech = _said_for(Path(name), seconds)
            client: Any = None
            deadline = time.monotonic() + 300
            while client is None and time.monotonic() < deadline:
                try:
                    client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=name)
                except Exception:  # the server is not up yet; different exceptions say so
                    time.sleep(2)
            apart, frame = 0.0, 0.04
            with Memory(server.pid) as memory:
                for _ in range(max(2, round(60 * minutes / seconds))):
                    film = _spoken(client, handle_file(str(speech)))
                    apart, frame = max((_ends_apart(film), (apart, frame)), key=lambda pair: abs(pair[0]))
    finally:
        server.terminate()
        server.wait()
    return {"growth": memory.growth, "apart": apart, "frame": frame}


def _spoken(client: Any, speech: Any) -> Path:
    """Act as one visitor, who lets the student speak."""
    film, _ = client.predict(speech=speech, kind="bundled", repo_id="", consent=True, api_name="/student")
    return Path(film["video"] if isinstance(film, dict) else film)


LONG: dict[str, Callable[[float], dict[str, float]]] = {
    "teacher": lambda minutes: _rendered(minutes, "teacher"),
    "student": lambda minutes: _rendered(minutes, "student"),
    "dubbing": lambda minutes: _rendered(minutes, "teacher", dubbed=True),
    "space": _served,
}


if __name__ == "__main__":
    main()
