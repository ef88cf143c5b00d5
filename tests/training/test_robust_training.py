"""Trainings that were killed, whose checkpoints are damaged, and whose settings are nonsense."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from superface_hf import SuperFaceError, SuperFaceTeacherConfig, SuperFaceTeacherModel, cli
from superface_hf.data.prepare.labels import LabelSource
from superface_hf.data.prepare.settings import PrepareSettings
from superface_hf.data.prepare.store import SetStore
from superface_hf.training.core.log import TrainingLog
from superface_hf.training.core.run import TrainingError, TrainingRun
from superface_hf.training.student.config import DistillationConfig
from superface_hf.training.student.teacher_frames import FrameCache, TeacherFrames
from superface_hf.training.teacher.config import TeacherTrainingConfig
from superface_hf.utils.settings import SettingsError, as_dict, build, load_settings


@dataclasses.dataclass
class Settings:
    name: str = "x"


@pytest.fixture
def training(tmp_path):
    """A run of a tiny teacher, with a step taken and saved."""

    def make() -> TrainingRun:
        torch.manual_seed(0)
        accelerator = Accelerator(cpu=True)
        model = SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size("tiny"))
        averaged = SuperFaceTeacherModel(model.config).requires_grad_(False)
        averaged.load_state_dict(model.state_dict())
        model, _ = accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
        return TrainingRun(tmp_path, accelerator, averaged, 0.9, 60, Settings(), log_every=1)

    return make


class TestLogs:
    def test_steps_that_are_taken_again_are_logged_once(self, training, tmp_path):
        run = training()
        for _ in range(3):
            run.tick({"loss": 1.0})
        run.save()
        run.tick({"loss": 1.0})
        run.tick({"loss": 1.0})  # and killed here, in the middle of a line
        with open(tmp_path / "log.jsonl", "a") as file:
            file.write('{"step": 6, "lo')
        again = training()
        again.resume()
        assert again.step == 3
        for _ in range(3):
            again.tick({"loss": 1.0})
        steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert steps == [1, 2, 3, 4, 5, 6]

    def test_a_training_without_a_checkpoint_begins_its_log_again(self, training, tmp_path):
        training().tick({"loss": 1.0})
        training().resume()
        assert (tmp_path / "log.jsonl").read_text() == ""

    def test_a_log_that_is_whole_is_left_alone(self, tmp_path):
        path = tmp_path / "log.jsonl"
        path.write_text('{"step": 1}\n{"step": 2, "validation": {"psnr": 3}}\n')
        before = path.stat().st_mtime_ns
        TrainingLog(tmp_path, Accelerator(cpu=True)).cut(2)
        assert path.stat().st_mtime_ns == before


class TestCheckpoints:
    @pytest.mark.parametrize("content", [b"", b"\x80nonsense", b"PK\x03\x04 no zip", None])
    @pytest.mark.parametrize("name", ["optimizer.bin", "model.safetensors", "averaged/config.json"])
    def test_a_damaged_one_is_one_line(self, training, tmp_path, name, content):
        run = training()
        run.tick({"loss": 1.0})
        run.save()
        path = tmp_path / "checkpoint" / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
        with pytest.raises(TrainingError, match="damaged or does not fit") as refused:
            training().resume()
        assert "\n" not in str(refused.value)

    def test_a_failed_save_leaves_the_last_one_and_nothing_half_written(self, training, tmp_path, monkeypatch):
        run = training()
        run.tick({"loss": 1.0})
        run.save()

        def full(*args: object, **kwargs: object) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr(run.averaged, "save_pretrained", full)
        with pytest.raises(OSError, match="space"):
            run.save()
        assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
            "checkpoint",
            "log.jsonl",
        ]
        assert run.newest() is not None

    @pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
    def test_its_weights_are_for_whom_the_umask_says(self, training, tmp_path):
        before = os.umask(0o027)
        try:
            run = training()
            run.save()
        finally:
            os.umask(before)
        for path in (tmp_path / "checkpoint").rglob("*"):
            assert path.is_dir() or path.stat().st_mode & 0o777 == 0o640, path

    def test_damaged_frames_of_a_distillation_are_one_line(self, tmp_path):
        (tmp_path / "shard_00000.safetensors").write_bytes(b"nonsense")
        with pytest.raises(TrainingError, match="delete it"):
            TeacherFrames.load(tmp_path / "shard_00000.safetensors")
        (tmp_path / "manifest.json").write_text("{")
        with pytest.raises(TrainingError, match="choose another folder"):
            FrameCache(tmp_path, "x")

    @pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": 1}'])
    def test_a_damaged_manifest_is_one_line(self, tmp_path, text):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(SuperFaceError, match="damaged"):
            SetStore.open(tmp_path, PrepareSettings(), LabelSource(), "x")


HOLDING = """
import sys, time
from pathlib import Path
from superface_hf.utils.files import hold
hold(Path(sys.argv[1]), "a training")
print("held", flush=True)
time.sleep(120)
"""


def test_two_trainings_do_not_share_a_folder(training, tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SuperFaceError, match="Another process is at work"):
            training()
        with pytest.raises(SuperFaceError, match="Another process is at work"):
            SetStore.open(tmp_path, PrepareSettings(), LabelSource(), "x")
    finally:
        other.kill()
        other.wait()
    training()  # a lock ends with its process, however that ends


# Values of all kinds where others belong.
ODD = [
    None, True, -1, 0, 3, 2**70, -0.5, 1e300, float("nan"), float("inf"), "", "x" * 5000, "\x00", "-", [], [1], [None] * 3,
    ["a", ["b"]], {}, {"a": {"b": 1}}, {1: 2}, {None: 1},
]  # fmt: skip


@pytest.mark.parametrize("kind", [TeacherTrainingConfig, PrepareSettings, DistillationConfig])
def test_every_setting_takes_nonsense_calmly(kind):
    """Whatever a key holds, the settings are made, or one line names what is wrong."""
    needed = {"portrait": "p", "name": "n", "out": "o"} if kind is DistillationConfig else {}
    defaults = as_dict(build(kind, needed))
    tried, refusals = 0, []

    def paths(values: dict, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        found = []
        for key, value in values.items():
            found.append((*prefix, key))
            if isinstance(value, dict):
                found += paths(value, (*prefix, key))
        return found

    for path in paths(defaults):
        for odd in ODD:
            values: dict = dict(needed)
            inner = values
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = odd
            tried += 1
            try:
                build(kind, values)
            except SettingsError as error:
                refusals.append(str(error))
    assert tried > 400
    assert len(refusals) > tried / 2
    assert not [line for line in refusals if "\n" in line or len(line) > 7000]


FILES = {
    "binary": bytes(range(256)),
    "not utf-8": b"run: {out: \xff\xfe}",
    "a list": b"- a\n- b\n",
    "a number": b"3",
    "an open bracket": b"run: [1, 2",
    "tabs": b"run:\n\tout: x",
    "a Python object": b"run: !!python/object/apply:os.system ['echo hacked > hacked']",
    "a key twice": b"run: {out: a, out: b}",
    "a list as key": b"? [a, b]\n: c",
    "a mapping as key": b"? {a: b}\n: c",
    "an unknown anchor": b"run: *nothing",
    "anchors of anchors": b"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nrun: {out: [*b,*b,*b,*b]}",
    "itself": b"run: &r {out: *r}",
    "a date that is none": b"run: {out: 2020-13-45}",
    "a date": b"run: {out: 2020-01-01}",
    "a base-60 number": b"run: {seed: 1:99:99}",
    "deep": b"run: " + b"[" * 5000 + b"]" * 5000,
    "a merge of nothing": b"run: {<<: 3}",
    "a whole number of many digits": b"run: {seed: " + b"9" * 5000 + b"}",
    "an unknown tag": b"run: !thing {out: x}",
    "NUL": b"run: {out: \x00}",
    "two documents": b"run: {}\n---\nrun: {}",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_a_settings_file_of_any_kind_is_one_line(content, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    assert cli.main(["train", "teacher", "--config", str(path), "--print"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("superface: ")
    assert said.count("\n") == 1
    assert len(said) < 1500
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.yaml"]


@pytest.mark.parametrize("path", [Path(), Path("missing.yaml"), Path("x" * 500)])
def test_a_settings_file_that_is_none(path):
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(TeacherTrainingConfig, path)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_a_worker_of_prepare_that_is_ended_leaves_nothing_half_written(tmp_path):
    """What the main process does to its workers when it is told to stop."""
    code = (
        "import sys, time, signal\nfrom pathlib import Path\n"
        "from superface_hf.data.prepare import workers\nfrom superface_hf.media import replacing\n"
        "def slow(*_):\n"
        "    with replacing(Path(sys.argv[1]) / 'rows.parquet') as temporary:\n"
        "        temporary.write_bytes(b'half'); print('working', flush=True); time.sleep(60)\n"
        "workers.work = slow\nsignal.signal(signal.SIGTERM, workers._end_worker)\n"
        "workers._work_until_ended(None, None, None, None)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "working\n"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 143
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(tmp_path.iterdir())
