"""The parts of the web demo, without a server."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from itertools import count
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
import yaml
from PIL import Image
from space_server import BrightFaces, free_port, picture_of, png, quick_studio, wav

from superface_hf import HubError, MediaError, NoFaceError, SuperFaceError, inspect_file
from superface_hf.face_model.coordinates import Square
from superface_hf.media import Sound, VideoReader, WorkLimit, load_sound, write_mp4
from superface_hf.motion import Motion
from superface_hf.motion.arkit import ARKIT_NAMES
from superface_hf.space import Limits, distill
from superface_hf.space.background import background_of, in_settings, offered
from superface_hf.space.distill import Distillation, checked_name, new_folder, packed, remove
from superface_hf.space.edit import KEPT_READY, Editor
from superface_hf.space.examples import FILES, Examples
from superface_hf.space.guide import LOOKED_FOR, OUTLINE, Guide
from superface_hf.space.limits import check_picture, read_picture, read_video
from superface_hf.space.live import FPS, MAX_TALKS, TIMEOUT, LiveTalks
from superface_hf.space.messages import APOLOGY, for_visitors, in_words
from superface_hf.space.progress import Stages, in_time
from superface_hf.space.sliders import NAMES, PRESETS, SLIDERS, blendshapes, posed
from superface_hf.space.store import Store
from superface_hf.space.student import push_student
from superface_hf.space.students import Students, checked_repo_id
from superface_hf.space.studio import Studio
from superface_hf.space.video_file import VideoPlan, write_video
from superface_hf.utils.assets import PORTRAIT

SPACE = Path(__file__).parents[2] / "spaces" / "talking-face"


@pytest.fixture(scope="module")
def studio(small_teacher, face_model):
    return quick_studio(small_teacher, face_model)


# Limits


def test_pictures_come_upright_and_no_larger_than_they_are_worked_on(tmp_path):
    path = tmp_path / "photo.jpg"
    image = Image.fromarray(picture_of((1, 2, 3), 200, 400))
    exif = image.getexif()
    exif[274] = 6  # turned by a quarter
    image.save(path, exif=exif)
    assert read_picture(str(path), Limits(longest_side=300)).shape == (300, 150, 3)


@pytest.mark.parametrize(
    ("limits", "said"), [(Limits(picture_mb=0), "at most 0 MB"), (Limits(megapixels=0), "at most 0 megapixels")]
)
def test_a_refusal_says_the_limit(tmp_path, limits, said):
    path = tmp_path / "photo.png"
    path.write_bytes(png(picture_of((1, 2, 3))))
    with pytest.raises(MediaError, match=said):
        check_picture(str(path), limits)


def test_a_job_may_be_as_much_work_as_the_largest_video_and_no_more(tmp_path):
    limits = Limits(video_side=1000, video_fps=30, video_seconds=10, speech_seconds=20, job_seconds=60)
    assert limits.work == WorkLimit(limits.megapixels, 1.2, 60)
    write_mp4(tmp_path / "video.mp4", [picture_of((1, 2, 3))] * 3, 25)
    late = read_video(str(tmp_path / "video.mp4"), Limits(job_seconds=1e-9))
    with pytest.raises(MediaError, match="longer than the limit"):
        list(late)
    much = read_video(
        str(tmp_path / "video.mp4"), Limits(video_side=320, speech_seconds=0, video_seconds=0.02, video_fps=25)
    )
    with pytest.raises(MediaError, match="too much work"):
        list(much)


# Backgrounds


@pytest.mark.parametrize(
    ("colour", "found"),
    [("#20304a", (32, 48, 74)), ("rgba(32.4, 48, 73.9, 1)", (32, 48, 74)), ("white", (255, 255, 255)),
     ("rgb(999, 0, 0)", (255, 0, 0))],
)  # fmt: skip
def test_a_colour_is_three_numbers(colour, found):
    assert background_of("colour", colour) == found
    assert in_settings("colour", colour) == "#{:02x}{:02x}{:02x}".format(*found)


@pytest.mark.parametrize(
    "colour", ["/etc/passwd", str(PORTRAIT), "blur", "transparent", "", "rgba(.,.,.)", None, 7, "#" * 9999]
)
def test_a_colour_is_never_a_file(colour):
    with pytest.raises(MediaError, match="not a colour"):
        background_of("colour", colour)


@pytest.mark.parametrize("choice", ["white", str(PORTRAIT), "", None])
def test_a_background_is_one_of_those_that_are_offered(choice):
    with pytest.raises(MediaError, match="picture, blur, colour, transparent"):
        background_of(choice, "#000000")
    assert [background_of(each, "") for each in ("picture", "blur", "transparent")] == [None, "blur", "transparent"]


def test_where_no_transparent_file_can_be_made_none_is_offered(tmp_path, monkeypatch):
    store = Store(tmp_path)
    try:
        assert offered(store) == ("picture", "blur", "colour", "transparent")
        monkeypatch.setattr("av.codecs_available", {"libx264"})
        assert offered(store) == ("picture", "blur", "colour")
    finally:
        store.close()


# Messages


def test_visitors_read_words_not_paths_or_markup():
    error = MediaError("The picture /tmp/gradio/0a1b2c/<b>me</b>.png is damaged: bad\nheader")
    assert in_words(error) == "The picture &lt;b&gt;me&lt;/b&gt;.png is damaged: bad header" or "/tmp" not in in_words(
        error
    )
    assert "<b>" not in in_words(error)
    assert in_words(ValueError("secret internals")) == APOLOGY


def test_whatever_a_handler_raises_becomes_words():
    @for_visitors
    def fails():
        raise KeyError("internals")

    @for_visitors
    def fails_later():
        yield 1
        raise NoFaceError("No face was found.")

    with pytest.raises(gr.Error, match="Sorry"):
        fails()
    with pytest.raises(gr.Error, match="No face was found"):
        list(fails_later())


# Looking for a face


def test_a_fault_while_looking_is_told_and_logged(studio, tmp_path, monkeypatch, caplog):
    """A visitor's mistake is told, and is nothing for the log."""
    (tmp_path / "photo.png").write_bytes(png(picture_of((1, 2, 3))))
    (tmp_path / "words.png").write_bytes(b"these are words")
    write_mp4(tmp_path / "video.mp4", [picture_of((1, 2, 3))] * 2, 25)
    (tmp_path / "speech.wav").write_bytes(wav(0.2))
    guide = Guide(studio, Limits())
    assert "not a picture" in guide.look_at_photo(str(tmp_path / "words.png"))[0]["value"]
    assert "not a sound" in guide.listen_to(str(tmp_path / "words.png"))["value"]
    assert not caplog.records

    def broken(*args):
        raise LookupError("a cable is loose")

    monkeypatch.setattr(studio.pipe.tracker, "find_faces", broken, raising=False)
    monkeypatch.setattr("superface_hf.space.guide.read_sound", broken)
    said = [
        guide.look_at_photo(str(tmp_path / "photo.png"))[0],
        guide.look_at_video(str(tmp_path / "video.mp4"))[0],
        guide.listen_to(str(tmp_path / "speech.wav")),
    ]
    assert all(APOLOGY in each["value"] for each in said)
    assert caplog.text.count("LookupError: a cable is loose") == 3


def test_a_picture_without_a_face_is_shown_with_what_was_looked_for(studio, tmp_path):
    (tmp_path / "nobody.png").write_bytes(png(np.full((120, 160, 3), 20, np.uint8)))
    note, drawn = Guide(studio, Limits()).look_at_photo(str(tmp_path / "nobody.png"))
    assert LOOKED_FOR in note["value"]
    assert drawn["visible"]
    assert (drawn["value"] == OUTLINE).all(-1).sum() > 100


def test_of_several_faces_the_one_that_moves_is_marked(studio, face_model, tmp_path, monkeypatch):
    bright = BrightFaces(face_model.mean.numpy())
    monkeypatch.setattr(studio.pipe.tracker, "find_faces", lambda image: 2 * bright.find_faces(image), raising=False)
    (tmp_path / "two.png").write_bytes(png(picture_of((1, 2, 3))))
    note, drawn = Guide(studio, Limits()).look_at_photo(str(tmp_path / "two.png"))
    assert "2 faces" in note["value"]
    assert drawn["visible"]


def test_one_face_needs_no_picture(studio, tmp_path):
    (tmp_path / "one.png").write_bytes(png(picture_of((1, 2, 3))))
    note, drawn = Guide(studio, Limits()).look_at_photo(str(tmp_path / "one.png"))
    assert "Face found" in note["value"]
    assert not drawn["visible"]


def test_our_examples_need_no_consent(studio, tmp_path):
    examples = Examples()
    (tmp_path / "other.png").write_bytes(png(picture_of((1, 2, 3))))
    for name in ("photo", "video", "mimic"):
        assert examples.includes(examples[name])
    assert not examples.includes(str(tmp_path / "other.png"))
    assert not examples.includes(None)
    assert 3 < load_sound(examples["speech"]).seconds < 4


def test_what_the_page_opens_with_is_marked_and_small():
    examples = Examples()
    for name, file in FILES.items():
        path = Path(examples[name])
        assert path.stat().st_size < 400_000, file
        if name not in ("photo", "speech"):  # a photograph, and a sound
            assert inspect_file(path).ours, file
    talk, mimic = VideoReader(examples["talk"]), VideoReader(examples["mimic"])
    assert talk.sound() is not None
    assert len(list(mimic)) == len(list(VideoReader(examples["video"])))


def test_one_command_makes_all_that_the_page_opens_with(small_teacher, face_model, tmp_path, monkeypatch):
    from test_space_api import tiny_student

    from superface_hf.space import make_examples

    tiny_student(tmp_path / "student", face_model)
    (tmp_path / "speech.wav").write_bytes(wav(0.6))
    motion = make_examples.driving_motion()[:2]
    monkeypatch.setattr(make_examples, "driving_motion", lambda: motion)
    monkeypatch.setattr(make_examples, "SPEECH", tmp_path / "speech.wav")
    monkeypatch.setattr(make_examples, "DRAWN_SIDE", 64)
    made = make_examples.make_examples(tmp_path / "out", quick_studio(small_teacher, face_model, tmp_path / "student"))
    assert sorted(path.name for path in made) == sorted(FILES.values())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES.values())


def test_the_example_of_mimic_is_another_person(face_model):
    """A drawn one, whose face the tracker finds and who moves; not the portrait that is to be moved."""
    from superface_hf.models.embedded import embedded_tracker

    tracker, shapes = embedded_tracker("cpu"), []
    video = list(VideoReader(Examples()["video"]))
    for picture in (video[0], video[len(video) // 3], read_picture(Examples()["photo"], Limits())):
        faces = tracker.find_faces(picture)
        assert len(faces) == 1
        shapes.append(face_model.fit(Square.around_face(faces[0].landmarks).to_image(faces[0].landmarks)[None], 25.0))
    drawn, moved, portrait = shapes
    assert np.abs(drawn[1].rotation - moved[1].rotation).max() > 0.1
    apart = (drawn[0].points - portrait[0].points).norm(dim=-1).mean()
    assert apart > 2 * (drawn[0].points - moved[0].points).norm(dim=-1).mean()


def test_in_the_example_photo_the_face_fills_a_good_part():
    from superface_hf.models.embedded import embedded_tracker

    picture = read_picture(Examples()["photo"], Limits())
    landmarks = embedded_tracker("cpu").find_faces(picture)[0].landmarks
    assert np.ptp(landmarks[:, 0]) > 0.27 * picture.shape[1]  # in the whole portrait it is 0.18


def test_speech_is_looked_at_as_soon_as_it_is_there(studio, tmp_path):
    guide = Guide(studio, Limits())
    assert "3.5 seconds" in guide.listen_to(Examples()["speech"])["value"]
    silence = tmp_path / "silence.wav"
    silence.write_bytes(wav(1.0)[:44] + bytes(32000))
    assert "Nothing can be heard" in guide.listen_to(str(silence))["value"]
    assert not guide.listen_to(None)["visible"]


def test_a_damaged_picture_is_named_as_its_visitor_knows_it(tmp_path):
    path = tmp_path / "me.png"
    path.write_bytes(PORTRAIT.read_bytes()[:60000])
    with pytest.raises(MediaError) as refused:
        read_picture(str(path), Limits())
    assert "me.png" in in_words(refused.value)
    assert "PngImageFile" not in in_words(refused.value)


def test_the_tab_that_makes_a_student_is_named_where_it_is(studio):
    with pytest.raises(SuperFaceError, match="The tab “Make a student”, beside “Hear it talk”"):
        Students(studio).load("own", "", None)


# Sliders


def test_sliders_are_blendshapes_that_exist():
    for slider in SLIDERS:
        assert set(slider.up) | set(slider.down) <= set(ARKIT_NAMES)
    for values in PRESETS.values():
        assert set(values) <= set(NAMES)
    assert blendshapes({"smile": -0.5}) == {"mouthFrownLeft": 0.5, "mouthFrownRight": 0.5}
    assert blendshapes(dict.fromkeys(NAMES, 0.0)) == {}


@pytest.mark.parametrize(
    ("slider", "axis", "sign"), [("turn", 0, 1), ("nod", 1, -1)], ids=["right is right", "up is up"]
)
def test_the_nose_goes_where_the_slider_goes(face_model, slider, axis, sign):
    nose, middle = 1, 168
    points = face_model.animate(face_model.neutral_shape(face_model.mean.numpy(), Motion.neutral(1, 1.0)), still())
    moved = face_model.animate(
        face_model.neutral_shape(face_model.mean.numpy(), Motion.neutral(1, 1.0)), posed(still(), {slider: 1.0})
    )
    change = (moved[0, nose] - moved[0, middle]) - (points[0, nose] - points[0, middle])
    assert sign * change[axis] > 0.05


def still() -> Motion:
    return Motion.neutral(1, 1.0)


def test_gaze_up_is_up():
    gaze = posed(still(), {"look_up": 1.0, "look_right": 0.5}).gaze[0]
    assert gaze[0] == gaze[2] > 0  # right
    assert gaze[1] == gaze[3] < 0  # less down


def test_portraits_are_prepared_once_and_not_kept_for_ever(studio, monkeypatch):
    editor, made = Editor(studio), count()
    ready = studio.pipe.ready
    monkeypatch.setattr(studio.pipe, "ready", lambda portrait: (next(made), ready(portrait))[1])
    picture = picture_of((1, 2, 3))
    first, second = (editor.edit(picture, {"mouth_open": value}) for value in (0.2, 0.9))
    assert not np.array_equal(first, second)
    assert next(made) == 1
    for shade in range(KEPT_READY + 3):
        editor.edit(picture_of((shade, 0, 0)), {})
    assert len(editor._ready) == KEPT_READY


# Models


def test_two_visitors_at_once_load_the_models_once(monkeypatch):
    loads = []

    def slowly():
        loads.append(1)
        time.sleep(0.05)
        return object()

    monkeypatch.setattr("superface_hf.space.studio._load", slowly)
    studio = Studio()
    threads = [threading.Thread(target=lambda: studio.pipe) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


@pytest.mark.parametrize("name", ["../teacher", "/etc/passwd", "alice", "a/b/c", "a/..", "", "-a/b"])
def test_a_student_of_the_hub_is_not_a_path(name):
    with pytest.raises(HubError, match="has a name like"):
        checked_repo_id(name)


def test_the_address_of_a_student_is_its_name():
    assert checked_repo_id(" https://huggingface.co/org/superface-student-alice/ ") == "org/superface-student-alice"


def test_without_a_bundled_student_the_message_says_what_to_do(monkeypatch):
    def missing(name):
        raise SuperFaceError("missing")

    monkeypatch.setattr("superface_hf.hub.weights_folder", missing)
    with pytest.raises(SuperFaceError, match="Make one of your own"):
        Studio().student()


# Live


def frames_numbered(number: int):
    return (np.full((8, 8, 3), 10 * index, np.uint8) for index in range(number))


def test_a_live_talk_gives_all_frames_in_order_and_ends():
    talks = LiveTalks()
    begun = talks.begin(frames_numbered(20), Sound(np.zeros(8000, np.float32), 10_000))
    assert begun["total"] == round(0.8 * FPS)
    shades = []
    while True:
        part = talks.more(begun["token"])
        shades += [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))).mean() for one in part["frames"]]
        if part["done"]:
            break
    assert np.allclose(shades, [10 * index for index in range(20)], atol=2)
    assert len(talks) == 0
    assert talks.more(begun["token"]) == {"frames": [], "done": True}
    assert talks.more({"not": "a token"}) == {"frames": [], "done": True}


def test_talks_of_visitors_who_left_make_room(monkeypatch):
    talks, sound = LiveTalks(), Sound(np.zeros(800, np.float32), 8000)
    for _ in range(MAX_TALKS):
        talks.begin(frames_numbered(2), sound)
    with pytest.raises(SuperFaceError, match="Several students are talking"):
        talks.begin(frames_numbered(2), sound)
    later = time.monotonic() + TIMEOUT + 1
    monkeypatch.setattr("superface_hf.space.live.time.monotonic", lambda: later)
    talks.begin(frames_numbered(2), sound)
    assert len(talks) == 1


# Progress


def test_progress_says_the_stage_and_the_time_that_is_left(monkeypatch):
    clock = count(0, 1.0)
    monkeypatch.setattr("superface_hf.space.progress.time.monotonic", lambda: next(clock))
    said = []
    stages = Stages(lambda share, desc: said.append((share, desc)))  # type: ignore[arg-type]
    assert list(stages.over(range(10), "Drawing the frames", 10)) == list(range(10))
    assert said[0] == (0.0, "Drawing the frames")
    assert said[5] == (0.5, "Drawing the frames, about 5 s left")
    assert in_time(600) == "10 min"


def test_what_is_stopped_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("superface_hf.space.video_file.YIELD_EVERY", 0.0)
    frames = (np.full((64, 64, 3), 99, np.uint8) for _ in range(50))
    writing = write_video(VideoPlan("stopped", frames, 25), tmp_path / "stopped.mp4", Stages(lambda share, desc: None))  # type: ignore[arg-type]
    assert [next(writing) for _ in range(49)] == [None] * 49
    writing.close()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


# Making a student


@pytest.mark.parametrize("name", ["--out=/etc", "", "a" * 50, "../x", "x\ny"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(SuperFaceError, match="give the student a name"):
        checked_name(name)


@pytest.fixture
def folder():
    folder = new_folder("Ada Lovelace")
    yield folder
    remove(str(folder))


def pretend(making: Distillation, program: str) -> Distillation:
    making._command = [sys.executable, "-c", program, str(making.folder)]
    return making


def test_a_student_in_the_making_can_be_stopped(folder, monkeypatch):
    monkeypatch.setattr(distill, "POLL", 0.05)
    making = pretend(
        Distillation("photo.png", "Ada", 2, folder), "import os, time; print(os.getpid(), flush=True); time.sleep(99)"
    ).run()
    standing = next(making)
    assert standing.stage == "Looking at the photo"
    assert 100 < standing.left <= 120
    while not (pid := folder.with_suffix(".log").read_text().strip()):
        next(making)
    making.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_student_that_cannot_be_made_says_why(folder, monkeypatch):
    monkeypatch.setattr(distill, "POLL", 0.05)
    program = "import sys; print('noise\\nsuperface: 2 minutes are too short.', file=sys.stderr); sys.exit(1)"
    with pytest.raises(SuperFaceError, match=r"^2 minutes are too short\.$"):
        list(pretend(Distillation("photo.png", "Ada", 2, folder), program).run())


def test_the_zip_holds_what_is_needed_and_no_more(folder):
    assert folder.name == "superface-student-ada-lovelace"
    (folder / "images").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "README.md", "images/sheet.png", "stray.tmp"):
        (folder / name).write_bytes(b"x")
    names = set(zipfile.ZipFile(packed(folder)).namelist())
    kept = ("config.json", "model.safetensors", "README.md", "images/sheet.png")
    assert names == {f"{folder.name}/{name}" for name in kept}


TOKEN = "hf_aVerySecretToken"


@pytest.mark.parametrize("error", [HubError(f"no rights with {TOKEN}"), RuntimeError(f"broken at {TOKEN}")])
def test_a_token_is_never_shown_logged_or_kept(folder, monkeypatch, caplog, capsys, error):
    def refuse(source, repo_id, *, private, token):
        assert token == TOKEN
        raise error

    monkeypatch.setattr("superface_hf.hub.push_checkpoint", refuse)
    folder.mkdir(parents=True)
    note, field = push_student(str(folder), "ada/student", TOKEN, True)
    assert field == ""
    assert TOKEN not in str(note) + caplog.text + "".join(capsys.readouterr())
    assert ("RuntimeError: broken at (the token)" in caplog.text) == isinstance(error, RuntimeError)


# As a Space


def test_the_front_matter_is_what_the_hub_reads():
    front = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert front["sdk"] == "gradio"
    assert (SPACE / front["app_file"]).is_file()
    assert len(front["short_description"]) <= 60
    pins = dict(line.split("==") for line in requirements() if "==" in line)
    assert front["sdk_version"] == pins["gradio"] == gr.__version__


def test_the_requirements_are_what_the_package_needs():
    """The package lies beside ``app.py``, so that nothing but this file names what it needs."""

    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[^\w-]", line, maxsplit=1)[0].replace("_", "-").lower() for line in lines}

    project = tomllib.loads((SPACE.parents[1] / "pyproject.toml").read_text())["project"]
    needed = [
        *project["dependencies"],
        *project["optional-dependencies"]["space"],
        *project["optional-dependencies"]["train"],
    ]
    assert names(needed) <= names(requirements())


def requirements() -> list[str]:
    return [line for line in (SPACE / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]


def seconds_of_work(pid: int) -> float:
    """What a running process has computed up to now."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def test_the_page_costs_little_more_than_the_libraries_it_is_built_on(tmp_path):
    """How many seconds that is depends on the machine: 6 to 12. So the libraries are the measure."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import torch, transformers, gradio"], check=True, cwd=tmp_path)
    after = os.times()
    libraries = after.children_user + after.children_system - before.children_user - before.children_system
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "superface_hf.cli", "serve", "--port", str(port)],
        env={**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)}, stdout=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    try:
        page = None
        while page is None:
            try:
                page = httpx.get(f"http://127.0.0.1:{port}/", timeout=60)
            except httpx.TransportError:
                assert server.poll() is None
                time.sleep(0.1)
        assert "A photo that talks" in page.text
        assert seconds_of_work(server.pid) < 2.5 * libraries
    finally:
        server.terminate()
        server.wait(20)
