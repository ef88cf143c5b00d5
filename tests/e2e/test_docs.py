"""The documentation: every block of code in README.md and docs/ runs, links lead somewhere, the reference is up to date."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import hub_server
import pytest
from docs_reader import (
    DOCS,
    NEEDS,
    ON_THE_HUB,
    ROOT,
    TRY,
    blocks_of,
    check_reference,
    make_files,
    make_weights,
    name_of,
    pages,
    try_page,
)
from hub_server import HubServer
from test_hub import client

for package in ("accelerate", "datasets", "gradio", "onnxruntime"):
    pytest.importorskip(package)

REFERENCE = DOCS / "reference"
GUIDES = [page for page in pages() if REFERENCE not in page.parents]
NAMES = [name_of(page) for page in GUIDES]


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights"))


class TakesSpaces(hub_server._Handler):
    """A Space is a repository like a model's, at another address."""

    def _answer(self) -> None:
        self.path = self.path.replace("/api/spaces/", "/api/models/")
        super()._answer()


@pytest.fixture(scope="module")
def online(tmp_path_factory):
    """Calls functions in a process whose Hub is on localhost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_server, "_Handler", TakesSpaces)
        with (
            HubServer().running() as endpoint,
            client(endpoint, tmp_path_factory.mktemp("home"), offline=False) as call,
        ):
            yield call


@pytest.mark.parametrize("name", [name for name in NAMES if blocks_of(ROOT / name)])
def test_every_block_of_a_page_runs(name, files, weights, tmp_path, request):
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    call = request.getfixturevalue("online") if name in ON_THE_HUB else lambda function, *args: function(*args)
    assert call(try_page, ROOT / name, files, weights, tmp_path / "page") == len(blocks_of(ROOT / name))


def test_blocks_are_of_languages_that_can_be_tried():
    languages = {block.language for page in GUIDES for block in blocks_of(page)}
    assert languages <= set(TRY)


@pytest.mark.parametrize(
    ("language", "text", "says"),
    [
        ("python", "1 / 0", "zero"),
        ("bash", "superface generate nobody.jpg --motion nod -o x.mp4", "status 1"),
        ("bash", "make nothing", "no make nothing"),
        ("bash", "pip install '.[nothing]'", "no extra nothing"),
        ("bash", "python benchmarks/realtime.py --nothing", "no --nothing"),
        ("bash", "rm -rf x", "nobody tries rm"),
        ("yaml", "modle: {}", "modle"),
    ],
)
def test_a_block_that_does_not_work_is_noticed(language, text, says, files, weights, tmp_path):
    """The promise above is only worth something if it can be broken."""
    page = tmp_path / "page.md"
    page.write_text(f"```{language}\n{text}\n```\n")
    with pytest.raises(Exception, match=says):
        try_page(page, files, weights, tmp_path / "page")


@pytest.mark.parametrize("page", pages(), ids=lambda page: name_of(page))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}: there is no such heading"


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_names_every_page():
    index = (DOCS / "README.md").read_text()
    for page in GUIDES:
        if page.parent != ROOT and page != DOCS / "README.md":
            assert f"]({page.relative_to(DOCS).as_posix()})" in index


def test_the_architecture_names_what_exists():
    package = ROOT / "src/superface_hf"
    named = re.findall(r"`([\w/]+(?:\.py|/))`", (DOCS / "architecture.md").read_text())
    assert len(named) > 20
    for name in named:
        places = [package / name, package / "models/teacher" / name, package / "face_model" / name, ROOT / name]
        assert any(place.exists() for place in places), f"there is no {name}"


def test_every_subcommand_is_shown():
    from superface_hf.cli import COMMANDS

    shown = "\n".join(block.text for page in GUIDES for block in blocks_of(page) if block.language == "bash")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        assert f"superface {name}" in shown or f"make {name}" in shown, f"no page shows `superface {name}`"


class TestReference:
    def test_it_is_up_to_date(self):
        spec = importlib.util.spec_from_file_location("build_reference", DOCS / "build_reference.py")
        builder = importlib.util.module_from_spec(spec)
        sys.modules["build_reference"] = builder  # where its dataclass looks for itself
        spec.loader.exec_module(builder)
        pages = dict(builder.written_pages())
        assert set(pages) == set(REFERENCE.glob("*.md"))
        stale = [path.name for path, text in pages.items() if path.read_text() != text]
        assert not stale, "run python docs/build_reference.py"

    def test_signatures_are_python(self):
        for page in REFERENCE.glob("*.md"):
            for block in blocks_of(page):
                check_reference(block)

    def test_it_holds_everything_public(self):
        import superface_hf

        text = "\n".join(page.read_text() for page in REFERENCE.glob("*.md"))
        for name in superface_hf.__all__:
            assert f"## {name}" in text
