"""A student on the Hub: it comes back bit for bit, with its card's numbers, wherever it is loaded from.

As in ``test_hub``, whose fixtures give a hub on localhost, a client that is online and one that is not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from test_hub import (  # noqa: F401 - fixtures
    card_of,
    commanded,
    digest,
    endpoint,
    home,
    hub,
    lips_folder,
    loaded,
    named,
    offline,
    online,
    pushed,
    pushed_lips,
)
from test_student import made_student, trained_a_little

from superface_hf import HubError, SuperFaceStudentConfig, SuperFaceStudentModel
from superface_hf.training.student.report import SHEET, StudentReport, write_card

REPO = "org/superface-student-alice"
REPORT = StudentReport(33.21, 28.5, 27.0, 25.0, {"nod": (33.21, 28.5)}, 55.5, 6000.0, 200_000, 1.2, 70.0, 2)


def spoken(source: str, **kwargs: object) -> str:
    """Of every pixel that the pipeline renders with a model."""
    from transformers import pipeline

    pipe = pipeline("talking-face", model=source, device="cpu", **kwargs)
    return hashlib.sha256(pipe(edit={"jawOpen": 0.5}).frames.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory) -> Path:
    """What a distillation leaves: the student, its card, and the sheet that the card shows."""
    from superface_hf import FaceModel

    folder = tmp_path_factory.mktemp("students") / "alice-student"
    config = SuperFaceStudentConfig.of_size("tiny", person="Alice")
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    points = (FaceModel.default().mean.numpy() * 60 + np.array([160, 130, 0])).astype(np.float32)
    student = trained_a_little(made_student(config, picture, points))
    student.save_pretrained(folder)
    write_card(student, REPORT, folder, "Distilled for a test.", "org/teacher")
    (folder / SHEET).write_bytes(b"a picture")
    return folder


@pytest.fixture(scope="module")
def student_digest(student_folder) -> str:
    return digest(SuperFaceStudentModel.from_pretrained(student_folder))


@pytest.fixture(scope="module")
def pushed_student(online, student_folder) -> str:  # noqa: F811
    """The commit of the student on the hub, which also has a branch and a tag."""
    commit = online(pushed, student_folder, REPO)
    online(named, REPO, "experiment", "v1")
    return commit


class TestRoundTrip:
    @pytest.mark.usefixtures("pushed_student")
    @pytest.mark.parametrize("loader", ["SuperFaceStudentModel", "AutoModel", "pipeline"])
    def test_it_comes_back_bit_for_bit(self, online, offline, student_digest, loader):  # noqa: F811
        assert online(loaded, loader, REPO) == ("SuperFaceStudentModel", student_digest)
        assert offline(loaded, loader, REPO) == ("SuperFaceStudentModel", student_digest)

    @pytest.mark.parametrize("loader", ["SuperFaceStudentModel", "AutoModel", "pipeline"])
    def test_a_local_folder_gives_the_same(self, student_folder, student_digest, loader):
        assert loaded(loader, str(student_folder)) == ("SuperFaceStudentModel", student_digest)

    def test_branch_tag_and_commit_choose_the_revision(
        self, online, offline, pushed_student, student_folder, student_digest, tmp_path  # noqa: F811
    ):  # fmt: skip
        other = SuperFaceStudentModel.from_pretrained(student_folder)
        with torch.no_grad():
            next(other.parameters()).add_(1)
        other.save_pretrained(tmp_path)
        online(pushed, tmp_path, REPO, revision="experiment")
        for call in (online, offline):
            if call is online:
                assert call(loaded, "pipeline", REPO, revision="experiment")[1] == digest(other)
            for revision in ("v1", pushed_student):
                online(loaded, "pipeline", REPO, revision=revision)
                assert call(loaded, "pipeline", REPO, revision=revision)[1] == student_digest

    @pytest.mark.usefixtures("pushed_student")
    def test_it_shows_the_very_same_pixels_without_a_picture(self, online, offline, student_folder):  # noqa: F811
        online(loaded, "pipeline", REPO)
        assert online(spoken, REPO) == offline(spoken, REPO) == online(spoken, str(student_folder))

    @pytest.mark.usefixtures("pushed_student")
    def test_it_is_one_file_of_weights_and_no_pickle(self, hub):  # noqa: F811
        files = set(hub.repos[REPO].files())
        assert files == {".gitattributes", "README.md", "config.json", "model.safetensors", SHEET}

    def test_generate_takes_its_id_and_no_picture(self, online, pushed_student, tmp_path):  # noqa: F811
        out = tmp_path / "out.mp4"
        status, said = online(commanded, "generate", "--model", REPO, "--motion", "blink", "-o", out)
        assert (status, out.is_file()) == (0, True), said


class TestCard:
    def test_a_distillation_fills_it_in(self, student_folder):
        card = ModelCard.load(student_folder / "README.md")
        assert card.data.license == "apache-2.0"
        assert card.data.library_name == "superface-hf"
        assert card.data.pipeline_tag == "image-to-video"
        assert card.data.base_model == "org/teacher"
        assert {"superface", "talking-face", "real-time"} <= set(card.data.tags)
        for words in ("student of Alice", "Distilled for a test.", "Consent of Alice: not recorded", f"({SHEET})"):
            assert words in card.text
        for section in ("How it was made", "What it reaches", "What it is for", "Limits", "The people shown"):
            assert f"## {section}" in card.text

    @pytest.mark.parametrize("by", ["push_to_hub", "superface push"])
    def test_pushing_keeps_its_numbers_and_names_the_repository(self, hub, online, student_folder, by):  # noqa: F811
        repo_id = f"org/{by.replace(' ', '-')}"
        if by == "push_to_hub":
            online(pushed, student_folder, repo_id)
        else:
            assert online(commanded, "push", student_folder, repo_id, "--token", "hf_alice")[0] == 0
        card = card_of(hub, repo_id)
        values = [result.metric_value for result in card.data.eval_results]
        assert values == [33.21, 28.5, 55.5]
        assert f'model="{repo_id}"' in card.text
        assert 'alice-student"' not in card.text
        assert hub.repos[repo_id].files()[SHEET].data == b"a picture"

    def test_other_weights_do_not_keep_these_numbers(self, hub, online, student_folder, tmp_path):  # noqa: F811
        student = SuperFaceStudentModel.from_pretrained(student_folder)
        with torch.no_grad():
            next(student.parameters()).add_(1)
        student.save_pretrained(tmp_path)
        online(pushed, tmp_path, "org/retrained")
        assert "33.21" not in card_of(hub, "org/retrained").text


class TestFailures:
    @pytest.mark.usefixtures("pushed_lips")
    def test_a_repository_of_another_type(self, online):  # noqa: F811
        with pytest.raises(HubError, match="'superface_audio_to_lip'; SuperFaceStudentModel needs one of type"):
            online(loaded, "SuperFaceStudentModel", "org/lips")

    def test_generate_without_picture_says_that_a_teacher_needs_one(self, tmp_path, small_teacher):
        small_teacher.save_pretrained(tmp_path)
        for model in ([], ["--model", tmp_path]):
            status, said = commanded("generate", *model, "--motion", "nod", "-o", tmp_path / "out.mp4")
            assert status == 1
            assert "A picture of the person is needed" in said
