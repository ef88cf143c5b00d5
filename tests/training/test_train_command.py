"""One way to train: every model by the same command, from settings that are checked, in one process or several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")
pytest.importorskip("pyarrow")

from superface_hf.cli import main
from superface_hf.training.models import TRAINABLE, load
from superface_hf.training.tracker import common
from superface_hf.utils.settings import as_yaml, load_settings, parse_yaml

CONFIGS = Path(__file__).parents[2] / "configs"
ONES_OWN = {"teacher": ["teacher_tiny", "teacher_base", "teacher_large"]}
GIVEN = {"student": ["portrait=alice.jpg", "name=alice", "out=alice"]}


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_model_has_settings_in_a_file_and_a_function_that_trains(name):
    kind = load(TRAINABLE[name].settings)
    for file in ONES_OWN.get(name, [name.replace("-", "_")]):
        config = load_settings(kind, CONFIGS / f"{file}.yaml", GIVEN.get(name, []))
        if name not in ONES_OWN:
            assert config == load_settings(kind, None, GIVEN.get(name, []))
    assert callable(load(TRAINABLE[name].train))


@pytest.mark.parametrize("name", TRAINABLE)
def test_settings_can_be_printed_changed_and_read_again(name, capsys, tmp_path):
    changes = [f"--set={change}" for change in GIVEN.get(name, [])]
    assert main(["train", name, "--print", "--out", "elsewhere", *changes]) in (0, None)
    printed = capsys.readouterr().out
    values = parse_yaml(printed)
    for key in TRAINABLE[name].out.split("."):
        values = values[key]
    assert values == "elsewhere"
    (tmp_path / "settings.yaml").write_text(printed)
    assert as_yaml(load_settings(load(TRAINABLE[name].settings), tmp_path / "settings.yaml")) == printed


@pytest.mark.parametrize("name", sorted(name for name in TRAINABLE if TRAINABLE[name].prepared == "prepared"))
def test_an_unknown_setting_is_refused_with_the_nearest(name, capsys):
    assert main(["train", name, "--set", "prepred=somewhere"]) == 1
    assert "Did you mean prepared?" in capsys.readouterr().err


def test_a_setting_out_of_bounds_is_refused(capsys):
    assert main(["train", "sync-expert", "--set", "steps=0"]) == 1
    assert "steps must be at least 1" in capsys.readouterr().err


def test_crops_of_another_prepared_set_are_not_taken_for_this_ones(tmp_path):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    mine = common.cached(tmp_path, "train.npz", prepared, 96)
    assert common.cached(tmp_path, "train.npz", prepared, 96) == mine
    assert common.cached(tmp_path, "train.npz", prepared, 128) != mine
    other = tmp_path / "other"
    other.mkdir()
    assert common.cached(tmp_path, "train.npz", other, 96) != mine
    (prepared / "more.parquet").write_bytes(b"more")
    assert common.cached(tmp_path, "train.npz", prepared, 96) != mine


# Trains audio-to-lip, the sync expert and a small network of the tracker, and notes what this process saw.
WORKER = """
import sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from superface_hf import SuperFaceAudioToLipConfig, SuperFaceSyncExpertConfig
from superface_hf.data.speech.clips import SpeechClip
from superface_hf.training.audio_to_lip.trainer import AudioToLipTrainer, AudioToLipTrainingConfig
from superface_hf.training.core.processes import accelerator_for
from superface_hf.training.sync_expert.trainer import SyncExpertTrainer, SyncExpertTrainingConfig
from superface_hf.data.speech.sync_windows import WindowSampling
from superface_hf.training.tracker.common import Averaged, Checkpoints, RandomDraws, TrainingClock

out, rng = Path(sys.argv[1]), np.random.default_rng(0)
clips = [
    SpeechClip(f"clip_{n}", f"person_{n}", 25.0, (0.1 * rng.normal(size=4 * 16000)).astype(np.float32),
               rng.normal(size=(100, 30)), np.ones(100, bool))
    for n in range(4)
]
lip_config = AudioToLipTrainingConfig(
    out=str(out / "lip"), steps=3, batch_size=2, seconds=1.0, warmup=1, validate_every=0, mixed_precision="no", real=1.0,
    quiet=0.0,
)
lip = AudioToLipTrainer(
    lip_config, [], clips, model_config=SuperFaceAudioToLipConfig(hidden_size=16, dilations=[1, 2], num_mel_bins=16)
)
seen, train_step = [], lip._train_step
def watched(batch):
    seen.append(float(batch["input_features"].double().sum()))
    return train_step(batch)
lip._train_step = watched
lip.train()
sync_config = SyncExpertTrainingConfig(
    out=str(out / "sync"), steps=2, batch_size=3, warmup=1, calibrate_at=0, reach=8, mixed_precision="no"
)
sync = SyncExpertTrainer(sync_config, clips, sampling=WindowSampling(frames=40))
sync.train()

class Draws(RandomDraws):
    pass
accelerator, draws = accelerator_for(), Draws()
draws.begin(0, accelerator)
network = accelerator.prepare(torch.nn.Linear(2, 1))
averaged, clock = Averaged(accelerator.unwrap_model(network), 0.9), TrainingClock(3, 1e9)
checkpoints = Checkpoints(out / "tracker", accelerator, averaged, clock, 1e9, draws)
drawn = []
while not clock.over:
    drawn.append(float(draws.random.random()))
    checkpoints.step({"loss": 0.0}, lambda: {})
rank = accelerator.process_index
torch.save({
    "seen": seen, "drawn": drawn, "steps": [lip.run.step, sync.run.step, clock.step],
    "weights": [*lip.averaged.parameters(), *sync.averaged.parameters()],
}, out / f"rank{rank}.pt")
"""


def test_two_processes_train_all_steps_share_the_windows_and_agree(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "worker.py"), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first["steps"] == second["steps"] == [3, 2, 3]
    assert len(first["seen"]) == len(second["seen"]) == 3
    assert not set(first["seen"]) & set(second["seen"])
    assert not set(first["drawn"]) & set(second["drawn"])
    for one, other in zip(first["weights"], second["weights"], strict=True):
        assert torch.equal(one, other)
    progress = json.loads((tmp_path / "tracker" / "progress.json").read_text())
    assert progress["step"] == 3
    assert len(progress["draws"]) == 2
    assert len((tmp_path / "tracker" / "figures.jsonl").read_text().splitlines()) == 1
