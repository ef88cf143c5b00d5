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

from superface_hf.training.teacher.trainer import TeacherTrainer
from superface_hf.utils.settings import as_yaml

# Trains by each of the settings it is given, and notes what this process saw and ended with.
WORKER = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from superface_hf.training.core import checkpoints
from superface_hf.utils.settings import load_settings
from superface_hf.training.teacher.trainer import TeacherTrainer
from superface_hf.training.teacher.config import TeacherTrainingConfig

wrote, flush = [], checkpoints._flush
checkpoints._flush = lambda folder: (wrote.append(str(folder)), flush(folder))
for path in map(Path, sys.argv[1:]):
    trainer = TeacherTrainer(load_settings(TeacherTrainingConfig, path))
    rank = trainer.accelerator.process_index
    seen, learn = [], trainer._learn_from
    def watched(part, place, parts):
        seen.append([trainer.run.step, place, part.target.long().sum((1, 2, 3)).tolist()])
        return learn(part, place, parts)
    trainer._learn_from = watched
    trainer.train()
    torch.save({
        "seen": seen, "wrote": list(wrote), "processes": trainer.accelerator.num_processes,
        "weights": trainer.accelerator.unwrap_model(trainer.model).state_dict(),
        "averaged": trainer.averaged.state_dict(),
        "discriminator": dict(trainer.discriminator.network.named_parameters()),
    }, path.with_name(f"{path.stem}_rank{rank}.pt"))
"""
RUN = {"batch_size": 4, "log_every": 1}
RESTORING: dict[str, dict[str, object]] = {
    "data": {"degradation": {"share": 1.0}},
    "schedule": {"steps": 2, "restoration": 2},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory) -> Path:
    """Where two processes have trained a teacher, in ``whole``, and only its restorer, in ``restorer``."""
    folder = tmp_path_factory.mktemp("two")
    configs = {
        "whole": settings(prepared, folder / "whole", schedule={"steps": 2}, run=RUN),
        "restorer": settings(prepared, folder / "restorer", **RESTORING, run=RUN),
    }
    for name, config in configs.items():
        (folder / f"{name}.yaml").write_text(as_yaml(config))
    (folder / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += [str(folder / "worker.py"), *(str(folder / f"{name}.yaml") for name in configs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def both(folder: Path, name: str) -> list[dict]:
    """What each of the two processes noted of one of the trainings."""
    found = [torch.load(folder / f"{name}_rank{rank}.pt") for rank in range(2)]
    assert found[0]["processes"] == 2
    return found


def test_two_processes_share_the_batch_and_end_with_equal_weights(prepared, folder, tmp_path):
    first, second = both(folder, "whole")
    for kind in ("weights", "averaged", "discriminator"):
        for name, value in first[kind].items():
            assert torch.equal(value, second[kind][name]), f"{kind} {name}"
    # Only the first writes; the batch is shared without overlap.
    assert first["wrote"]
    assert not second["wrote"]
    assert len((folder / "whole" / "log.jsonl").read_text().splitlines()) == 2
    assert [entry[:2] for entry in first["seen"]] == [[0, 0], [1, 0]]
    assert [entry[:2] for entry in second["seen"]] == [[0, 1], [1, 1]]
    progress = json.loads((folder / "whole" / "checkpoint" / "progress.json").read_text())
    assert progress["step"] == 2

    alone = TeacherTrainer(settings(prepared, tmp_path, schedule={"steps": 2}, run={**RUN, "accumulation": 2}))
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
    resumed = TeacherTrainer(settings(prepared, folder / "whole", schedule={"steps": 3}, run=RUN))
    resumed.train()
    assert resumed.run.step == 3


def test_two_processes_teach_one_restorer(prepared, folder, tmp_path):
    """What is learned beside the model's forward pass is shared by hand."""
    first, second = both(folder, "restorer")
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    alone = TeacherTrainer(settings(prepared, tmp_path, **RESTORING, run={**RUN, "accumulation": 2}))
    alone.train()
    for name, value in alone.model.state_dict().items():
        assert torch.allclose(value, first["weights"][name], atol=1e-4), name
