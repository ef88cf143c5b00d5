"""The teacher's trainer trains, goes on exactly where it stopped, and loses nothing in a crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")
pytest.importorskip("datasets")

from teacher_training_set import settings, write_set

from superface_hf import SuperFaceTeacherModel
from superface_hf.cli import main
from superface_hf.errors import SuperFaceError
from superface_hf.training.core.run import TrainingError
from superface_hf.training.teacher.config import TeacherTrainingConfig
from superface_hf.training.teacher.trainer import TeacherTrainer
from superface_hf.utils.settings import SettingsError, as_yaml, load_settings


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("prepared"))


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def assert_same(first: TeacherTrainer, second: TeacherTrainer) -> None:
    """Weights, averages, discriminators and the states of both optimizers are equal bit by bit."""
    pairs = [(first.model, second.model), (first.averaged, second.averaged)]
    assert first.discriminator is not None
    assert second.discriminator is not None
    pairs.append((first.discriminator.network, second.discriminator.network))
    for a, b in pairs:
        for (name, value), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.equal(value, other), name
    for one, two in (
        (first.optimizer, second.optimizer),
        (first.discriminator.optimizer, second.discriminator.optimizer),
    ):
        for a, b in zip(one.state_dict()["state"].values(), two.state_dict()["state"].values(), strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_training_moves_the_weights_and_writes_a_loadable_checkpoint(prepared, tmp_path):
    trainer = TeacherTrainer(settings(prepared, tmp_path, schedule={"steps": 3}))
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert any(not torch.equal(p, old) for p, old in zip(trainer.model.parameters(), before, strict=True))
    checkpoint = tmp_path / "checkpoint"
    assert json.loads((checkpoint / "progress.json").read_text())["step"] == 3
    assert SuperFaceTeacherModel.from_pretrained(checkpoint / "averaged").config.image_size == 128
    assert load_settings(TeacherTrainingConfig, checkpoint / "config.yaml") == trainer.config
    assert all(record["skipped"] == 0 for record in log_of(tmp_path))


def test_every_weight_learns_something(prepared, tmp_path):
    trainer = TeacherTrainer(settings(prepared, tmp_path))
    trainer.train(until=2)
    state = trainer.optimizer.state_dict()["state"]
    assert len(state) == len(list(trainer.model.parameters()))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("accumulated", {"run": {"batch_size": 4, "accumulation": 2}}),
        ("streamed-workers", {"data": {"streaming": True, "pool": 2, "workers": 2}, "run": {"batch_size": 2}}),
    ],
)
def test_a_resumed_training_ends_with_the_same_weights(prepared, tmp_path, name, changes):
    def trainer(folder: str) -> TeacherTrainer:
        return TeacherTrainer(settings(prepared, tmp_path / folder, **changes))

    whole = trainer("whole")
    whole.train()
    # An odd step, so that with two workers it is the second one's turn.
    trainer("parts").train(until=1)
    resumed = trainer("parts")
    resumed.train()
    assert resumed.run.step == 4
    assert_same(whole, resumed)


def test_the_restorer_can_learn_first_and_alone(prepared, tmp_path):
    changes = {"schedule": {"restoration": 2}, "data": {"degradation": {"share": 1.0}}}
    trainer = TeacherTrainer(settings(prepared, tmp_path, **changes))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train(until=2)
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("restorer.") for name in changed)
    assert [set(record) & {"l1", "restoration"} for record in log_of(tmp_path)] == [{"restoration"}] * 2
    trainer.train(until=3)
    assert not torch.equal(trainer.model.generator.head.weight, before["generator.head.weight"])


def test_accumulated_parts_train_like_a_whole_batch(prepared, tmp_path):
    """The weights only agree about: a mean over parts, each with weights of its own, is not the mean over all."""
    same = {"loss": {"adversarial": 0.0, "matching": 0.0}, "data": {"degradation": {"share": 0.0}}}
    norms = []
    for parts in (1, 2):
        run = {"batch_size": 4, "accumulation": parts}
        trainer = TeacherTrainer(settings(prepared, tmp_path / str(parts), run=run, **same))
        trainer.train(until=1)
        norms.append(log_of(tmp_path / str(parts))[0]["gradient"])
    assert norms[0] == pytest.approx(norms[1], rel=0.2)


def test_gradient_checkpointing_changes_nothing_but_memory(prepared, tmp_path):
    plain = TeacherTrainer(settings(prepared, tmp_path / "plain"))
    saving = TeacherTrainer(settings(prepared, tmp_path / "saving", model={"gradient_checkpointing": True}))
    assert saving.model.gradient_checkpointing
    plain.train(until=2)
    saving.train(until=2)
    assert_same(plain, saving)


def test_a_crash_between_two_checkpoints_leaves_one_to_go_on_from(prepared, tmp_path):
    TeacherTrainer(settings(prepared, tmp_path)).train(until=2)
    # As if it had ended while the folders were swapped, and again while a newer one was being written.
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    (tmp_path / "checkpoint.new").mkdir()
    (tmp_path / "checkpoint.new" / "progress.json").write_text('{"step": 3, "con')
    resumed = TeacherTrainer(settings(prepared, tmp_path))
    resumed.train(until=3)
    assert resumed.run.step == 3
    assert sorted(path.name for path in tmp_path.glob("checkpoint*")) == ["checkpoint"]


def test_the_first_checkpoint_is_early(prepared, tmp_path):
    trainer = TeacherTrainer(settings(prepared, tmp_path, run={"first_checkpoint": 2}))
    saved = []
    trainer.run.save = lambda *_, **__: saved.append(trainer.run.step)
    trainer.train()
    assert saved == [2, 4]


def test_a_checkpoint_of_another_model_is_refused(prepared, tmp_path):
    TeacherTrainer(settings(prepared, tmp_path)).train(until=1)
    other = {"overrides": {"detail_channels": 4}}
    with pytest.raises(TrainingError, match="another model"):
        TeacherTrainer(settings(prepared, tmp_path, model=other)).train()


def test_training_starts_from_given_weights(prepared, tmp_path):
    first = TeacherTrainer(settings(prepared, tmp_path / "first"))
    first.train(until=1)
    weights = tmp_path / "first" / "checkpoint" / "averaged"
    second = TeacherTrainer(settings(prepared, tmp_path / "second", model={"init": str(weights)}))
    for a, b in zip(first.averaged.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    second.train(until=1)
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="nowhere cannot be loaded"):
        TeacherTrainer(settings(prepared, tmp_path / "third", model={"init": nowhere}))


def test_a_step_without_finite_gradients_is_skipped(prepared, tmp_path):
    trainer = TeacherTrainer(settings(prepared, tmp_path))
    spoil(trainer, steps=(1,))
    trainer.train(until=3)
    assert [record["skipped"] for record in log_of(tmp_path)] == [0.0, 1.0, 0.0]
    assert all(p.isfinite().all() for p in trainer.model.parameters())
    assert all(p.isfinite().all() for p in trainer.discriminator.network.parameters())


def test_a_training_that_has_gone_wrong_stops_and_says_so(prepared, tmp_path):
    trainer = TeacherTrainer(settings(prepared, tmp_path, optimizer={"skips_allowed": 1}))
    spoil(trainer, steps=(0, 1, 2, 3))
    with pytest.raises(TrainingError, match="2 steps in a row, up to step 2"):
        trainer.train()
    assert not (tmp_path / "checkpoint").exists()


def spoil(trainer: TeacherTrainer, steps: tuple[int, ...]) -> None:
    """Makes the loss of some steps not a number."""
    loss = trainer.loss.__call__

    def spoiled(*inputs):
        total, terms = loss(*inputs)
        return (total * float("nan") if trainer.run.step in steps else total), terms

    trainer.loss = spoiled


def test_validation_goes_to_the_log_a_sheet_and_tensorboard(prepared, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = {"trackers": ["tensorboard"], "validate_every": 2, "batch_size": 2}
    TeacherTrainer(settings(prepared, tmp_path, run=run)).train(until=2)
    scores = next(record["validation"] for record in log_of(tmp_path) if "validation" in record)
    assert set(scores) >= {"flow", "teacher", "flow_boxes", "teacher_boxes", "worst_gain"}
    assert (tmp_path / "validation_000002.png").exists()
    events = accumulator.EventAccumulator(str(tmp_path / "superface-teacher"))
    events.Reload()
    assert {"l1", "flow", "gradient", "validation/teacher"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["validation"]
    assert [event.step for event in events.Scalars("l1")] == [1, 2]


def test_trackio_logs_without_a_network(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when trackio is imported
    pytest.importorskip("trackio")
    TeacherTrainer(settings(prepared, tmp_path / "run", run={"trackers": ["trackio"]})).train(until=2)
    assert any((tmp_path / "trackio").rglob("*superface-teacher*"))


def test_the_command_trains_and_names_the_weights(prepared, tmp_path, capsys):
    file = tmp_path / "config.yaml"
    file.write_text(as_yaml(settings(prepared, tmp_path / "elsewhere")))
    assert main(["train", "teacher", "--config", str(file), "--out", str(tmp_path / "run"), "--until", "1"]) == 0
    weights = Path(capsys.readouterr().out.splitlines()[-1])
    assert weights == tmp_path / "run" / "checkpoint" / "averaged"
    assert (weights / "model.safetensors").exists()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(SuperFaceError, match="superface prepare"):
        TeacherTrainer(settings(tmp_path / "nothing", tmp_path / "run")).train()
