"""Make the example files of the page with the embedded weights::

    python -m superface_hf.space.make_examples

Run it again when the weights change. The files show only the bundled portrait, the bundled sentence and a drawn person.
"""

from __future__ import annotations

import argparse
import wave
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from ..utils.assets import PORTRAIT, SPEECH
from .examples import FILES
from .studio import Studio

if TYPE_CHECKING:
    from ..face_model.coordinates import Square
    from ..media import Sound
    from ..motion import Motion

# The part of the portrait that is cut out, in pixels (the face fills a third of it), and the side that it is scaled to.
FACE, SIDE = (97, 0, 353, 256), 400
TALK_FPS, MIMIC_FPS = 25, 12.5
# "Hello! A moment ago, I was only a photograph." ends here, in a pause. Shorter is quicker to render for a visitor.
SPEECH_SECONDS = 3.45
DRAWN_SIDE = 360
# Where the drawn person's head is in its picture, in image coordinates, and how large.
DRAWN_SCALE, DRAWN_PLACE = 0.5, (0.0, 0.03)
STUDENT_FRAME = 12  # mid-word, with an open mouth


def make_examples(folder: Path, studio: Studio) -> list[Path]:
    """Write the files and return their paths; later files are made from earlier ones."""
    from ..media import SoundReader, load_sound, save_picture, write_mp4
    from .drawn_face import drawn
    from .edit import Editor
    from .sliders import PRESETS

    folder.mkdir(parents=True, exist_ok=True)
    made = {name: folder / file for name, file in FILES.items()}
    pipe = studio.pipe
    with Image.open(PORTRAIT, formats=("PNG",)) as portrait:
        face = portrait.convert("RGB").crop(FACE).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    face.save(made["photo"], quality=92)
    photo = np.asarray(Image.open(made["photo"], formats=("JPEG",)))

    write_mp4(made["video"], drawn(driving_motion(), DRAWN_SIDE), MIMIC_FPS)
    write_mp4(made["mimic"], pipe.stream(photo, video=made["video"]), MIMIC_FPS)
    short = load_sound(SPEECH).cut(SPEECH_SECONDS)
    _write_wav(made["speech"], short)
    write_mp4(
        made["dub"], pipe.stream(None, video=made["mimic"], audio=short), MIMIC_FPS, SoundReader(short), short.rate
    )
    pipe(photo, audio=SPEECH, fps=TALK_FPS).save(made["talk"])
    save_picture(made["edit"], Editor(studio).edit(photo, PRESETS["Surprise"]))
    save_picture(made["student"], _student_frame(studio, short))
    return list(made.values())


def driving_motion() -> Motion:
    """Return a motion in which the drawn person looks around and smiles."""
    from ..motion.bundled import bundled_motion

    smile = bundled_motion("smile")
    look = bundled_motion("look_around")[: len(smile)]
    both = replace(look, mouth=smile.mouth, eyes=smile.eyes, brows=smile.brows).resample(MIMIC_FPS)
    place = DRAWN_SCALE * both.translation + np.array(DRAWN_PLACE)
    return replace(both, scale=DRAWN_SCALE * both.scale, translation=place)


def _student_frame(studio: Studio, speech: Sound) -> np.ndarray:
    from .live import close_up
    from .students import BUNDLED, Students

    pipe = Students(studio).load(BUNDLED, "", None)
    frames = close_up(pipe.stream(audio=speech, fps=TALK_FPS), cast("Square", pipe.model.crop))
    return next(frame for index, frame in enumerate(frames) if index == STUDENT_FRAME)


def _write_wav(path: Path, sound: Sound) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes((sound.samples * 32767).astype(np.int16).tobytes())


def main() -> None:
    from .examples import FOLDER

    parser = argparse.ArgumentParser(description="Makes the example files of the web demo.")
    parser.add_argument("--out", type=Path, default=FOLDER)
    for path in make_examples(parser.parse_args().out, Studio()):
        print(f"{path.stat().st_size / 1000:7.1f} kB  {path}")


if __name__ == "__main__":
    main()
