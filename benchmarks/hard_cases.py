"""Draw a sheet for each kind of portrait that is hard to move: source, untrained layers and teacher.

::

    python benchmarks/hard_cases.py                                     # docs/images/hard_cases/, what docs/hard-cases.md shows
    python benchmarks/hard_cases.py --portraits FOLDER --out sheets/    # the same cases on portraits of your own

Portraits that may be shown come from this repository, from matplotlib (the extra ``[metrics]``), and from three packages that
are downloaded once: ``wand`` from PyPI and, by ``apt-get``, Debian's ``wordpress-theme-twentytwentyone`` and ``freecol``
(142 MB). All are in the public domain; ``docs/hard-cases.md`` says why. With ``--portraits``, a folder's files are drawn that
are named after the cases (``beard.jpg``); such sheets are not for publication.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from superface_hf import FaceModel, Motion, SuperFaceTeacherModel
from superface_hf.animation.portrait import Portrait, find_portrait
from superface_hf.animation.retargeting import shown
from superface_hf.evaluation.sheets import cell, write_sheet
from superface_hf.evaluation.teacher import load_teacher
from superface_hf.hub import weights_folder
from superface_hf.layers.matting import cut_out_person, foreground_colours
from superface_hf.layers.portrait import PortraitLayers
from superface_hf.layers.untrained import UntrainedLayers
from superface_hf.media import load_picture
from superface_hf.models.embedded import embedded_inpainter, embedded_matte, embedded_tracker
from superface_hf.motion.rotations import rotation_matrix, rotation_vector
from superface_hf.renderers.teacher import TeacherRenderer
from superface_hf.utils.assets import PORTRAIT

SHOWN = Path("docs/images/hard_cases")
PACKAGES = Path(".cache/hard_cases")
SIDE = 300  # pixels of a picture on a sheet
HEADINGS = ("source", "untrained layers", "teacher")
# A head turns and leans about a place in the neck: right, down and toward the camera from the middle of the face, in distances
# between the eyes.
NECK = np.array([0.0, 1.3, -0.9])
VIEW = 1.4  # of the face's crop: how much of the picture a sheet shows
FOUR_K, SMALL_FACE = (2160, 3840), 90  # pixels
SHELF = 0.22  # a shelf's height, of the picture's
INSIDE_FRAME = (slice(76, 398), slice(76, 326))


@dataclass(frozen=True)
class Move:
    """Where a head goes from where the picture has it.

    Attributes:
        name: what the sheet says.
        turn, nod, roll: degrees: to the picture's right, down, and clockwise.
        shift: right and down, in halves of the face's crop.
        edit: blendshapes.
    """

    name: str
    turn: float = 0
    nod: float = 0
    roll: float = 0
    shift: tuple[float, float] = (0.0, 0.0)
    edit: dict[str, float] = field(default_factory=dict)

    def of(self, motion: Motion) -> Motion:
        """Return a portrait's motion (one frame), moved."""
        nod, turn, roll = np.diag(np.deg2rad([-self.nod, self.turn, self.roll]))
        moved = rotation_matrix(np.stack([roll, turn, nod]))
        before = rotation_matrix(motion.rotation)
        after = moved[0] @ moved[1] @ moved[2] @ before
        neck = motion.scale[:, None] * ((before - after) @ NECK)[:, :2]
        return replace(
            motion, rotation=rotation_vector(after), translation=motion.translation + neck + np.array(self.shift)
        ).edit(self.edit)


TALKING = {"jawOpen": 0.5, "browInnerUp": 0.6}
SMILING = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "eyeBlinkLeft": 0.7, "eyeBlinkRight": 0.7}
USUAL = (
    Move("turns 20 right, talks", turn=20, roll=6, edit=TALKING),
    Move("turns 20 left, nods, smiles", turn=-20, nod=10, edit=SMILING),
)
TURNS = (Move("turns 35 right", turn=35), Move("turns 35 left", turn=-35))
ROLLS = (Move("leans 45 clockwise", roll=45), Move("leans 45 the other way", roll=-45))
LEAVING = (
    Move("goes out of the picture, talks", shift=(-0.6, 0.1), edit=TALKING),
    Move("comes in, turns 20 right, smiles", turn=20, shift=(0.5, 0.0), edit=SMILING),
)


def astronaut() -> np.ndarray:
    return load_picture(PORTRAIT)


def hopper() -> np.ndarray:
    """Return the portrait of Grace Hopper, a photograph of the US Navy."""
    import matplotlib

    return load_picture(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")


def mona_lisa() -> np.ndarray:
    """Return the Mona Lisa without the lower half, which shows hands."""
    name = "mona-lisa.jpg"
    if not (PACKAGES / name).exists():
        _run(
            [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "wand", "--dest", ".", "wand==0.7.2"]
        )
        with tarfile.open(PACKAGES / "wand-0.7.2.tar.gz") as package:
            content = package.extractfile(f"wand-0.7.2/tests/assets/{name}")
            assert content is not None
            (PACKAGES / name).write_bytes(content.read())
    return np.ascontiguousarray(load_picture(PACKAGES / name)[:400])


def morisot(name: str) -> np.ndarray:
    """Return a painting by Berthe Morisot."""
    return _of_debian("wordpress-theme-twentytwentyone", name)


def old_master(name: str) -> np.ndarray:
    """Return a painting without the frame in which FreeCol shows it."""
    return np.ascontiguousarray(_of_debian("freecol", f"{name}.size6.jpg")[INSIDE_FRAME])


def _of_debian(package: str, name: str) -> np.ndarray:
    if not list(PACKAGES.rglob(name)):
        _run(["apt-get", "download", package])
        _run(["dpkg", "--extract", next(PACKAGES.glob(f"{package}_*.deb")).name, "."])
    return load_picture(next(PACKAGES.rglob(name)))


def at_border() -> np.ndarray:
    """Return the astronaut, cut so that her hair touches the left border and the upper one."""
    return np.ascontiguousarray(astronaut()[:, 150:])


def before_shelves() -> np.ndarray:
    picture = astronaut()
    return _before(_shelves(picture.shape[:2], seed=1), picture, 1.0)


def in_4k() -> np.ndarray:
    """Return the astronaut in a picture of 4K, her face ``SMALL_FACE`` pixels wide."""
    picture = astronaut()
    face = np.ptp(embedded_tracker().find_faces(picture)[0].landmarks[:, 0])
    return _before(_shelves(FOUR_K, seed=2), picture, SMALL_FACE / float(face))


@dataclass(frozen=True)
class Case:
    """A kind of portrait: a picture that may be shown, and how it is moved."""

    name: str
    picture: Callable[[], np.ndarray]
    moves: tuple[Move, ...] = USUAL
    full_size: bool = False


CASES = (
    Case("turn", astronaut, TURNS),
    Case("roll", astronaut, ROLLS),
    Case("border", at_border, LEAVING),
    Case("small_face", in_4k, full_size=True),
    Case("long_hair", mona_lisa),
    Case("hat", hopper),
    Case("glasses", hopper, (Move("turns 30 right", turn=30), Move("nods 20, smiles", nod=20, edit=SMILING))),
    Case("beard", lambda: old_master("francisDrake")),
    Case("bald", lambda: old_master("benjaminFranklin")),
    Case("profile", lambda: morisot("self-portrait-1885.jpg")),
    Case("painting", lambda: morisot("young-woman-in-mauve.jpg")),
    Case("busy_background", before_shelves),
)


@torch.inference_mode()
def draw(case: Case, picture: np.ndarray, teacher: SuperFaceTeacherModel, path: Path) -> None:
    """Write the sheet of one case: a row for each of its moves."""
    portrait = find_portrait(picture, embedded_tracker(), FaceModel.default(), "largest", teacher.config.image_size)
    own = portrait.crop.to_pixels(portrait.landmarks)
    layers = PortraitLayers.make(picture, own, embedded_matte(), embedded_inpainter(), portrait.others)
    face, shape = shown(portrait, FaceModel.default())
    moved = [face.animate(shape, move.of(portrait.motion)) for move in case.moves]
    frames = []
    for model in (UntrainedLayers(teacher.config.image_size), teacher):
        ready = TeacherRenderer(model, torch.float32).prepare(portrait, lambda: layers)
        frames.append([ready.frames(meshes)[0] for meshes in moved])
    rows, columns = _view(portrait, case.full_size)
    sheet = []
    for move, row in zip(case.moves, zip(*frames, strict=True), strict=True):
        sheet.append((move.name, [cell(frame[rows, columns], SIDE) for frame in (picture, *row)]))
    write_sheet(path, HEADINGS, sheet)
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB", flush=True)


def _view(portrait: Portrait, full_size: bool) -> tuple[slice, slice]:
    """Return the rows and columns of the picture that a sheet shows."""
    shape, crop = portrait.picture.shape[:2], portrait.crop
    side = min(SIDE if full_size else round(VIEW * crop.side), *shape)
    spans = []
    for start, length in zip((crop.top, crop.left), shape, strict=True):
        first = round(min(max(0.0, start + (crop.side - side) / 2), length - side))
        spans.append(slice(first, first + side))
    return spans[0], spans[1]


def _before(background: np.ndarray, picture: np.ndarray, scale: float) -> np.ndarray:
    """Return a picture's person, enlarged ``scale`` times, in front of another picture, at the middle of its lower border."""
    face = embedded_tracker().find_faces(picture)[0].landmarks
    alpha = cut_out_person(picture, face, embedded_matte())
    layers = np.dstack([foreground_colours(picture, alpha).astype(np.float32), alpha])
    if scale != 1:
        layers = cv2.resize(layers, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = layers.shape[:2]
    left = (background.shape[1] - width) // 2
    part = background[-height:, left : left + width]
    share = layers[..., 3:]
    part[:] = np.clip(share * layers[..., :3] + (1 - share) * part + 0.5, 0, 255).astype(np.uint8)
    return background


def _shelves(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return a drawn wall of books: straight lines and fine stripes, which make bending of the background visible."""
    random = np.random.default_rng(seed)
    height, width = shape
    wall = np.full((height, width, 3), (96, 70, 48), np.uint8)
    shelf = round(SHELF * min(height, 1024))
    board = max(4, shelf // 12)
    for top in range(0, height, shelf):
        left = 0
        while left < width:
            wide, low = (int(random.integers(*span)) for span in ((shelf // 10, shelf // 4), (board, shelf // 3)))
            colour = tuple(int(value) for value in random.integers(30, 225, 3))
            cv2.rectangle(wall, (left, top + low), (left + wide - 2, top + shelf - board), colour, -1)
            for band in (0.3, 0.8):
                row = top + low + round(band * (shelf - board - low))
                cv2.line(wall, (left, row), (left + wide - 2, row), (235, 215, 160), max(1, shelf // 60))
            left += wide
    return wall


def _run(command: list[str]) -> None:
    PACKAGES.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, cwd=PACKAGES, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(weights_folder("teacher")), help="folder or Hub id of a teacher")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], help="only these")
    parser.add_argument(
        "--portraits", type=Path, help="folder of portraits that are called as cases are: only these are drawn"
    )
    parser.add_argument("--out", type=Path, help=f"folder for the sheets (default: {SHOWN})")
    args = parser.parse_args()
    if args.portraits and (args.out is None or SHOWN.resolve() in (args.out.resolve(), *args.out.resolve().parents)):
        parser.error(f"portraits of your own are not for {SHOWN}: name another folder with --out FOLDER")
    out = args.out or SHOWN
    out.mkdir(parents=True, exist_ok=True)
    teacher = load_teacher(args.model)
    for case in CASES:
        if args.cases and case.name not in args.cases:
            continue
        if args.portraits:
            for file in sorted(args.portraits.glob(f"{case.name}*")):
                draw(replace(case, full_size=False), load_picture(file), teacher, out / f"{file.stem}.jpg")
        else:
            draw(case, case.picture(), teacher, out / f"{case.name}.jpg")


if __name__ == "__main__":
    main()
