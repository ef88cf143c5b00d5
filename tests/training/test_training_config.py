"""Settings of a training: YAML in, the same YAML out, and mistakes named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("pyarrow")

from superface_hf.cli import main
from superface_hf.training.teacher.config import RunSettings, TeacherTrainingConfig
from superface_hf.utils.settings import SettingsError, as_dict, as_yaml, build, flat, load_settings, parse_yaml

CONFIGS = Path(__file__).parents[2] / "configs"


def read(*changes: str) -> TeacherTrainingConfig:
    return load_settings(TeacherTrainingConfig, None, changes)


@pytest.mark.parametrize("name", ["tiny", "base", "large"])
def test_the_shipped_settings_are_valid_and_survive_being_written_down(name, tmp_path):
    config = load_settings(TeacherTrainingConfig, CONFIGS / f"teacher_{name}.yaml")
    assert config.model.size == name
    written = tmp_path / "config.yaml"
    written.write_text(as_yaml(config))
    assert load_settings(TeacherTrainingConfig, written) == config
    assert build(TeacherTrainingConfig, as_dict(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("schedule.stps=3", "Unknown setting schedule.stps. Did you mean schedule.steps?"),
        ("optimiser.learning_rate=1", "Unknown setting optimiser. Did you mean optimizer?"),
        ("loss.colour=1", "Unknown setting loss.colour. loss has: region_emphasis"),
        ("data.sampling.contrasts=1", "Did you mean data.sampling.contrast?"),
        ("data.degradation.first.qualty=[1, 2]", "Did you mean data.degradation.first.quality?"),
        ("model.overrides.volume_deth=2", "Did you mean model.overrides.volume_depth?"),
        ("model.overrides.volume_depth=deep", "model.overrides.volume_depth must be a whole number"),
        ("model.overrides.image_size=100", "image_size must be a multiple of 64"),
        ("model.size=bse", "model.size must be one of tiny, base, large, not 'bse'. Did you mean base?"),
        ("schedule.steps=many", "schedule.steps must be a whole number, not 'many'"),
        ("schedule.steps=1.5", "schedule.steps must be a whole number"),
        ("schedule.steps=0", "schedule.steps must be at least 1, not 0"),
        ("loss.l1=-1", "loss.l1 must be at least 0"),
        ("loss.l1=.nan", "loss.l1 must be at least 0"),
        ("loss.l1=true", "loss.l1 must be a number, not True"),
        ("run.compile=yes", "run.compile must be true or false, not 'yes'"),
        ("run.mixed_precision=fp8", "run.mixed_precision must be one of no, bf16"),
        ("run.trackers=[wandb]", "run.trackers[0] must be one of tensorboard, trackio"),
        ("run.trackers=tensorboard", "run.trackers must be a list"),
        ("optimizer.betas=[0.9]", "optimizer.betas must have 2 entries"),
        ("data.degradation.share=2", "data.degradation: "),
        ("data.masking.share=-1", "data.masking: "),
        ("schedule=5", "schedule is a section"),
        ("schedule.steps", "Expected KEY=VALUE"),
        ("data.sampling.image_size=256", "model.overrides.image_size"),
    ],
)
def test_a_mistake_is_named(change, message):
    with pytest.raises(SettingsError) as caught:
        read(change)
    assert message in str(caught.value)


def test_numbers_and_words_are_read_as_they_are_meant():
    config = read("optimizer.learning_rate=3e-4", "run.mixed_precision=no", "loss.l1=2")
    assert config.optimizer.learning_rate == 3e-4
    assert config.run.mixed_precision == "no"
    assert isinstance(config.loss.l1, float)
    assert parse_yaml("rate: 1e-3")["rate"] == 1e-3


def test_a_key_given_twice_is_refused(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("schedule:\n  steps: 1\n  steps: 2\n")
    with pytest.raises(SettingsError, match="steps is given twice"):
        load_settings(TeacherTrainingConfig, file)


def test_pairs_are_drawn_at_the_size_of_the_model():
    assert read("model.size=tiny").data.sampling.image_size == 128


def test_a_batch_must_be_shared_evenly():
    config = replace(TeacherTrainingConfig(), run=RunSettings(batch_size=8, accumulation=2))
    assert config.micro_batch(2) == 2
    with pytest.raises(SettingsError, match="choose a multiple of 6"):
        config.micro_batch(3)


def test_trackers_get_one_flat_entry_a_setting():
    entries = flat(TeacherTrainingConfig())
    assert entries["schedule.steps"] == 4300
    assert all(isinstance(value, (int, float, str)) for value in entries.values())


def test_the_command_prints_the_settings_that_its_options_make(capsys):
    file = str(CONFIGS / "teacher_tiny.yaml")
    options = ["--config", file, "--set", "schedule.steps=7", "--out", "here", "--prepared", "there", "--print"]
    assert main(["train", "teacher", *options]) == 0
    config = build(TeacherTrainingConfig, parse_yaml(capsys.readouterr().out))
    assert (config.schedule.steps, config.run.out, config.data.prepared) == (7, "here", "there")


def test_the_command_says_in_one_line_what_is_wrong(capsys):
    assert main(["train", "teacher", "--set", "schedule.stps=7"]) == 1
    assert capsys.readouterr().err == "superface: Unknown setting schedule.stps. Did you mean schedule.steps?\n"
    assert main(["train", "teacher", "--config", "nowhere.yaml"]) == 1
    assert "nowhere.yaml cannot be read" in capsys.readouterr().err
