"""Two processes train one teacher, as one process that takes the same batches in two parts does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")
pytest.importorskip("datasets")

from teacher_training_set import settings, write_set

from superface_hf.training.teacher.config import TeacherTrainingConfig
from superface_hf.training.teacher.trainer import TeacherTrainer
from superface_hf.utils.settings import as_yaml

# Trains by the settings it is given, and notes what this process saw and ended with.
WORKER = """
import json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from superface_hf.training.core import checkpoints
from superface_hf.utils.settings import load_settings
from superface_hf.training.teacher.trainer import TeacherTrainer
from superface_hf.training.teacher.config import TeacherTrainingConfig

trainer = TeacherTrainer(load_settings(TeacherTrainingConfig, Path(sys.argv[1])))
rank = trainer.accelerator.process_index
seen, learn = [], trainer._learn_from
def watched(part, place, parts):
    seen.append([trainer.run.step, place, part.target.long().sum((1, 2, 3)).tolist()])
    return learn(part, place, parts)
trainer._learn_from = watched
wrote, flush = [], checkpoints._flush
checkpoints._flush = lambda folder: (wrote.append(str(folder)), flush(folder))
trainer.train()
torch.save({
    "seen": seen, "wrote": wrote, "processes": trainer.accelerator.num_processes,
    "weights": trainer.accelerator.unwrap_model(trainer.model).state_dict(),
    "averaged": trainer.averaged.state_dict(),
    "discriminator": dict(trainer.discriminator.network.named_parameters()),
}, Path(sys.argv[2]) / f"rank{rank}.pt")
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("prepared"))


def two_processes(config: TeacherTrainingConfig, folder: Path) -> tuple[dict, dict]:
    """Trains by ``config``, and gives what each of the two processes noted."""
    (folder / "config.yaml").write_text(as_yaml(config))
    (folder / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    command += ["--standalone", str(folder / "worker.py"), str(folder / "config.yaml"), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(folder / f"rank{rank}.pt") for rank in range(2))
    assert first["processes"] == 2
    return first, second


def test_two_processes_share_the_batch_and_end_with_equal_weights(prepared, tmp_path):
    run = {"batch_size": 4, "log_every": 1}
    config = settings(prepared, tmp_path / "two", schedule={"steps": 2}, run=run)
    first, second = two_processes(config, tmp_path)
    for kind in ("weights", "averaged", "discriminator"):
        for name, value in first[kind].items():
            assert torch.equal(value, second[kind][name]), f"{kind} {name}"
    # Only the first writes; the batch is shared without overlap.
    assert first["wrote"]
    assert not second["wrote"]
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 2
    assert [entry[:2] for entry in first["seen"]] == [[0, 0], [1, 0]]
    assert [entry[:2] for entry in second["seen"]] == [[0, 1], [1, 1]]
    progress = json.loads((tmp_path / "two" / "checkpoint" / "progress.json").read_text())
    assert progress["step"] == 2

    alone = TeacherTrainer(settings(prepared, tmp_path / "one", schedule={"steps": 2}, run={**run, "accumulation": 2}))
    sums: list[list[int]] = []
    learn = alone._learn_from

    def watched(part, place, parts):
        sums.append([alone.run.step, place, part.target.long().sum((1, 2, 3)).tolist()])
        return learn(part, place, parts)

    alone._learn_from = watched  # type: ignore[method-assign]
    alone.train()
    assert sums == sorted(first["seen"] + second["seen"])
    for name, value in alone.model.state_dict().items():
        assert torch.allclose(value, first["weights"][name], atol=1e-4), name
    # What two processes began, one can go on with.
    resumed = TeacherTrainer(settings(prepared, tmp_path / "two", schedule={"steps": 3}, run=run))
    resumed.train()
    assert resumed.run.step == 3


def test_two_processes_teach_one_restorer(prepared, tmp_path):
    """What is learned beside the model's forward pass is shared by hand."""
    sections = {"data": {"degradation": {"share": 1.0}}, "run": {"batch_size": 4}}
    schedule = {"steps": 2, "restoration": 2}
    first, second = two_processes(settings(prepared, tmp_path / "two", schedule=schedule, **sections), tmp_path)
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    sections["run"]["accumulation"] = 2
    alone = TeacherTrainer(settings(prepared, tmp_path / "one", schedule=schedule, **sections))
    alone.train()
    for name, value in alone.model.state_dict().items():
        assert torch.allclose(value, first["weights"][name], atol=1e-4), name
