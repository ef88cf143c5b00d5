"""A batch: every row once, whatever becomes of the others; what is finished stays finished."""

from __future__ import annotations

import csv
import os
import pickle
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from test_student import made_student, trained_a_little

from superface_hf import Motion, SuperFaceStudentConfig
from superface_hf.batch import RenderRow, run_batch
from superface_hf.batch.columns import COLUMNS
from superface_hf.batch.done import NOTES
from superface_hf.cli import build_parser, main
from superface_hf.errors import MediaError, UnknownNameError
from superface_hf.utils.assets import SPEECH


@pytest.fixture
def student(tmp_path_factory, scene, face_points) -> str:
    torch.manual_seed(0)
    made = made_student(SuperFaceStudentConfig.of_size("tiny", person="the scene"), scene, face_points())
    folder = tmp_path_factory.mktemp("student")
    trained_a_little(made).save_pretrained(folder)
    return str(folder)


def table(folder: Path, rows: list[dict]) -> Path:
    path = folder / "jobs.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


def motion(path: Path, frames: int = 3, seed: int = 0) -> str:
    still = Motion.neutral(frames, 25.0)
    turns = np.random.default_rng(seed).normal(0, 0.02, still.rotation.shape)
    replace(still, rotation=turns).save(path)
    return path.name


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_columns_are_the_options_of_generate():
    parser = build_parser()
    generate = next(action for action in parser._actions if action.dest == "command" or action.choices).choices[
        "generate"
    ]
    names = {max(action.option_strings, key=len, default=action.dest).lstrip("-") for action in generate._actions}
    assert {name.replace("-", "_") for name in names} - {"help", "quiet", "json", "device", "dtype"} == set(COLUMNS)


def test_unknown_columns_are_refused_with_a_hint(tmp_path):
    with pytest.raises(UnknownNameError, match=r"'artculation'; did you mean 'articulation'\?"):
        run_batch([{"audio": "x.wav", "artculation": 1}], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_table_without_rows_is_refused(tmp_path):
    (tmp_path / "jobs.csv").write_text("photo,audio\n")
    with pytest.raises(MediaError, match="no rows"):
        run_batch(tmp_path / "jobs.csv", tmp_path / "out")


def test_bad_rows_are_reported_and_good_ones_done_and_done_once(student, tmp_path, capsys):
    jobs = [
        {"model": student, "motion": motion(tmp_path / "a.safetensors"), "output": "first.mp4"},
        {"model": student, "motion": "nobody.safetensors"},
        {"model": student, "motion": motion(tmp_path / "b.safetensors", 4), "set": "jawOpen=0.4;eyeBlinkLeft=1"},
        {"model": student, "motion": "nod", "seed": "seven"},
        {"model": student, "audio": str(SPEECH), "output": "../outside.mp4"},
        {"model": student},
    ]
    out = tmp_path / "out"
    assert main(["batch", str(table(tmp_path, jobs)), "-o", str(out), "--device", "cpu"]) == 1
    assert "2 done, 0 finished before, 4 failed" in capsys.readouterr().out
    with open(out / "report.csv", newline="") as file:
        report = list(csv.DictReader(file))
    assert [row["status"] for row in report] == ["done", "failed", "done", "failed", "failed", "failed"]
    assert [
        word in row["error"]
        for word, row in zip(["", "nobody", "", "seed", "within", "nothing to drive"], report, strict=True)
    ]
    assert all(("\n" not in row["error"]) and bool(row["error"]) == (row["status"] == "failed") for row in report)
    assert frames_of(out / "first.mp4") == 3
    assert frames_of(out / report[2]["file"]) == 4
    assert float(report[0]["seconds"]) > 0
    assert sorted(path.name for path in out.glob("*.mp4")) == sorted([report[2]["file"], "first.mp4"])
    assert not list(out.glob("*.part*"))
    assert not (tmp_path / "outside.mp4").exists()

    # Again: what is finished is known by its content, whatever its files are called; what has changed is done again.
    (tmp_path / "a.safetensors").rename(tmp_path / "renamed.safetensors")
    jobs[0]["motion"] = "renamed.safetensors"
    motion(tmp_path / "b.safetensors", 5)
    before = (out / "first.mp4").stat().st_mtime_ns
    again = run_batch(table(tmp_path, jobs[:3]), out, device="cpu", progress=False)
    assert [row["status"] for row in again.rows] == ["skipped", "failed", "done"]
    assert (out / "first.mp4").stat().st_mtime_ns == before
    assert frames_of(out / again.rows[2]["file"]) == 5

    # A clip that is no longer what it was is not finished.
    (out / "first.mp4").write_bytes(b"half a clip")
    assert [row["status"] for row in run_batch(table(tmp_path, jobs[:1]), out, progress=False).rows] == ["done"]
    assert frames_of(out / "first.mp4") == 3


def test_rows_that_are_the_same_are_rendered_once_and_two_that_write_one_file_are_not_both_done(student, tmp_path):
    row = {"model": student, "motion": str(tmp_path / motion(tmp_path / "a.safetensors"))}
    clash = [row | {"output": "x.mp4"}, row | {"output": "x.mp4", "seed": 1}]
    report = run_batch([row, row, *clash], tmp_path / "out", device="cpu", progress=False)
    assert [each["status"] for each in report.rows] == ["done", "skipped", "done", "failed"]
    assert report.rows[0]["file"] == report.rows[1]["file"]
    assert "Row 3 writes x.mp4" in report.rows[3]["error"]


def test_a_row_over_which_processes_die_is_given_up(student, tmp_path):
    row = {"model": student, "motion": str(tmp_path / motion(tmp_path / "a.safetensors"))}
    work = RenderRow(tmp_path / "out", "cpu")
    work._write = lambda path, values: os._exit(9)  # what a machine without memory does
    for _ in range(3):
        if (child := os.fork()) == 0:
            work(row)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    result = work(row)
    assert (result["status"], "died 3 times" in result["error"]) == ("failed", True)


def test_as_a_datasets_map(student, tmp_path):
    datasets = pytest.importorskip("datasets")
    path = str(tmp_path / motion(tmp_path / "a.safetensors"))
    rows = datasets.Dataset.from_list([{"model": student, "motion": path, "seed": seed} for seed in (1, None)])
    done = rows.map(RenderRow(tmp_path / "out", "cpu"))
    assert done["status"] == ["done", "done"]
    assert all(frames_of(tmp_path / "out" / name) == 3 for name in done["file"])
    assert isinstance(pickle.loads(pickle.dumps(RenderRow(tmp_path))), RenderRow)


def test_on_a_ray_cluster_of_two_of_which_one_is_killed(student, tmp_path):
    ray = pytest.importorskip("ray")
    folder, out = tmp_path, tmp_path / "out"
    rows = [{"model": student, "motion": motion(folder / f"{seed}.safetensors", 40, seed)} for seed in range(6)]
    rows.append({"model": student, "motion": "nobody"})
    killed: list[int] = []

    def kill_one() -> None:
        """As soon as two rows are done and another is under way."""
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            begun = list((out / NOTES).glob("*.begun")) if len(list((out / NOTES).glob("*.json"))) >= 2 else []
            for path in begun:
                try:
                    pid = int(path.read_text().split()[-1])
                except (OSError, IndexError):
                    continue
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break
            time.sleep(0.002)

    before = signal.getsignal(signal.SIGTERM)  # Ray handles it from now on
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error", object_store_memory=10**8)
    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        report = run_batch(table(folder, rows), out, engine="ray", workers=2, device="cpu", progress=False)
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)
        killer.join()
    assert len(killed) == 1
    statuses = [row["status"] for row in report.rows]
    assert statuses[-1] == "failed"
    # Ray repeats what a killed worker had rendered but not yet handed over; the repetition finds the file and skips the row.
    assert set(statuses[:6]) <= {"done", "skipped"}
    assert len({row["file"] for row in report.rows[:6]}) == 6
    assert all(frames_of(out / row["file"]) == 40 for row in report.rows[:6])
    assert len(list((out / NOTES).glob("*.json"))) == 6
    assert len(list(out.glob("*.mp4"))) == 6
    assert not list((out / NOTES).glob("*.begun"))
