"""To the Hub and back: the unmodified client against a hub on localhost, and what it says when that fails.

The client runs in processes of its own, because it reads ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` when it is imported: one
that is online, and one that is not. ``online(function, ...)`` calls a function there; those are the first ones below.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hub_server import HubServer
from huggingface_hub import EvalResult, ModelCard
from transformers import BertConfig, BertModel

from superface_hf import (
    HubError,
    SuperFaceAudioToLipConfig,
    SuperFaceAudioToLipModel,
    SuperFaceTeacherConfig,
    SuperFaceTeacherModel,
    cli,
)
from superface_hf.hub import WEIGHTS, CardFacts, make_card, weights_folder

pytestmark = pytest.mark.e2e  # each client is a process of its own, with torch and the embedded weights
TEACHER, LIPS = "org/teacher", "org/lips"
PORTRAITS, PERFORMANCES = "alice/voices", "alice/performances"

# What the client's processes do.


def digest(model: torch.nn.Module) -> str:
    """Of every bit of the weights."""
    digested = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digested.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digested.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digested.hexdigest()


def loaded(loader: str, source: str, **kwargs: object) -> tuple[str, str]:
    """Class and digest of a model, by a class of this package, an Auto class or the pipeline."""
    import transformers

    import superface_hf

    if loader == "pipeline":
        model = transformers.pipeline("talking-face", model=source, device="cpu", **kwargs).model
    else:
        home = superface_hf if loader.startswith("SuperFace") else transformers
        model = getattr(home, loader).from_pretrained(source, **kwargs)
    return type(model).__name__, digest(model)


def pushed(folder: Path, repo_id: str, token: str | None = "hf_alice", **kwargs: object) -> str:
    """``push_to_hub`` of the model in a folder; gives the commit."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder).push_to_hub(repo_id, token=token, **kwargs).oid


def saved_and_pushed(folder: Path, into: Path, repo_id: str) -> None:
    """By ``save_pretrained``, which can push, too."""
    from transformers import AutoModel

    AutoModel.from_pretrained(folder).save_pretrained(into, push_to_hub=True, repo_id=repo_id, token="hf_alice")


def failed_twice() -> None:
    """Falls back on another model, which has a problem of its own."""
    from superface_hf.hub import loading

    try:
        SuperFaceTeacherModel.from_pretrained("org/nothing")
    except HubError:
        with loading("org/other"):
            raise ValueError("a problem of its own")  # noqa: B904


def pipeline_pushed(folder: Path, repo_id: str, **kwargs: object) -> str:
    from transformers import pipeline

    pipe = pipeline("talking-face", model=str(folder), device="cpu")
    return pipe.push_to_hub(repo_id, token="hf_alice", **kwargs).oid


def commanded(*arguments: object) -> tuple[int, str]:
    """The command's exit status and what it said."""
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = cli.main([str(argument) for argument in arguments])
    return status, said.getvalue()


def diffusers_pushed(repo_id: str) -> str:
    from superface_hf import SpeechToMotionPipeline, SpeechToPortraitPipeline

    kinds = {PORTRAITS: SpeechToPortraitPipeline, PERFORMANCES: SpeechToMotionPipeline}
    return kinds[repo_id].embedded().push_to_hub(repo_id, token="hf_alice").oid


def diffusers_made(repo_id: str, embedded: bool) -> tuple[str, str]:
    """What a pipeline is, and a digest of what it makes of the bundled sentence; of the Hub's, or the embedded one."""
    from hashlib import sha256

    import diffusers

    import superface_hf
    from superface_hf.utils.assets import SPEECH

    of_the_hub = None if embedded else diffusers.DiffusionPipeline.from_pretrained(repo_id)
    generator = torch.Generator().manual_seed(0)
    if repo_id == PORTRAITS:
        pipe = of_the_hub or superface_hf.SpeechToPortraitPipeline.embedded()
        made = pipe(SPEECH, size=64, generator=generator, output_type="np").images[0]
        return type(pipe).__name__, sha256(made.tobytes()).hexdigest()
    pipe = of_the_hub or superface_hf.SpeechToMotionPipeline.embedded()
    weights = [value.numpy().tobytes() for part in ("denoiser", "statistics", "lip_refiner", "audio_to_lip")
               for value in getattr(pipe, part).float().state_dict().values()]  # fmt: skip
    return type(pipe).__name__, sha256(b"".join(weights)).hexdigest()


def feature_extractor(source: str) -> dict[str, object]:
    from transformers import AutoFeatureExtractor

    return AutoFeatureExtractor.from_pretrained(source).to_dict()


def named(repo_id: str, branch: str, tag: str) -> None:
    """Gives the newest commit two names."""
    from huggingface_hub import HfApi

    api = HfApi(token="hf_alice")
    api.create_branch(repo_id, branch=branch)
    api.create_tag(repo_id, tag=tag)


def lips_for_pipeline(folder: Path, source: str) -> str:
    from transformers import pipeline

    return digest(pipeline("talking-face", model=str(folder), audio_to_lip=source, device="cpu").audio_to_lip)


# The hub, its clients, and what is on it.


@contextmanager
def client(endpoint: str, home: Path, offline: bool):
    """Yields a way to call functions in a process whose huggingface_hub talks to ``endpoint``."""
    environment = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
    }
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        pool.submit(os.getpid).result()  # starts it with this environment
    with pool:
        yield lambda function, *args, **kwargs: pool.submit(function, *args, **kwargs).result()


@pytest.fixture(scope="module")
def hub():
    return HubServer()


@pytest.fixture(scope="module")
def endpoint(hub):
    with hub.running() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hf_home")


@pytest.fixture(scope="module")
def online(endpoint, home):
    with client(endpoint, home, offline=False) as call:
        yield call


@pytest.fixture(scope="module")
def offline(home):
    """A client with the same cache, to whom nobody would answer."""
    with client("http://127.0.0.1:9", home, offline=True) as call:
        yield call


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("teacher")
    SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size("tiny")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lips_folder(tmp_path_factory) -> Path:
    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("lips")
    SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=16, dilations=[1, 2])).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pushed_teacher(hub, online, teacher_folder) -> str:
    """The commit of a teacher on the hub, which also has a branch and a tag."""
    commit = online(pushed, teacher_folder, TEACHER)
    online(named, TEACHER, "experiment", "v1")
    return commit


@pytest.fixture(scope="module")
def pushed_lips(hub, online, lips_folder) -> str:
    return online(pushed, lips_folder, LIPS)


@pytest.fixture(scope="module")
def teacher_digest(teacher_folder) -> str:
    return digest(SuperFaceTeacherModel.from_pretrained(teacher_folder))


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=16, max_position_embeddings=8, **small)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("repo_id", ["alice/voices", "alice/performances"])
def test_pipelines_of_diffusers_come_back_from_the_hub_with_the_same_bits(hub, online, repo_id):
    """What is saved is what was loaded, with the card and the notices of licences."""
    online(diffusers_pushed, repo_id)
    assert online(diffusers_made, repo_id, False) == online(diffusers_made, repo_id, True)
    assert card_of(hub, repo_id).data.library_name == "diffusers"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def card_of(hub: HubServer, repo_id: str, revision: str = "main") -> ModelCard:
    return ModelCard(hub.repos[repo_id].files(revision)["README.md"].data.decode())


class TestRoundTrip:
    def test_a_repository_holds_weights_settings_and_card_but_no_code_and_no_pickle(
        self, hub, pushed_teacher, pushed_lips
    ):
        own = {".gitattributes", "README.md", "config.json", "model.safetensors"}
        assert set(hub.repos[TEACHER].files(pushed_teacher)) == own
        assert set(hub.repos[LIPS].files(pushed_lips)) == {*own, "preprocessor_config.json"}

    @pytest.mark.usefixtures("pushed_teacher")
    def test_weights_go_through_large_file_storage(self, hub):
        weights = hub.repos[TEACHER].files()["model.safetensors"]
        assert weights.lfs
        assert f"PUT /_lfs/{weights.sha256}" in hub.requests
        assert f"POST /{TEACHER}.git/info/lfs/objects/verify" in hub.requests

    @pytest.mark.usefixtures("pushed_teacher")
    @pytest.mark.parametrize("loader", ["SuperFaceTeacherModel", "AutoModel", "pipeline"])
    def test_a_teacher_comes_back_bit_for_bit(self, online, teacher_digest, loader):
        assert online(loaded, loader, TEACHER) == ("SuperFaceTeacherModel", teacher_digest)

    @pytest.mark.usefixtures("pushed_lips")
    def test_audio_to_lip_comes_back_bit_for_bit_with_its_feature_extractor(self, online, lips_folder, teacher_folder):
        expected = digest(SuperFaceAudioToLipModel.from_pretrained(lips_folder))
        for loader in ("SuperFaceAudioToLipModel", "AutoModel"):
            assert online(loaded, loader, LIPS) == ("SuperFaceAudioToLipModel", expected)
        assert online(lips_for_pipeline, teacher_folder, LIPS) == expected
        assert online(feature_extractor, LIPS) == online(feature_extractor, str(lips_folder))

    @pytest.mark.parametrize("loader", ["AutoModel", "pipeline"])
    def test_branch_tag_and_commit_choose_the_revision(
        self, hub, online, pushed_teacher, tmp_path, teacher_digest, loader
    ):
        torch.manual_seed(3)
        other = SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size("tiny"))
        other.save_pretrained(tmp_path)
        online(pushed, tmp_path, TEACHER, revision="experiment")
        name = "SuperFaceTeacherModel"
        assert online(loaded, loader, TEACHER, revision="experiment") == (name, digest(other))
        assert online(loaded, loader, TEACHER, revision="v1") == (name, teacher_digest)
        assert online(loaded, loader, TEACHER, revision=pushed_teacher) == (name, teacher_digest)
        assert hub.repos[TEACHER].branches["main"] == pushed_teacher

    def test_pushing_to_a_new_branch_makes_it(self, hub, online, pushed_teacher, teacher_folder):
        commit = online(pushed, teacher_folder, TEACHER, revision="fresh")
        assert hub.repos[TEACHER].branches["fresh"] == commit

    @pytest.mark.parametrize("loader", ["SuperFaceTeacherModel", "AutoModel", "pipeline"])
    def test_what_was_loaded_once_loads_offline(self, online, offline, pushed_teacher, teacher_digest, loader):
        online(loaded, loader, TEACHER)
        assert offline(loaded, loader, TEACHER)[1] == teacher_digest
        assert offline(loaded, loader, TEACHER, revision=pushed_teacher)[1] == teacher_digest

    def test_pushing_does_not_spoil_what_is_cached(self, hub, online, offline, teacher_folder, teacher_digest):
        online(pushed, teacher_folder, "org/cached")
        online(loaded, "AutoModel", "org/cached")
        online(pushed, teacher_folder, "org/cached", tags=["newer"])
        assert offline(loaded, "AutoModel", "org/cached")[1] == teacher_digest

    def test_a_pipeline_pushes_its_model(self, hub, online, teacher_folder, teacher_digest):
        online(pipeline_pushed, teacher_folder, "org/from-pipeline", private=True)
        assert online(loaded, "AutoModel", "org/from-pipeline", token="hf_alice")[1] == teacher_digest
        assert card_of(hub, "org/from-pipeline").data.pipeline_tag == "image-to-video"

    def test_saving_can_push_with_our_card(self, hub, online, lips_folder, tmp_path):
        online(saved_and_pushed, lips_folder, tmp_path, "org/saved")
        assert (tmp_path / "model.safetensors").is_file()
        assert set(hub.repos["org/saved"].files()) >= {"model.safetensors", "preprocessor_config.json"}
        assert "pip install ./superface-hf" in card_of(hub, "org/saved").text

    def test_an_interrupted_download_is_resumed(self, hub, online, pushed_teacher, teacher_digest):
        hub.repos["org/resumed"] = hub.repos[TEACHER]
        hub.interrupted.add("model.safetensors")
        assert online(loaded, "AutoModel", "org/resumed", revision=pushed_teacher)[1] == teacher_digest
        assert not hub.interrupted


class TestPrivate:
    def test_private_is_honoured(self, hub, online, lips_folder):
        online(pushed, lips_folder, "org/hidden", private=True)
        online(pushed, lips_folder, "org/shown", private=False)
        assert hub.repos["org/hidden"].private
        assert not hub.repos["org/shown"].private
        with pytest.raises(HubError, match=r"no model org/hidden .* or it is private"):
            online(loaded, "SuperFaceAudioToLipModel", "org/hidden")
        assert online(loaded, "AutoModel", "org/hidden", token="hf_reader")[0] == "SuperFaceAudioToLipModel"

    def test_what_is_to_be_private_is_not_pushed_to_a_public_repository(self, hub, online, pushed_lips, lips_folder):
        with pytest.raises(HubError, match=r"org/lips exists already and is public, so nothing was pushed"):
            online(pushed, lips_folder, LIPS, private=True)
        assert hub.repos[LIPS].branches["main"] == pushed_lips


class TestCard:
    def test_it_holds_what_the_hub_reads(self, hub, pushed_teacher, pushed_lips):
        for repo_id, commit, task in ((TEACHER, pushed_teacher, "image-to-video"), (LIPS, pushed_lips, "other")):
            card = card_of(hub, repo_id, commit)
            assert card.data.license == "apache-2.0"
            assert card.data.library_name == "superface-hf"
            assert card.data.pipeline_tag == task
            assert {"superface", "talking-face"} <= set(card.data.tags)
            for needed in ("pip install ./superface-hf", f'"{repo_id}"', "## Limits", "## What it is for", "consent"):
                assert needed in card.text
            assert "transformers model that has been pushed" not in card.text

    def test_facts_of_the_maker_are_filled_in(self, small_teacher):
        measured = EvalResult("talking-face", "clips", "val clips", "psnr", 27.5, metric_name="PSNR")
        facts = CardFacts("From 12 clips.", "org/base", (measured,), "Alice", "I agree. Alice, 2026", ("sample.jpg",))
        card = make_card(small_teacher, "org/alice", facts)
        assert card.data.base_model == "org/base"
        assert card.data.to_dict()["model-index"][0]["results"][0]["metrics"][0]["value"] == 27.5
        for words in ("From 12 clips.", "| val clips | PSNR | 27.5 |", "shows Alice", "> I agree.", "(sample.jpg)"):
            assert words in card.text

    def test_a_missing_consent_is_asked_for(self, small_teacher):
        assert "Consent of Alice: not recorded yet" in make_card(small_teacher, "org/a", CardFacts(person="Alice")).text

    @pytest.mark.parametrize(
        "name", sorted(path.parent.name for path in WEIGHTS.glob("*/config.json") if "model_type" in path.read_text())
    )
    def test_every_embedded_transformers_model_has_a_template(self, name):
        from superface_hf.hub.cards import TEMPLATES

        assert (TEMPLATES / f"{name}.md").is_file()
        if (root := Path(__file__).parents[2] / "model_cards").is_dir():
            assert root.samefile(TEMPLATES)

    def test_words_that_somebody_wrote_on_the_hub_stay(self, hub, online, lips_folder):
        online(pushed, lips_folder, "org/edited")
        edited = {**files_of(lips_folder), "README.md": b"---\nlicense: mit\n---\n\nMy own words.\n"}
        hub.add("org/edited", edited)
        online(pushed, lips_folder, "org/edited", tags=["mine"])
        card = card_of(hub, "org/edited")
        assert "My own words." in card.text
        assert "pip install ./superface-hf" in card.text
        assert (card.data.license, card.data.pipeline_tag) == ("mit", "other")
        assert {"mine", "superface"} <= set(card.data.tags)

    def test_measured_words_go_with_the_weights_they_are_about(self, hub, online, tmp_path):
        embedded = weights_folder("audio_to_lip")
        online(pushed, embedded, "org/embedded")
        assert "mouth-opening correlation" in card_of(hub, "org/embedded").text
        model = SuperFaceAudioToLipModel.from_pretrained(embedded)
        with torch.no_grad():
            next(model.network.parameters()).add_(0.01)
        model.save_pretrained(tmp_path)
        (tmp_path / "README.md").write_text("Words about what the folder holds.")
        online(pushed, tmp_path, "org/changed")
        assert "mouth-opening correlation" not in card_of(hub, "org/changed").text
        assert "Words about what the folder holds." in card_of(hub, "org/changed").text

    def test_a_model_that_came_from_the_hub_names_it_as_its_base(self, hub, online, pushed_lips):
        online(pushed, LIPS, "org/second")
        assert card_of(hub, "org/second").data.base_model == LIPS


class TestCommand:
    def test_it_pushes_a_folder_as_it_is(self, hub, online, lips_folder, tmp_path, endpoint):
        for name, data in files_of(lips_folder).items():
            (tmp_path / name).write_bytes(data)
        (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\nMeasured. ![Alice](pictures/alice.png)\n")
        for picture in ("pictures/alice.png", "pictures/bob.png"):
            (tmp_path / picture).parent.mkdir(exist_ok=True)
            (tmp_path / picture).write_bytes(b"picture")
        (tmp_path / "optimizer.bin").write_bytes(b"pickle")
        status, said = online(commanded, "push", tmp_path, "org/folder", "--private", "--token", "hf_alice")
        assert (status, hub.repos["org/folder"].private) == (0, True)
        assert f"{endpoint}/org/folder/commit/" in said
        files = hub.repos["org/folder"].files()
        assert files["model.safetensors"].data == (lips_folder / "model.safetensors").read_bytes()
        assert "pictures/alice.png" in files  # the card shows it
        assert not {"pictures/bob.png", "optimizer.bin"} & set(files)
        assert card_of(hub, "org/folder").data.license == "mit"

    def test_it_pushes_an_embedded_checkpoint_with_its_own_card(self, hub, online):
        status, _ = online(commanded, "push", "audio_to_lip", "alice/lips", "--token", "hf_alice", "--message", "First")
        assert status == 0
        card, folder = card_of(hub, "alice/lips"), weights_folder("audio_to_lip")
        assert "mouth-opening correlation" in card.text
        assert card.data.library_name == "superface-hf"
        weights = hub.repos["alice/lips"].files()["model.safetensors"]
        assert weights.data == (folder / "model.safetensors").read_bytes()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere", "org/x", "--token", "hf_alice"], "not one of the embedded checkpoints (audio_to_lip,"),
            (["audio_to_lip", "org/x"], "needs a token"),
            (["audio_to_lip", "other/x", "--token", "hf_alice"], "may not write to other/x"),
        ],
    )
    def test_it_says_in_one_line_what_is_wrong(self, online, arguments, message):
        status, said = online(commanded, "push", *arguments)
        assert (status, said.count("\n")) == (1, 1)
        assert message in said

    def test_it_refuses_what_is_not_of_this_package(self, online, bert_folder):
        status, said = online(commanded, "push", bert_folder, "org/bert", "--token", "hf_alice")
        assert status == 1
        assert "type bert, which is not one of this package's" in said

    def test_generate_says_that_there_is_no_such_model(self, online, tmp_path, scene):
        from PIL import Image

        Image.fromarray(scene).save(tmp_path / "photo.png")
        files = ["-o", tmp_path / "out.mp4", "--model", "org/nothing"]
        status, said = online(commanded, "generate", tmp_path / "photo.png", "--motion", "nod", *files)
        assert status == 1
        assert "There is no model org/nothing" in said


class TestFailures:
    def test_pushing_without_a_token(self, hub, online, lips_folder):
        with pytest.raises(HubError, match=r"needs a token of the Hub that may write: hf auth login, .*HF_TOKEN"):
            online(pushed, lips_folder, "org/never", token=None)
        assert "org/never" not in hub.repos

    def test_pushing_with_an_expired_token(self, online, lips_folder):
        with pytest.raises(HubError, match=r"does not accept this token: make a new one at .*/settings/tokens"):
            online(pushed, lips_folder, "org/never", token="hf_expired")

    @pytest.mark.parametrize(
        ("repo_id", "token"), [("org/never", "hf_reader"), ("org/never", "hf_bob"), (LIPS, "hf_bob")]
    )
    def test_pushing_without_write_access(self, hub, online, pushed_lips, lips_folder, repo_id, token):
        with pytest.raises(HubError, match=f"token may not write to {repo_id}: use one of the kind 'write'"):
            online(pushed, lips_folder, repo_id, token=token)
        assert "org/never" not in hub.repos
        assert hub.repos[LIPS].branches["main"] == pushed_lips

    def test_pushing_to_what_is_no_name(self, online, lips_folder):
        with pytest.raises(HubError, match="is no name for a repository: use org/name"):
            online(pushed, lips_folder, "org/a name")

    def test_pushing_offline(self, offline, lips_folder):
        with pytest.raises(HubError, match="cannot be pushed in offline mode: unset HF_HUB_OFFLINE"):
            offline(pushed, lips_folder, "org/never")

    def test_an_unknown_repository(self, online):
        with pytest.raises(
            HubError, match=r"There is no model org/nothing on http.*, or it is private: check the name"
        ):
            online(loaded, "SuperFaceTeacherModel", "org/nothing")
        # transformers reads the configuration itself before any code of ours is called, and says it in its own words.
        for loader in ("AutoModel", "pipeline"):
            with pytest.raises(OSError, match="org/nothing is not a local folder and is not a valid model identifier"):
                online(loaded, loader, "org/nothing")

    def test_what_is_neither_a_folder_nor_an_id(self, online):
        with pytest.raises(HubError, match="is neither a folder here nor the id of a model"):
            online(loaded, "SuperFaceTeacherModel", "runs/my teacher/final")

    @pytest.mark.usefixtures("pushed_teacher")
    def test_a_wrong_revision(self, online):
        with pytest.raises(HubError, match=r"org/teacher has no branch, tag or commit 'v99': .*/org/teacher/tree/main"):
            online(loaded, "SuperFaceTeacherModel", TEACHER, revision="v99")
        with pytest.raises(OSError, match="v99 is not a valid git identifier"):
            online(loaded, "pipeline", TEACHER, revision="v99")

    def test_a_gated_repository(self, hub, online, lips_folder):
        hub.add("org/gated", files_of(lips_folder), gated=True)
        with pytest.raises(HubError, match=r"only for those who were let in: ask for access at .*/org/gated"):
            online(loaded, "SuperFaceAudioToLipModel", "org/gated")

    @pytest.mark.parametrize("loader", ["SuperFaceTeacherModel", "AutoModel", "pipeline"])
    def test_a_truncated_download_is_noticed_and_leaves_nothing_behind(
        self, hub, online, teacher_folder, teacher_digest, loader
    ):
        torch.manual_seed(4)
        repo_id = f"org/cut-{loader}"
        hub.add(repo_id, files_of(teacher_folder))
        hub.shortened.add("model.safetensors")
        try:
            with pytest.raises(HubError, match=f"The download of {repo_id} was cut short.*: load it again"):
                online(loaded, loader, repo_id)
        finally:
            hub.shortened.clear()
        assert online(loaded, loader, repo_id)[1] == teacher_digest

    def test_damaged_weights(self, hub, online, teacher_folder, tmp_path):
        files = files_of(teacher_folder)
        files["model.safetensors"] = files["model.safetensors"][:-100]
        hub.add("org/damaged", files)
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        for loader in ("AutoModel", "pipeline"):
            with pytest.raises(HubError, match=r"The weights of org/damaged are damaged .* force_download=True"):
                online(loaded, loader, "org/damaged")
        with pytest.raises(HubError, match=r"are damaged .*: copy them again"):
            SuperFaceTeacherModel.from_pretrained(tmp_path)

    def test_weights_that_are_missing_or_pickled_are_not_loaded(self, hub, online, teacher_folder, tmp_path):
        files = files_of(teacher_folder)
        files["pytorch_model.bin"] = files.pop("model.safetensors")
        hub.add("org/pickled", files)
        with pytest.raises(HubError, match=r"org/pickled at revision 'main' holds no model\.safetensors"):
            online(loaded, "AutoModel", "org/pickled")
        assert not any("org/pickled/commits" in asked for asked in hub.requests)  # nobody was asked to convert them
        (tmp_path / "config.json").write_bytes(files["config.json"])
        with pytest.raises(HubError, match=r"holds no model\.safetensors"):
            SuperFaceTeacherModel.from_pretrained(tmp_path)

    def test_a_repository_of_another_type(self, hub, online, bert_folder, pushed_lips, teacher_folder):
        hub.add("org/bert", files_of(bert_folder))
        before = len(hub.requests)
        with pytest.raises(HubError, match=r"org/bert holds a model of type 'bert', .* needs one that renders faces"):
            online(loaded, "pipeline", "org/bert")
        with pytest.raises(HubError, match="'bert'; SuperFaceTeacherModel needs one of type 'superface_teacher'"):
            online(loaded, "SuperFaceTeacherModel", "org/bert")
        assert not any("model.safetensors" in asked for asked in hub.requests[before:])  # nor downloaded
        with pytest.raises(HubError, match="pass it as audio_to_lip= instead"):
            online(loaded, "pipeline", LIPS)
        with pytest.raises(HubError, match="'superface_teacher'; SuperFaceAudioToLipModel needs"):
            online(lips_for_pipeline, teacher_folder, str(teacher_folder))

    def test_a_model_of_another_type_given_to_the_pipeline(self, bert_folder):
        from transformers import pipeline

        with pytest.raises(HubError, match=r"'bert'.*renders faces"):
            pipeline("talking-face", model=BertModel.from_pretrained(bert_folder), device="cpu")

    def test_offline_and_never_loaded(self, offline):
        with pytest.raises(HubError, match="is not on this machine, and offline mode is on"):
            offline(loaded, "SuperFaceTeacherModel", "org/unseen")

    def test_what_was_handled_before_is_not_blamed(self, online):
        with pytest.raises(ValueError, match="a problem of its own"):
            online(failed_twice)

    def test_a_hub_that_does_not_answer(self, online, lips_folder):
        with pytest.raises(HubError, match="cannot be reached, nothing was pushed"):
            online(pushed_elsewhere, lips_folder)


def pushed_elsewhere(folder: Path) -> None:
    """To a port where nobody listens."""
    from huggingface_hub import HfApi

    from superface_hf.hub import pushing

    with pushing("org/never"):
        HfApi(endpoint="http://127.0.0.1:9", token="hf_alice").create_repo("org/never")
