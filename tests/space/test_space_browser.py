"""The web demo as visitors meet it: a real server, a real browser (headless Chromium), the embedded weights.

Screenshots go to the folder that ``SUPERFACE_SCREENSHOTS`` names, else to pytest's temporary one. The tests are skipped
where there is no Chromium, unless ``SUPERFACE_REQUIRE_BROWSER`` is set, as it is where every change is tested.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import wave
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
from chromium import PATIENCE, launched
from PIL import Image

from superface_hf import inspect_file
from superface_hf.media import load_sound
from superface_hf.provenance.marks import DISCLAIMER, MADE_UP
from superface_hf.utils.assets import PORTRAIT, SPEECH

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
NO_FACE = "No face was found"


@pytest.fixture(scope="module")
def browser():
    with launched("--disable-gpu", needs="gradio") as chromium:
        yield chromium


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    """Where ``superface serve`` listens."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder), "HF_HUB_OFFLINE": "1"}
    url = f"http://127.0.0.1:{port}/"
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "superface_hf.cli", "serve", "--port", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_for(url, server, folder / "log")
        yield url
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    assert "Traceback" not in (folder / "log").read_text()


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 120:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"The server was not up after two minutes: {log.read_text()}")


@dataclass
class Visitor:
    """One person with a browser of their own."""

    page: Any
    elsewhere: list[str] = field(default_factory=list)  # addresses of other machines that the page asked for

    def open(self, address: str, tab: str = "talk") -> None:
        host = urlsplit(address).netloc
        self.page.set_default_timeout(PATIENCE)
        self.page.on(
            "request",
            lambda request: (
                self.elsewhere.append(request.url)
                if request.url.startswith("http") and urlsplit(request.url).netloc != host
                else None
            ),
        )
        self.page.goto(address)
        self.page.locator("#talk-run").wait_for()
        if tab != "talk":
            self.page.get_by_role("tab", name=tab.capitalize(), exact=True).click()

    def consent(self, tab: str = "talk") -> None:
        self.page.locator(f"#{tab}-consent input[type=checkbox]").check()

    def bring(self, field_id: str, path: Path) -> None:
        self.page.locator(f"#{field_id} input[type=file]").set_input_files(path)

    def bring_photo(self, tab: str, path: Path) -> None:
        """And waits until the page has found the face in it."""
        self.bring(f"{tab}-photo", path)
        self.page.locator(f"#{tab}-note", has_text="Face found").wait_for()

    def bring_speech(self, path: Path) -> None:
        self.bring("talk-speech", path)
        self.page.locator("#talk-speech #waveform, #talk-speech audio").first.wait_for(state="attached")

    def run(self, tab: str = "talk") -> None:
        self.page.locator(f"#{tab}-run").click()

    def told(self, field_id: str | None = None) -> str:
        """What is told beside a field, or else beside the button; it stays, and no corner of the page tells it as well."""
        after = f"#{field_id} ~ .sf-told >> nth=0" if field_id else ".sf-told-run:visible"
        message = self.page.locator(after).locator(".sf-said")
        message.wait_for()
        self.page.get_by_test_id("toast-body").wait_for(state="detached")
        return message.inner_text()

    def video(self) -> dict[str, Any]:
        """Waits for the video, plays it, and returns what the browser knows about it."""
        shown = self.page.locator("#talk-result video:not([data-example])")
        shown.wait_for(state="attached")
        return shown.evaluate(
            """async video => {
                video.muted = true;
                video.currentTime = 0;
                await video.play();
                await new Promise(done => { if (video.ended) done(); video.onended = done; setTimeout(done, 30000); });
                return {seconds: video.duration, played: video.currentTime, width: video.videoWidth,
                        height: video.videoHeight, error: video.error && video.error.message};
            }"""
        )

    def faces(self, other_than: list[str]) -> list[str]:
        """Waits for four made-up faces; their addresses."""
        self.page.wait_for_function(
            """before => {
                const shown = [...document.querySelectorAll('#voice-faces img')].map(each => each.src);
                return shown.length === 4 && !shown.some(src => before.includes(src));
            }""",
            arg=other_than,
        )
        return self.page.locator("#voice-faces img").evaluate_all("all => all.map(each => each.src)")

    def watch_live(self, frames: int) -> None:
        """Waits until the student on the screen has shown so many frames."""
        self.page.wait_for_function(
            "frames => document.querySelector('#student-live [data-shown]')?.dataset.shown >= frames", arg=frames
        )

    def download(self, tab: str, folder: Path) -> Path:
        button = self.page.locator(f"#{tab}-download")
        self.page.wait_for_function(
            "id => { const b = document.getElementById(id); return b && !b.disabled }", arg=f"{tab}-download"
        )
        with self.page.expect_download() as coming:
            button.click()
        path = folder / coming.value.suggested_filename
        coming.value.save_as(path)
        return path

    def preview(self) -> str | None:
        """The address of the picture that is shown beside the sliders."""
        picture = self.page.locator("#edit-preview img")
        return picture.get_attribute("src") if picture.count() else None

    def next_preview(self, before: str | None) -> tuple[np.ndarray, bytes]:
        """Waits for another picture than ``before``; (H, W, 3) uint8, and the file."""
        self.page.wait_for_function(
            """before => {
                const p = document.querySelector('#edit-preview img');
                return p && p.src && !p.src.includes('/example_') && p.src !== before;
            }""",
            arg=before,
        )
        data = self.page.request.get(self.page.locator("#edit-preview img").evaluate("p => p.src")).body()
        return np.asarray(Image.open(BytesIO(data)).convert("RGB")), data


@pytest.fixture
def visit(browser, address):
    """Lets visitors come, each with a browser of their own; nobody's page may ask other machines for anything."""
    visitors: list[Visitor] = []

    def come(tab: str = "talk", **device: Any) -> Visitor:
        context = browser.new_context(accept_downloads=True, **(device or DESKTOP))
        visitors.append(Visitor(context.new_page()))
        visitors[-1].open(address, tab)
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.page.context.close()
    assert [url for visitor in visitors for url in visitor.elsewhere] == []


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    folder = os.environ.get("SUPERFACE_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def recording(tmp_path):
    """The first words of the bundled sentence, as a wav file."""

    def make(seconds: float) -> Path:
        sound = load_sound(SPEECH).cut(seconds)
        path = tmp_path / f"{seconds}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sound.rate)
            file.writeframes((sound.samples.reshape(-1) * 32767).astype(np.int16).tobytes())
        return path

    return make


@pytest.fixture
def hills(tmp_path) -> Path:
    """A picture without a face."""
    y, x = np.mgrid[0:400, 0:600]
    path = tmp_path / "hills.png"
    Image.fromarray(np.stack([x // 3, y // 2, (x + y) // 5], -1).astype(np.uint8)).save(path)
    return path


@dataclass(frozen=True)
class Watched:
    """A downloaded video: its size, its length in seconds, how loud it is at most."""

    width: int
    height: int
    seconds: float
    loudest: float


def watch(path: Path) -> Watched:
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        rate = float(container.streams.video[0].average_rate)
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    height, width = frames[0].shape[:2]
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 20  # something moves
    return Watched(width, height, len(frames) / rate, float(np.abs(sound).max()))


def test_a_photo_and_a_recording_become_a_video_with_sound(visit, recording, tmp_path, screenshots):
    """On a phone, where the page must not scroll sideways either."""
    visitor = visit(**PHONE)
    visitor.page.screenshot(path=screenshots / "phone_start.png", full_page=True)
    visitor.consent()
    visitor.bring_photo("talk", PORTRAIT)
    visitor.bring_speech(recording(1.0))
    visitor.run()
    shown = visitor.video()
    visitor.page.screenshot(path=screenshots / "phone_talk.png", full_page=True)
    path = visitor.download("talk", tmp_path)
    seen = watch(path)
    assert shown["error"] is None
    assert shown["played"] > 0.3
    assert shown["seconds"] == pytest.approx(seen.seconds, abs=0.1) == pytest.approx(1.0)
    assert (shown["width"], shown["height"]) == (seen.width, seen.height)
    assert seen.loudest > 0.05
    assert inspect_file(path).ours
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= screen.width"), "it scrolls sideways"


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_a_voice_alone_gives_four_faces_and_the_chosen_one_speaks(visit, recording, tmp_path, screenshots, device):
    """Nothing is rendered on the phone: there it is the page that is looked at."""
    visitor = visit("voice only", **(PHONE if device == "phone" else DESKTOP))
    page = visitor.page
    assert DISCLAIMER in page.locator("#voice-disclaimer").inner_text()
    visitor.bring("voice-speech", recording(2.0 if device == "phone" else 0.4))
    shown = visitor.faces(other_than=[])
    heard = page.locator("#voice-heard").inner_text()
    assert ("clearly feminine" if device == "phone" else "No clear voice was heard") in heard  # 0.4 s are too little
    page.screenshot(path=screenshots / f"{device}_voice.png", full_page=True)
    if device == "phone":
        assert page.evaluate("document.documentElement.scrollWidth <= screen.width"), "it scrolls sideways"
        page.get_by_role("button", name="What the faces look like").click()
        page.locator("#voice-age input[type=range]").fill("62")
        older = visitor.faces(other_than=shown)
        assert len(set(older) | set(shown)) == 8
        assert not page.locator("#voice-age-left input").is_checked()
        page.screenshot(path=screenshots / "phone_voice_choices.png", full_page=True)
        return
    page.locator("#voice-faces button").nth(1).click()
    page.wait_for_function("document.querySelector('#voice-number input[value=\"2\"]')?.checked")
    visitor.run("voice")
    path = visitor.download("voice", tmp_path)
    page.screenshot(path=screenshots / "desktop_voice_spoken.png", full_page=True)
    seen = watch(path)
    assert (seen.width, seen.height) == (512, 512)
    assert seen.seconds == pytest.approx(0.4, abs=0.05)
    assert inspect_file(path).source_type == MADE_UP
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    faces = [np.asarray(Image.open(BytesIO(page.request.get(url).body())).convert("RGB")) for url in shown]
    distances = [np.abs(first.astype(int) - face).mean() for face in faces]
    assert np.argmin(distances) == 1


def test_a_slider_changes_the_preview_and_the_file(visit, tmp_path, screenshots, record_property):
    visitor = visit("edit")
    visitor.consent("edit")
    visitor.bring_photo("edit", PORTRAIT)
    calm, _ = visitor.next_preview(None)
    before = visitor.page.locator("#edit-preview img").evaluate("p => p.src")
    slider = visitor.page.locator("#edit-mouth_open input[type=range]")
    began = time.monotonic()
    slider.fill("0.8")
    surprised, data = visitor.next_preview(before)
    # Within a second on a machine with nothing else to do; on a busy one no limit would be fair.
    record_property("seconds until the preview changed", round(time.monotonic() - began, 2))
    visitor.page.screenshot(path=screenshots / "desktop_edit.png", full_page=True)
    change = np.abs(calm.astype(int) - surprised).max(-1)
    assert change.shape == (512, 512)
    face = np.s_[30:220, 130:330]  # of the bundled portrait
    assert change[face].max() > 60
    assert change[:200, 330:].max() < 30  # what lies behind stays, but for the JPEG
    (tmp_path / "preview.jpg").write_bytes(data)
    assert inspect_file(tmp_path / "preview.jpg").ours
    visitor.run("edit")
    path = visitor.download("edit", tmp_path)
    assert path.suffix == ".png"
    assert inspect_file(path).ours
    saved = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(saved - surprised).mean() < 3


def test_on_a_phone_the_preview_stays_in_sight(visit, screenshots):
    visitor = visit("edit", **PHONE)
    visitor.consent("edit")
    visitor.bring_photo("edit", PORTRAIT)
    visitor.next_preview(None)
    slider = visitor.page.locator("#edit-turn")
    slider.evaluate("s => s.scrollIntoView({block: 'end'})")
    visitor.page.screenshot(path=screenshots / "phone_edit.png")
    height = PHONE["viewport"]["height"]
    preview = visitor.page.locator("#edit-preview").bounding_box()
    shown = slider.bounding_box()
    assert (
        0 <= preview["y"] < preview["y"] + preview["height"] < shown["y"] < shown["y"] + shown["height"] <= height + 1
    )
    assert shown["width"] > 0.8 * preview["width"]


def test_a_picture_without_a_face_is_explained(visit, recording, hills, screenshots):
    visitor = visit()
    visitor.bring("talk-photo", hills)
    note = visitor.page.locator("#talk-note", has_text=NO_FACE)
    note.wait_for()
    assert "from the front" in note.inner_text()
    visitor.page.locator("#talk-looked-for img").wait_for()  # with the outline of what was looked for
    visitor.page.screenshot(path=screenshots / "desktop_no_face.png", full_page=True)
    visitor.consent()
    visitor.bring_speech(recording(0.4))
    visitor.run()
    told = visitor.told()
    assert "face" in told
    assert not visitor.page.get_by_text("Error", exact=True).filter(visible=True).count()
    assert "Traceback" not in told
    assert "/" not in told  # no path of the server


def test_without_consent_nobody_is_animated(visit, recording, tmp_path):
    """The bundled portrait's person agreed; a stranger's picture needs the visitor's word."""
    stranger = tmp_path / "stranger.png"
    Image.open(PORTRAIT).crop((60, 0, 400, 300)).save(stranger)
    visitor = visit()
    visitor.bring_photo("talk", stranger)
    visitor.bring_speech(recording(0.4))
    visitor.run()
    assert "tick the box" in visitor.told()
    assert visitor.page.locator("#talk-result video:not([data-example])").count() == 0


@pytest.mark.parametrize(("megabytes", "says"), [(12, "at most 10 MB"), (60, "exceed")])
def test_an_oversized_upload_is_refused(visit, tmp_path, megabytes, says):
    """Too large for a photo, and too large for the server to take in at all."""
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.write(PORTRAIT.read_bytes())
        file.truncate(megabytes * 2**20)
    visitor = visit()
    visitor.bring("talk-photo", large)
    told = visitor.told("talk-photo")
    assert says in told
    assert "Traceback" not in told
    assert visitor.page.locator("#talk-note", has_text="Face found").count() == 0


@pytest.mark.parametrize("device", ["desktop", "phone"])
@pytest.mark.parametrize("tab", ["talk", "mimic", "dub"])
def test_the_page_opens_with_a_finished_example_that_plays(visit, screenshots, device, tab):
    visitor = visit(tab, **(PHONE if device == "phone" else DESKTOP))
    page = visitor.page
    # Each tab has a video of its own, and the page starts one after the other.
    page.wait_for_function(f"document.querySelector('#{tab}-result video[data-example]')?.currentTime > 0.2")
    video = page.locator(f"#{tab}-result video")
    assert video.evaluate("v => [v.muted, v.loop, v.paused]") == [True, True, False]
    page.screenshot(path=screenshots / f"{device}_{tab}_opening.png")
    in_sight = [video] if device == "phone" else [video, *map(page.locator, (f"#{tab}-run", f"#{tab}-example"))]
    for part in in_sight:
        box = part.bounding_box()
        assert 0 <= box["y"] < box["y"] + box["height"] <= page.viewport_size["height"], part
    if device == "desktop":
        fields = page.locator(f"#{tab}-run").bounding_box()
        assert fields["x"] + fields["width"] < video.bounding_box()["x"]
        assert fields["height"] >= 48
    assert not page.locator(f"#{tab}-download").is_visible()  # nothing of the visitor's is there yet
    page.locator(".sf-hear:visible").click()
    assert video.evaluate("v => [v.muted, v.loop]") == [False, False]


def test_a_visitor_who_wants_less_motion_gets_a_still_page(visit):
    visitor = visit(**DESKTOP, reduced_motion="reduce")
    video = visitor.page.locator("#talk-result video")
    visitor.page.wait_for_function("'still' in (document.querySelector('video[data-example]')?.dataset ?? {})")
    assert video.evaluate("v => v.paused")
    visitor.page.locator(".sf-hear:visible").click()
    assert not video.evaluate("v => v.paused")


def test_what_is_no_picture_is_told_beside_the_field_and_not_shown(visit, tmp_path):
    bad, damaged, noise = (tmp_path / name for name in ("bad.png", "damaged.png", "noise.wav"))
    bad.write_bytes(b"these are words" * 40)
    damaged.write_bytes(PORTRAIT.read_bytes()[:60000])
    noise.write_bytes(b"these are words" * 40)
    visitor = visit()
    visitor.bring("talk-photo", bad)
    assert "not a picture that can be read" in visitor.told("talk-photo")
    visitor.page.locator("#talk-photo img").wait_for(state="detached")
    visitor.bring("talk-speech", noise)
    assert "not a sound that can be read" in visitor.told("talk-speech")
    visitor.bring("talk-photo", damaged)
    note = visitor.page.locator("#talk-note", has_text="damaged")
    note.wait_for()
    assert "PngImageFile" not in note.inner_text()
    assert not visitor.page.locator("#talk-photo ~ .sf-told >> nth=0").locator(".sf-said").count()


def test_stopping_is_no_error(visit):
    """Before the first frame, among the frames, and where nothing but the example was shown."""
    visitor = visit()
    page, stop = visitor.page, visitor.page.locator("#talk-stop")
    stop.wait_for(state="hidden")  # nothing runs
    for milliseconds in (0, 1500):
        page.locator("#talk-example").click()
        stop.wait_for()
        page.wait_for_timeout(milliseconds)
        stop.click()
        assert visitor.told() == "Stopped."
        stop.wait_for(state="hidden")
        assert not page.get_by_text("Error", exact=True).filter(visible=True).count()
        assert not page.locator("#talk-result .error").filter(visible=True).count()


@pytest.mark.parametrize(("device", "colours"), [("desktop", "dark"), ("phone", "light")])
def test_everybody_can_use_every_tab(visit, device, colours):
    """axe-core, which checks names, roles and contrast (4.5 to 1 for words): nothing serious, in both themes."""
    from axe_playwright_python.sync_playwright import Axe

    page = visit(**(PHONE if device == "phone" else DESKTOP), color_scheme=colours).page
    found = []
    for tab in ("Talk", "Voice only", "Mimic", "Edit", "Dub", "Student", "Make a student"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(400)  # until the tab has faded in; pale words would be found
        for finding in Axe().run(page).response["violations"]:
            if finding["impact"] in ("serious", "critical"):
                found += [(tab, finding["id"], node["html"]) for node in finding["nodes"]]
    assert found == []


def test_where_the_keyboard_is_can_be_seen(visit):
    page = visit().page
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth] }"
        )
        assert outline == ["solid", "3px"], page.evaluate("document.activeElement.outerHTML")


def test_nothing_is_cut_off_and_no_stray_dots(visit):
    """Gradio's row of icons below an upload, its empty toolbar and its footer's divider."""
    page = visit(**PHONE).page
    for tab in ("Talk", "Mimic", "Dub"):
        page.get_by_role("tab", name=tab, exact=True).click()
        for upload in page.locator(".sf-field:visible").all():
            block, icons = upload.bounding_box(), upload.locator(".source-selection").bounding_box()
            assert icons["y"] + icons["height"] <= block["y"] + block["height"] + 1, tab
    assert not page.locator(".icon-button-wrapper:not(:has(button, a))").filter(visible=True).count()
    assert not page.locator("footer .divider").filter(visible=True).count()


def test_two_visitors_at_once_get_their_own_results(visit, recording, tmp_path):
    own = {"one": ((60, 0, 400, 300), 0.4), "two": ((40, 0, 440, 360), 0.8)}
    visitors = {}
    for name, (box, seconds) in own.items():
        Image.open(PORTRAIT).crop(box).save(tmp_path / f"{name}.png")
        visitor = visitors[name] = visit()
        visitor.consent()
        visitor.bring_photo("talk", tmp_path / f"{name}.png")
        visitor.bring_speech(recording(seconds))
    for visitor in visitors.values():
        visitor.run()
    for name, (box, seconds) in own.items():
        (tmp_path / name).mkdir()
        visitors[name].video()
        seen = watch(visitors[name].download("talk", tmp_path / name))
        assert (seen.width, seen.height) == (box[2] - box[0], box[3] - box[1])
        assert seen.seconds == pytest.approx(seconds, abs=0.05)


def test_without_webrtc_a_student_talks_live(browser, small_teacher, face_model, recording, tmp_path, screenshots):
    """Frames appear on the page one after the other, in step with the sound, while others are still being drawn."""
    from space_server import quick_studio, serving
    from test_space_api import tiny_student

    tiny_student(tmp_path / "student", face_model)
    with serving(quick_studio(small_teacher, face_model, tmp_path / "student")) as site:
        context = browser.new_context(**DESKTOP)
        visitor = Visitor(context.new_page())
        visitor.page.add_init_script("delete window.RTCPeerConnection")
        visitor.open(site.url, "student")
        visitor.bring("student-speech", recording(1.0))
        visitor.page.locator("#student-speech #waveform, #student-speech audio").first.wait_for(state="attached")
        visitor.page.locator("#student-live-run").click()
        visitor.watch_live(frames=20)
        visitor.page.screenshot(path=screenshots / "desktop_student.png", full_page=True)
        drawn = visitor.page.locator("#student-live canvas").evaluate(
            "c => { const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return new Set(p).size }"
        )
        context.close()
    assert drawn > 20  # a picture, and not an empty canvas
