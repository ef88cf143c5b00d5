"""An exported student moves and looks as it does with torch: played where torch cannot even be imported, and in a browser.

Figures are printed (``pytest -s``); the machine is too busy for them to be bounds. Screenshots go to the folder that
``SUPERFACE_SCREENSHOTS`` names, else to pytest's temporary one. Browser tests are skipped where there is no Chromium, unless
``SUPERFACE_REQUIRE_BROWSER`` is set.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from chromium import PATIENCE, launched
from docs_reader import write_wav
from PIL import Image
from test_student import made_student, trained_a_little
from transformers import pipeline

import superface_hf
from superface_hf import MediaError, SuperFaceError, SuperFaceStudentConfig, SuperFaceStudentModel, inspect_file
from superface_hf.animation.portrait import stored_portrait
from superface_hf.animation.retargeting import Changes, Retargeter
from superface_hf.cli import main
from superface_hf.drivers.idle import IdleMotion
from superface_hf.export import export_folder
from superface_hf.export.loading import load_exportable
from superface_hf.export.runtime.face_graph import FaceGraph
from superface_hf.export.runtime.student_graph import OUTPUTS, StudentRuntimeGraph
from superface_hf.face_model import topology
from superface_hf.hub import weights_folder
from superface_hf.layers.compositing import Compositor
from superface_hf.layers.motion import Window
from superface_hf.media import VideoReader, load_sound
from superface_hf.media.samples import Sound
from superface_hf.models.student.picture import StudentPicture
from superface_hf.motion import Motion
from superface_hf.motion.rows import motion_rows, row_layout
from superface_hf.player import StudentPlayer
from superface_hf.player.command import main as play
from superface_hf.renderers.student import StudentRenderer
from superface_hf.utils.assets import SPEECH

pytestmark = pytest.mark.e2e
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RATE = 16000
# WebGL in software; sound without a click; a microphone that hears a file.
FLAGS = (
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip

WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "diffusers", "huggingface_hub"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Blocked())
from superface_hf.player.command import main

status = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(status)
"""


@pytest.fixture(scope="module")
def sentence() -> Sound:
    """The beginning of the bundled one."""
    return Sound(load_sound(SPEECH).mono(RATE), RATE).cut(2.0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The embedded student, for browsers: the player plays that too."""
    path = tmp_path_factory.mktemp("exported") / "student"
    assert main(["export", "student", "--runtime", "web", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def player(exported) -> StudentPlayer:
    return StudentPlayer(exported, threads=2)


@pytest.fixture(scope="module")
def tiny(face_model) -> SuperFaceStudentModel:
    """A student of another size with a small face in a picture of odd sides."""
    picture = np.random.default_rng(0).integers(60, 200, (15, 21, 3), np.uint8).repeat(15, 0).repeat(15, 1)
    points = (face_model.mean.numpy() * 30 + np.array([150, 120, 0])).astype(np.float32)
    return trained_a_little(made_student(SuperFaceStudentConfig.of_size("tiny"), picture, points))


def decibels(frames: list[np.ndarray], expected: np.ndarray) -> float:
    assert len(frames) == len(expected)
    error = np.mean(
        [np.square(one.astype(np.float64) - other).mean() for one, other in zip(frames, expected, strict=True)]
    )
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


@pytest.fixture(scope="module")
def pipe_of_student():
    return pipeline("talking-face", model=str(weights_folder("student")), device="cpu")


@pytest.fixture(scope="module")
def still(pipe_of_student, sentence):
    """What torch gives for the sentence where only the mouth moves."""
    return pipe_of_student(audio=(sentence.samples, sentence.rate), fps=25.0, idle=False)


def test_a_spoken_sentence_looks_as_with_torch(player, pipe_of_student, sentence):
    expected = pipe_of_student(audio=(sentence.samples, sentence.rate), fps=25.0).frames
    frames = list(player.frames((sentence.samples, sentence.rate)))
    assert np.stack(frames).std(0).max() > 20  # something moves
    print(f"player: {decibels(frames, expected):.1f} dB to torch")
    assert decibels(frames, expected) > 45


def test_a_student_of_another_size_and_wild_motion_too(tiny, face_model):
    """The maps that the graph gives, drawn, against what the student renders, composed."""
    portrait = stored_portrait(tiny, face_model)
    graph = StudentRuntimeGraph(tiny, portrait, face_model).eval()
    face = float(np.ptp(portrait.landmarks[:, 0])) * portrait.crop.side / 2
    picture = StudentPicture(tiny.layers(), 128, face)
    layout = row_layout()
    rows = motion_rows(IdleMotion(strength=2.0).motion(200, 25.0)[20::60])
    rows[:, slice(*layout["mouth"])] = np.random.default_rng(0).normal(0, 1, (len(rows), 30))
    with torch.inference_mode():
        outputs = dict(zip(OUTPUTS, graph(torch.from_numpy(rows)), strict=True))
        frames = [picture.frame({name: part[i].numpy() for name, part in outputs.items()}) for i in range(len(rows))]
        prepared, driving = tiny.prepare(), outputs["landmarks"]
        window = Window.following(portrait.crop, tiny.landmarks, driving)
        compositor = Compositor(tiny.layers(), portrait.crop, portrait.landmarks)
        expected = compositor(tiny.render(prepared, driving, window).rendered, driving)
    assert decibels(frames, expected) > 45


def test_chunks_give_each_frame_as_soon_as_it_is_known(player, sentence):
    samples, heard = sentence.samples[:16000], 0

    def chunks():
        nonlocal heard
        for start in range(0, len(samples), 320):
            heard = start + 320
            yield samples[start : start + 320]

    delays = [heard / 16000 - index / 25 for index, _ in enumerate(player.frames(chunks(), sampling_rate=16000))]
    assert len(delays) == 25
    assert max(delays) < 0.24


def test_the_command_runs_where_torch_cannot_be_imported(exported, sentence, tmp_path):
    sound = tmp_path / "speech.wav"
    write_wav(sound, sentence.samples[:8320], RATE)
    source = str(Path(superface_hf.__file__).parent.parent)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported), str(sound), "-o", str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": source})
    assert done.returncode == 0, done.stderr
    assert "13 frames" in done.stdout
    reader = VideoReader(tmp_path / "out.mp4")
    assert sum(1 for _ in reader) == 13
    assert inspect_file(tmp_path / "out.mp4").ai_generated


def test_the_manifest_tells_what_a_runtime_must_know(exported):
    about = json.loads((exported / "manifest.json").read_text())
    assert about["person"] == "Eileen Collins"
    assert about["license"] == "Apache-2.0"
    assert about["provenance"]["digital_source_type"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert set(about["files"]) | {"manifest.json"} == {
        path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()
    }
    assert all(said["bytes"] == (exported / name).stat().st_size for name, said in about["files"].items())
    assert about["motion"]["mouth"]["columns"] == [6, 36]
    assert set(about["motion"]) == {"rotation", "translation", "scale", "mouth", "eyes", "brows", "gaze"}


def test_what_is_no_exported_student_is_refused(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text("{}")
    assert play([str(tmp_path), str(SPEECH), "-o", str(tmp_path / "out.mp4")]) == 1
    assert "superface export" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_an_incomplete_folder_says_what_is_missing(exported, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(exported, path)
    (path / "student.onnx").unlink()
    with pytest.raises(SuperFaceError, match=r"incomplete \(student.onnx\)"):
        StudentPlayer(path)


def test_chunks_need_their_rate(player):
    with pytest.raises(MediaError, match="sampling_rate=16000"):
        player.motions(iter([np.zeros(10, np.float32)]))


def test_a_folder_with_other_things_is_left_alone(tiny, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(SuperFaceError, match="holds other things"):
        export_folder(tiny, load_exportable("audio_to_lip"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_drawn_eyes_shut_as_with_torch(tiny, face_model, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny.config, "drawn_eyes", True)
    portrait = stored_portrait(tiny, face_model)
    assert portrait.drawn_eyes
    export_folder(tiny, load_exportable("audio_to_lip"), tmp_path / "drawn")
    shut = [Motion.neutral(1, 25.0).edit({"eyeBlinkLeft": share, "eyeBlinkRight": share}) for share in (0, 0.5, 1.0)]
    wide = Motion.neutral(1, 25.0).edit({"eyeWideLeft": 1.0, "eyeWideRight": 1.0, "jawOpen": 0.5})
    motion = Motion.concatenate([*shut, wide])
    retarget = Retargeter(portrait, Changes.checked("auto", None, None, 25.0), face_model)
    _, points = retarget(motion, motion.mouth)
    with torch.inference_mode():
        landmarks = FaceGraph(portrait, face_model)(torch.from_numpy(motion_rows(motion)))
    assert (landmarks - points).abs().max() < 1e-4
    lids = (
        landmarks[:, [pair[1] for pair in topology.LEFT_LIDS], 1]
        - landmarks[:, [pair[0] for pair in topology.LEFT_LIDS], 1]
    )
    gaps = lids.mean(1) / lids[0].mean()
    assert 0.1 < gaps[1] < 0.8
    assert gaps[2].abs() < 0.01
    assert gaps[3] > 1.05
    expected = StudentRenderer(tiny).prepare(portrait, tiny.layers).frames(points)
    frames = list(StudentPlayer(tmp_path / "drawn").render([motion]))
    assert np.abs(frames[2].astype(int) - frames[0]).max() > 30
    assert decibels(frames, expected) > 45


def test_a_runtime_folder_needs_a_student(tmp_path, capsys):
    assert main(["export", "audio_to_lip", "--runtime", "onnx", "-o", str(tmp_path / "out")]) == 1
    assert "holds a student" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# In a browser


class Served(SimpleHTTPRequestHandler):
    """A server that only serves files."""

    def log_message(self, *said: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(exported):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=exported)) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def page(address, sentence, tmp_path_factory):
    """The exported page in headless Chromium, the student loaded; the microphone hears the sentence."""
    heard = tmp_path_factory.mktemp("heard") / "speech.wav"
    write_wav(heard, sentence.samples, RATE)
    with launched(*FLAGS, f"--use-file-for-fake-audio-capture={heard}") as chromium:
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE)
        page.asked, page.wrong = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.goto(address)
        page.wait_for_function("globalThis.superface && document.getElementById('status').textContent === ''")
        page.evaluate(
            "text => { globalThis.samples = new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer) }",
            base64.b64encode(sentence.samples.tobytes()).decode(),
        )
        yield page


@pytest.fixture(scope="module")
def spoken(page):
    """The sentence, drawn frame by frame: mouth openings, and the canvas of each frame."""
    drawn = page.evaluate("""async () => {
        const canvas = document.getElementById("face"), result = { openings: [], canvases: [] };
        const still = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        for await (const frame of superface.render(samples, { strength: 0 })) {
            result.openings.push(frame.opening);
            still.drawImage(canvas, 0, 0);
            const bytes = new Uint8Array(await (await still.canvas.convertToBlob()).arrayBuffer());
            result.canvases.push(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
        }
        return result;
    }""")
    files = (one.encode("latin-1") for one in drawn["canvases"])
    pictures = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    return np.array(drawn["openings"]), pictures


@pytest.mark.browser
def test_the_browser_draws_what_torch_draws(spoken, still, tmp_path):
    frames = spoken[1]
    print(f"browser: {decibels(frames, still.frames):.1f} dB to torch")
    folder = Path(os.environ.get("SUPERFACE_SCREENSHOTS", tmp_path))
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.hstack((frames[30], still.frames[30]))).save(folder / "browser_beside_torch.png")
    assert decibels(frames, still.frames) > 45


@pytest.mark.browser
def test_lips_in_the_browser_follow_the_sound(spoken, still, face_model):
    """The opening that the mesh has and the one that pixels show, against the one that torch hears in the sound."""
    openings, frames = spoken
    student = load_exportable("student")
    portrait = stored_portrait(student, face_model)
    points = face_model.animate(portrait.shape, still.motion).numpy()
    upper, lower = np.array(topology.INNER_LIPS).T
    height = points[:, 152, 1] - points[:, 10, 1]  # the page measures in heights of the face, which the jaw changes
    heard = (points[:, lower, 1] - points[:, upper, 1]).mean(1) / height
    corners = portrait.crop.to_pixels(portrait.landmarks[topology.LIPS])
    (left, top, _), (right, bottom, _) = corners.min(0).astype(int) - 3, corners.max(0).astype(int) + 4
    mouths = np.stack(frames)[:, top:bottom, left:right].astype(np.float32)
    seen = np.abs(mouths - mouths[heard.argmin()]).mean((1, 2, 3))
    print(f"opening against torch's: mesh {np.corrcoef(openings, heard)[0, 1]:.3f}, ", end="")
    print(f"pixels {np.corrcoef(seen, heard)[0, 1]:.3f}")
    # Only the last one differs where the sound is cut: torch replaces by silence the features whose windows reach beyond its
    # end, and the graph, which is given zeros, computes them.
    assert np.allclose(openings[:-1], heard[:-1], atol=1e-3)
    assert np.corrcoef(openings, heard)[0, 1] > 0.98
    assert np.corrcoef(seen, heard)[0, 1] > 0.6
    assert seen.max() > 4 * np.median(seen[heard < np.percentile(heard, 10)] + 0.5)


@pytest.mark.browser
def test_frames_come_fast(page):
    seconds = page.evaluate("""async () => {
        const begin = performance.now();
        for await (const frame of superface.render(samples)) ;
        superface.drawing.gl.finish();
        return (performance.now() - begin) / 1000;
    }""")
    print(f"browser: {50 / seconds:.1f} frames/s with WebGL in software, beside whatever else this machine does")


@pytest.mark.browser
def test_a_file_an_element_and_a_microphone_move_the_lips(page):
    moved = page.evaluate("""async () => {
        const range = async (work) => {
            let [low, high] = [Infinity, -Infinity];
            const shown = superface.shown;
            const watch = setInterval(() => {
                low = Math.min(low, superface.opening);
                high = Math.max(high, superface.opening);
            }, 20);
            await work(() => superface.shown - shown > 3 && high - low > 0.02);
            clearInterval(watch);
            return { range: high - low, shown: superface.shown - shown };
        };
        // A busy machine needs a while until it shows anything.
        const seen = async (moves) => {
            for (let i = 0; i < 200 && !moves(); i++) await new Promise((done) => setTimeout(done, 100));
        };
        const wav = new DataView(new ArrayBuffer(44 + 2 * samples.length));
        [0x52494646, 36 + 2 * samples.length, 0x57415645, 0x666d7420, 16, 0x00010001].forEach((value, i) =>
            wav.setUint32(4 * i, value, i === 1 || i >= 4));
        [16000, 32000].forEach((value, i) => wav.setUint32(24 + 4 * i, value, true));
        wav.setUint16(32, 2, true);
        wav.setUint16(34, 16, true);
        wav.setUint32(36, 0x64617461);
        wav.setUint32(40, 2 * samples.length, true);
        samples.forEach((sample, i) => wav.setInt16(44 + 2 * i, 32767 * sample, true));
        const file = new Blob([wav.buffer], { type: "audio/wav" });
        const result = { file: await range(() => superface.say(file)) };
        const element = new Audio(URL.createObjectURL(file));
        result.element = await range(async (moves) => {
            element.loop = true;
            const end = await superface.follow(element);
            await element.play();
            await seen(moves);
            element.pause();
            end();
        });
        result.microphone = await range(async (moves) => {
            const end = await superface.listen();
            await seen(moves);
            end();
        });
        return result;
    }""")
    print(moved)
    for source in moved.values():
        assert source["shown"] > 3
        assert source["range"] > 0.02  # heights of the face


@pytest.mark.browser
def test_what_the_page_asks_for_is_its_own_and_small(page, address, exported):
    assert not page.wrong
    assert all(url.startswith((address, "blob:", "data:")) for url in page.asked)
    assert sum(path.stat().st_size for path in exported.rglob("*") if path.is_file()) < 12e6
    package = json.loads((exported / "package.json").read_text())
    assert package["name"] == "superface-student-eileen-collins"
    assert all((exported / package[name]).is_file() for name in ("main", "types"))


@pytest.mark.browser
def test_what_is_typed_is_there(page, exported):
    types = (exported / "superface.d.ts").read_text()
    methods = re.findall(r"^  (?:static )?(\w+)\(", types, re.MULTILINE)
    assert {"load", "say", "follow", "listen", "connect", "render", "stop", "close"} == set(methods)
    kinds = "names => names.map(name => typeof (superface[name] ?? superface.constructor[name]))"
    assert page.evaluate(kinds, methods) == ["function"] * len(methods)
