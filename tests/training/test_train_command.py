"""One way to train: every model by the same command, from settings that are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("pyarrow")

from superface_hf.cli import main
from superface_hf.data.caching import cached
from superface_hf.training.models import TRAINABLE, load
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
    mine = cached(tmp_path, "train.npz", prepared, 96)
    assert cached(tmp_path, "train.npz", prepared, 96) == mine
    assert cached(tmp_path, "train.npz", prepared, 128) != mine
    other = tmp_path / "other"
    other.mkdir()
    assert cached(tmp_path, "train.npz", other, 96) != mine
    (prepared / "more.parquet").write_bytes(b"more")
    assert cached(tmp_path, "train.npz", prepared, 96) != mine
