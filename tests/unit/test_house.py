"""The house: folders depend on each other one way only, as docs/architecture.md says."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import superface_hf

PACKAGE = Path(superface_hf.__file__).parent
# From the top of the house to its ground: a folder may import from its own floor and from those below.
FLOORS = (
    ("__main__", "cli", "commands", "space"),
    ("batch", "integrations"),
    ("registration", "pipelines", "training", "evaluation", "export"),
    ("player",),
    ("renderers", "drivers", "data"),
    ("models", "layers", "animation", "metrics"),
    ("face_model", "motion", "media", "hub", "provenance"),
    ("utils", "errors", "version"),
)
LARGEST_SHARE = 0.2  # of all lines


def modules() -> dict[str, Path]:
    """Dotted names below the package, without the package's own ``__init__``, which only points to what it exports."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del found[""]
    return found


def imported(name: str, path: Path, known: set[str]) -> Iterator[str]:
    """The modules of the package that a module imports, anywhere in it."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - (node.level - 1)] + (node.module.split(".") if node.module else [])
            elif node.module and node.module.split(".")[0] == "superface_hf":
                base = node.module.split(".")[1:]
            else:
                continue
            for alias in node.names:
                whole, part = ".".join([*base, alias.name]), ".".join(base)
                if target := whole if whole in known else part if part in known else "":
                    yield target
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("superface_hf.")
                for alias in node.names
                if alias.name.startswith("superface_hf.")
            )


def folder_of(name: str, paths: dict[str, Path]) -> str:
    """The folder that holds a module. A file that has folders beside it counts as a folder of its own."""
    path = paths[name]
    if path.name == "__init__.py":
        return name
    beside = any((each / "__init__.py").is_file() for each in path.parent.iterdir())
    return name if beside else name.rpartition(".")[0]


@cache
def arrows() -> dict[str, set[tuple[str, str]]]:
    """Of each folder: those that it imports from, each with the module that does so."""
    paths = modules()
    result: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for name, path in paths.items():
        for target in imported(name, path, set(paths)):
            here, there = folder_of(name, paths), folder_of(target, paths)
            if here != there:
                result[here].add((there, f"{name} imports {target}"))
    return result


def cycles(graph: dict[str, set[tuple[str, str]]]) -> list[str]:
    """A line for each arrow that goes back to a folder which leads here."""
    found, state = [], {}

    def visit(folder: str) -> None:
        state[folder] = "open"
        for there, why in sorted(graph.get(folder, ())):
            if there not in state:
                visit(there)
            elif state[there] == "open":
                found.append(why)
        state[folder] = "done"

    for folder in sorted(graph):
        if folder not in state:
            visit(folder)
    return found


def test_no_folders_import_each_other_in_a_circle() -> None:
    assert not cycles(arrows())


def test_a_circle_would_be_found() -> None:
    graph = {"a": {("b", "a.x imports b.y")}, "b": {("c", "b.y imports c.z")}, "c": {("a", "c.z imports a.x")}}
    assert cycles(graph) == ["c.z imports a.x"]


def test_folders_import_only_from_their_floor_and_below() -> None:
    floor = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}
    upward = [
        why
        for here, targets in arrows().items()
        for there, why in sorted(targets)
        if floor[there.split(".")[0]] < floor[here.split(".")[0]]
    ]
    assert not upward


def test_every_folder_has_a_floor() -> None:
    assert {name.split(".")[0] for name in modules()} == {folder for folders in FLOORS for folder in folders}


def test_no_folder_holds_more_than_a_fifth_of_the_lines() -> None:
    lines: dict[str, int] = defaultdict(int)
    for name, path in modules().items():
        lines[name.split(".")[0]] += len(path.read_text(encoding="utf-8").splitlines())
    largest = max(lines, key=lambda folder: lines[folder])
    assert lines[largest] <= LARGEST_SHARE * sum(lines.values()), f"{largest} holds {lines[largest]} lines"
