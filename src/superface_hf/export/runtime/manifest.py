"""What a runtime folder says about itself: how to feed its graphs, how to draw what they give, and whose it is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ...animation.mouth_swap import shut_mouth
from ...drivers import idle, loudness
from ...face_model import topology
from ...face_model.linear import FaceModel
from ...models.student.modeling_student import SuperFaceStudentModel
from ...models.student.picture import PATCHES
from ...motion import Motion
from ...motion.arkit import ARKIT_NAMES, ArkitMaps
from ...player.folder import FORMAT, VERSION
from ...provenance.marks import SOURCE_TYPE, VOCABULARY, statement
from ...version import __version__

LICENSE = "Apache-2.0"
FPS = 25.0
UNITS = {
    "rotation": "radians, a rotation vector in the head's own frame: x right, y down, z toward the camera; 0 at rest",
    "translation": "distances between the outer corners of the eyes, to the right and down; 0 at rest",
    "scale": "a factor; 1 at rest",
    "mouth": "standard deviations, absolute: what audio-to-lip gives",
    "eyes": "standard deviations, added to the portrait's own",
    "brows": "standard deviations, added to the portrait's own",
    "gaze": "radians, right and down for the person's left eye and then the right one, added to the portrait's own",
}
MEANING = {
    "landmarks": "(478, 3) in the portrait's crop, whose edges are -1 and 1",
    "window": "left, top and side of the square in which the student draws",
    "rect": "left, top, right and bottom of what may show the person; elsewhere the frame is the plate",
    "stage_square": "left and top of the stage, and the side of one of its cells",
    "stage": "on the stage's cells: how far right and down of each cell's middle the place lies that it shows",
    "flow": "the same in the window, finer",
    "paint": "keep, and red, green and blue paint in [0, 1], over the window: a colour becomes keep * colour + paint",
    "matte": "what is added to the person's alpha in [0, 1], over the window",
    "corners": "of each patch (left eye, right eye, mouth): column and row of its first cell, in the window cut into "
    "image_size / 2 cells; flows of patches lie on these cells, paint and matte on cells of half their side, and replace what "
    "the window has there, enlarged linearly",
}
DRAWING = (
    "A frame is alpha * person + (1 - alpha) * plate. Person and alpha are looked up in colours and alpha, at each pixel's "
    "place plus what the window's flow says (the stage's beside the window), and then painted. Where the place is less than "
    "0.1 pixels away, the picture itself is shown, and no more of it from one pixel on."
)


def manifest(
    student: SuperFaceStudentModel,
    runtime: str,
    layout: dict[str, tuple[int, int]],
    hearing: dict[str, Any],
    precision: str,
) -> dict[str, Any]:
    """All but ``files``, see :func:`described`.

    Args:
        layout: where the arrays of a motion lie in a row.
        hearing: what the audio-to-lip graph says about itself.
    """
    height, width = student.full_picture().shape[:2]
    crop = student.crop
    return {
        "format": FORMAT,
        "version": VERSION,
        "runtime": runtime,
        "person": student.config.person,
        "made_by": f"superface-hf {__version__}",
        "license": LICENSE,
        "provenance": {
            "digital_source_type": VOCABULARY + SOURCE_TYPE,
            "statement": statement(SOURCE_TYPE),
            "note": "What this draws is synthetic and must be marked as such. The rights in the picture are its owner's.",
        },
        "precision": precision,
        "picture": {"width": width, "height": height},
        "crop": {"left": int(crop.left), "top": int(crop.top), "side": int(crop.side)},
        "image_size": student.config.image_size,
        "face_width": float(student.landmarks[:, 0].max() - student.landmarks[:, 0].min()) * crop.side / 2,
        "frame_rate": FPS,
        "motion": {name: {"columns": list(place), "unit": UNITS[name]} for name, place in layout.items()},
        "patches": list(PATCHES),
        "inner_lips": [list(pair) for pair in topology.INNER_LIPS],
        "outputs": MEANING,
        "drawing": DRAWING,
        "hearing": hearing,
        "rest_mouth": shut_mouth(FaceModel.default()).tolist(),
        "idle": idle_constants(),
        "loudness": {name.lower(): getattr(loudness, name) for name in _LOUDNESS},
        "blendshapes": blendshapes(),
    }


def described(path: Path) -> dict[str, Any]:
    """A file's size and checksum."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


_LOUDNESS = ("TARGET", "QUIETEST", "MOST_GAIN", "MOST_DAMPING", "BLOCK", "PAUSE", "BACKGROUND", "FORGETTING", "REMEMBERED",
             "PRIOR")  # fmt: skip
_IDLE = (
    "SWAY_WAVES", "SLOWEST", "FASTEST", "SWAY_SLOPE", "SWAY_TURN", "SWAY_SHIFT", "START", "BLINK_EVERY", "BLINK_SPREAD",
    "BLINK_REST", "BLINK_CLOSING", "BLINK_SHUT", "BLINK_OPENING", "GAZE_CAMERA", "GAZE_AWAY", "GAZE_SPREAD", "GAZE_JITTER",
    "GAZE_MEAN", "GAZE_LIMITS", "SACCADE_BASE", "SACCADE_PER_DEGREE", "FLOOR_DB", "VOICE_RANGE_DB", "PEAK_FALL_DB", "QUICK",
    "SLOW", "NOD_DELAY", "BROW_DELAY", "NOD_DEGREES", "BROW_RAISE", "BROW_THRESHOLD",
)  # fmt: skip


def idle_constants() -> dict[str, Any]:
    """The numbers of :mod:`superface_hf.drivers.idle`, and what shuts lids and lifts brows."""
    lids = Motion.neutral(1, 1.0).edit({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}).eyes[0]
    brows = Motion.neutral(1, 1.0).edit({"browInnerUp": 1.0, "browOuterUpLeft": 0.6, "browOuterUpRight": 0.6}).brows[0]
    return {name.lower(): getattr(idle, name) for name in _IDLE} | {"lids": lids.tolist(), "brows": brows.tolist()}


def blendshapes() -> dict[str, dict[str, list[float]]]:
    """ARKit blendshape -> region -> what a score of 1 adds to its coefficients, where that is anything."""
    maps = ArkitMaps.default().from_scores
    return {
        name: {
            region: [round(value, 6) for value in matrix[index].tolist()]
            for region, matrix in maps.items()
            if matrix[index].any()
        }
        for index, name in enumerate(ARKIT_NAMES)
        if name != "_neutral"
    }
