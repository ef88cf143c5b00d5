"""Commands under stress: told to stop, given nonsense, without the device that is asked for, with nobody reading."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save
from safetensors.torch import save_file

from superface_hf import Motion, MotionError, SuperFaceError, SuperFaceTeacherConfig, SuperFaceTeacherModel, cli
from superface_hf.media import replacing
from superface_hf.utils.assets import PORTRAIT
from superface_hf.utils.device import choose_device
from superface_hf.utils.files import ABANDONED, hold, sweep
from superface_hf.utils.neighbours import WAITING
from superface_hf.utils.stopping import Stopped, stopping

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


def told(capsys, *arguments: object) -> str:
    """The one line of a command that ends with status 1."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("superface: ")
    assert said.count("\n") == 1
    return said


class TestDevices:
    @pytest.fixture
    def with_devices(self, monkeypatch):
        def make(cuda: int, mps: bool) -> None:
            monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
            monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
            monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

        return make

    @pytest.mark.parametrize(
        ("cuda", "mps", "chosen"), [(0, False, "cpu"), (0, True, "mps"), (1, False, "cuda"), (1, True, "cuda")]
    )
    def test_auto_takes_a_gpu_where_there_is_one(self, with_devices, cuda, mps, chosen):
        with_devices(cuda, mps)
        assert choose_device() == choose_device("auto") == chosen
        assert choose_device("cpu") == "cpu"

    def test_what_is_there_can_be_named(self, with_devices):
        with_devices(2, True)
        assert [choose_device(name) for name in ("cuda", "cuda:1", "mps", "mps:0")] == [
            "cuda",
            "cuda:1",
            "mps",
            "mps:0",
        ]

    @pytest.mark.parametrize(
        "name", ["cuda", "cuda:0", "mps", "gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "meta", "xpu", "cuda:²"]
    )
    def test_what_is_not_there_is_said_in_one_line(self, with_devices, name):
        with_devices(0, False)
        with pytest.raises(SuperFaceError, match="auto"):
            choose_device(name)

    def test_a_gpu_too_many(self, with_devices):
        with_devices(2, False)
        with pytest.raises(SuperFaceError, match="2 of them"):
            choose_device("cuda:2")

    @pytest.mark.parametrize("command", ["generate", "dub", "edit", "track", "prepare", "evaluate"])
    def test_commands_take_auto_and_say_what_is_missing(self, with_devices, command, capsys, tmp_path):
        with_devices(0, False)
        arguments = {
            "generate": [PORTRAIT, "--motion", "nod", "-o", tmp_path / "o.mp4"],
            "dub": [PORTRAIT, "--audio", PORTRAIT.parent / "speech.flac", "-o", tmp_path / "o.mp4"],
            "edit": [PORTRAIT, "--set", "jawOpen=1", "-o", tmp_path / "o.png"],
            "track": ["--audio", PORTRAIT.parent / "speech.flac", "-o", tmp_path / "o.safetensors"],
            "prepare": [tmp_path, "-o", tmp_path / "set"],
            "evaluate": ["teacher", "--data", tmp_path, "--out", tmp_path / "e"],
        }[command]
        assert "no cuda" in told(capsys, command, *arguments, "--device", "cuda")
        given = [command, *(["teacher"] if command == "evaluate" else []), *map(str, arguments)]
        given = given if command != "evaluate" else [command, *map(str, arguments)]
        assert cli.build_parser().parse_args(given).device == "auto"

    def test_the_pipeline_takes_auto(self, with_devices, small_teacher, tracker):
        from transformers import pipeline

        with_devices(0, False)
        assert pipeline("talking-face", model=small_teacher, tracker=tracker, device="auto").device.type == "cpu"
        with pytest.raises(SuperFaceError, match="no cuda"):
            pipeline("talking-face", model=small_teacher, tracker=tracker, device="cuda")


class TestNonsense:
    @pytest.mark.parametrize("fps", ["1e-12", "0", "-1", "nan", "inf", "1e12", "1e-320", "241"])
    def test_a_frame_rate_that_is_none(self, fps, capsys, tmp_path, monkeypatch):
        monkeypatch.setattr("superface_hf.commands.generate.load_pipeline", _untrained)
        options = ["--motion", "nod", "-o", tmp_path / "out.mp4"]
        assert "fps" in told(capsys, "generate", PORTRAIT, *options, "--fps", fps)
        if fps != "241":
            speech = PORTRAIT.parent / "speech.flac"
            assert "fps" in told(capsys, "track", "--audio", speech, "--fps", fps, "-o", tmp_path / "m.safetensors")

    @pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool])
    def test_a_motion_file_of_numbers_that_are_none(self, kind, tmp_path, capsys):
        motion = Motion.neutral(3, 25)
        names = ("rotation", "translation", "scale", "mouth", "eyes", "brows", "gaze")
        tensors = {name: torch.from_numpy(np.array(getattr(motion, name))) for name in names}
        metadata = {"format": "superface-motion", "version": "1", "fps": "25.0"}
        save_file({**tensors, "mouth": tensors["mouth"].to(kind)}, tmp_path / "m.safetensors", metadata)
        with pytest.raises(MotionError, match="stored as"):
            Motion.load(tmp_path / "m.safetensors")
        options = ["--motion", tmp_path / "m.safetensors", "-o", tmp_path / "out.mp4"]
        assert "mouth" in told(capsys, "generate", PORTRAIT, *options)

    @pytest.mark.parametrize("fps", ["", "x", "nan", "1e-12", "1e300"])
    def test_a_motion_file_with_a_frame_rate_that_is_none(self, fps, tmp_path):
        motion = Motion.neutral(3, 25)
        names = ("rotation", "translation", "scale", "mouth", "eyes", "brows", "gaze")
        arrays = {name: np.array(getattr(motion, name)) for name in names}
        content = save(arrays, {"format": "superface-motion", "version": "1", "fps": fps})
        (tmp_path / "m.safetensors").write_bytes(content)
        with pytest.raises(SuperFaceError):
            Motion.load(tmp_path / "m.safetensors")

    def test_out_of_memory_is_one_line(self, monkeypatch, capsys, tmp_path):
        errors = [
            MemoryError(),
            np._core._exceptions._ArrayMemoryError((10**6, 10**6), np.dtype(np.float64)),
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: ..."
            ),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        ]
        for error in errors:

            def fail(options: object, error: BaseException = error) -> None:
                raise error

            monkeypatch.setattr("superface_hf.commands.edit.load_pipeline", fail)
            options = ["--set", "jawOpen=1", "-o", tmp_path / "o.png"]
            assert "out of memory" in told(capsys, "edit", PORTRAIT, *options)

    def test_other_faults_of_ours_are_not_hidden(self, monkeypatch, tmp_path):
        def fail(options: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("superface_hf.commands.edit.load_pipeline", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            cli.main(["edit", str(PORTRAIT), "--set", "jawOpen=1", "-o", str(tmp_path / "o.png")])


def _untrained(options: object) -> object:
    from transformers import pipeline

    return pipeline("talking-face", model=SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size("tiny")), device="cpu")


class TestStopping:
    @posix
    @pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
    def test_a_command_that_is_told_to_stop_cleans_up(self, name, status, monkeypatch, capsys, tmp_path):
        """In this process: the signal comes while a result is half-written."""

        def slow(options: object) -> None:
            with replacing(tmp_path / "out.png") as temporary:
                temporary.write_bytes(b"half")
                signal.raise_signal(getattr(signal, name))
                time.sleep(10)

        monkeypatch.setattr("superface_hf.commands.inspect.run", slow)
        given = signal.signal(getattr(signal, name), signal.SIG_DFL)  # below nohup, SIGHUP is ignored
        try:
            assert cli.main(["inspect", "x"]) == status
            assert signal.getsignal(getattr(signal, name)) is signal.SIG_DFL
        finally:
            signal.signal(getattr(signal, name), given)
        assert capsys.readouterr().err == f"superface: stopped by {name}.\n"
        assert not list(tmp_path.iterdir())

    @posix
    def test_what_is_ignored_or_handled_stays_so(self):
        before = signal.getsignal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        try:
            with stopping():
                signal.raise_signal(signal.SIGHUP)
        finally:
            signal.signal(signal.SIGHUP, before)

    @posix
    def test_a_second_signal_is_not_waited_for(self):
        seen = []
        with suppress(Stopped), stopping():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                seen.append(signal.getsignal(signal.SIGTERM))
        assert seen == [signal.SIG_DFL]

    @posix
    def test_nobody_reading_is_no_fault(self):
        picture = str(PORTRAIT)
        script = f"{sys.executable} -m superface_hf.cli inspect {picture} --json; echo $? >&2"
        result = subprocess.run(["bash", "-c", f"({script}) | true"], capture_output=True, text=True, timeout=60)
        assert result.stderr.strip() in ("141", "3")  # 3: it was quick enough to be heard

    def test_what_nobody_reads_ends_quietly(self, monkeypatch, capfd):
        monkeypatch.setattr("superface_hf.commands.inspect.run", _broken)
        code = "import sys, superface_hf.cli as c; from superface_hf.commands import inspect; import os\n"
        code += "def run(o): raise BrokenPipeError\ninspect.run = run; sys.exit(c.main(['inspect', 'x']))"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stderr) == (141, "")


def _broken(options: object) -> None:
    raise BrokenPipeError


class TestAbandonedFiles:
    def test_the_next_run_removes_what_a_killed_one_left(self, tmp_path):
        old, new = tmp_path / ".out.0123abcd.part.mp4", tmp_path / ".out.4567cdef.part.mp4"
        kept = [tmp_path / name for name in ("out.part.mp4", ".out.part.mp4", ".hidden", "notes.0123abcd.part")]
        for path in (old, new, *kept):
            path.write_bytes(b"x")
        long_ago = time.time() - ABANDONED - 60
        for path in (old, *kept):
            os.utime(path, (long_ago, long_ago))
        sweep.cache_clear()
        Motion.neutral(1, 25).save(tmp_path / "m.safetensors")
        assert not old.exists()
        assert new.exists()
        assert all(path.exists() for path in kept)

    def test_a_folder_has_one_writer(self, tmp_path):
        hold(tmp_path, "a training")
        hold(tmp_path, "a training")  # the same process may go on
        code = "import sys; from pathlib import Path; from superface_hf.utils.files import hold\n"
        code += "hold(Path(sys.argv[1]), 'a training')"
        result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
        assert result.returncode == 1
        assert "Another process is at work" in result.stderr

    @posix
    @pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
    def test_weights_are_for_whom_the_umask_says(self, umask, tmp_path, small_teacher):
        before = os.umask(umask)
        try:
            small_teacher.save_pretrained(tmp_path / "teacher")
        finally:
            os.umask(before)
        for path in (tmp_path / "teacher").iterdir():
            assert path.stat().st_mode & 0o777 == 0o666 & ~umask, path


class TestNeighbours:
    def policy(self, code: str, **environment: str) -> str:
        clean = {key: value for key, value in os.environ.items() if key not in WAITING}
        code = f"{code}; import os; print(os.environ.get('OMP_WAIT_POLICY'))"
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**clean, **environment},
        )
        return run.stdout.strip()

    @pytest.mark.parametrize("module", ["superface_hf", "superface_hf.cli"])
    def test_threads_wait_passively(self, module):
        assert self.policy(f"import {module}") == "PASSIVE"

    @pytest.mark.parametrize(
        ("name", "value", "policy"),
        [("OMP_WAIT_POLICY", "ACTIVE", "ACTIVE"), ("GOMP_SPINCOUNT", "100", "None"), ("KMP_BLOCKTIME", "200", "None")],
    )
    def test_what_the_user_set_holds(self, name, value, policy):
        assert self.policy("import superface_hf", **{name: value}) == policy


def test_a_photo_without_a_face_is_still_one_line(tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    options = ["--motion", "nod", "-o", tmp_path / "out.mp4"]
    assert "No face" in told(capsys, "generate", tmp_path / "black.png", *options)
    assert not Path(tmp_path / "out.mp4").exists()
