"""Calls of the web demo as Chromium makes them, with a camera that films a drawn person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av import VideoFrame
from chromium import launched
from space_server import quick_studio, serving
from test_space_browser import DESKTOP, Visitor
from test_space_calls import shaken

pytest.importorskip("aiortc")

from superface_hf.models.embedded import embedded_tracker
from superface_hf.space.drawn_face import drawn
from superface_hf.space.examples import FOLDER

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

FPS, SIDE = 20, 256
# What the video on the screen shows: its size, and the grey of some pixels.
LOOK = """video => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 64;
  const pen = canvas.getContext('2d');
  pen.drawImage(video, 0, 0, 64, 64);
  const pixels = pen.getImageData(0, 0, 64, 64).data;
  return {width: video.videoWidth, grey: [...pixels].filter((_, index) => index % 4 === 1)};
}"""
# The loudest of what is heard in some seconds, 0 to 1.
HEAR = """async ([video, seconds]) => {
  const context = new AudioContext(), meter = context.createAnalyser();
  context.createMediaStreamSource(video.srcObject).connect(meter);
  const samples = new Float32Array(meter.fftSize);
  let most = 0;
  for (const end = performance.now() + 1000 * seconds; performance.now() < end;) {
    meter.getFloatTimeDomainData(samples);
    most = Math.max(most, ...samples);
    await new Promise(done => setTimeout(done, 10));
  }
  return most;
}"""


@pytest.fixture(scope="module")
def camera(tmp_path_factory) -> Path:
    """A drawn person who shakes their head, as Chromium's camera takes it: raw YUV4MPEG2."""
    path = tmp_path_factory.mktemp("camera") / "person.y4m"
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{SIDE} H{SIDE} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in drawn(shaken(2.0, FPS), SIDE):
            planes = VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p").to_ndarray()
            file.write(b"FRAME\n" + planes.tobytes())
    return path


@pytest.fixture(scope="module")
def browser(camera):
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with launched("--disable-gpu", *flags, f"--use-file-for-fake-video-capture={camera}", needs="gradio") as chromium:
        yield chromium


@pytest.fixture(scope="module")
def site(small_teacher, face_model):
    """The embedded student and tracker, and a small teacher."""
    studio = quick_studio(small_teacher, face_model)
    studio.pipe._tracker = embedded_tracker("cpu")
    with serving(studio) as site:
        yield site


@pytest.fixture
def visitor(browser):
    context = browser.new_context(**DESKTOP)
    yield Visitor(context.new_page())
    context.close()


def call_shown(visitor: Visitor, element: str, frames: int) -> Any:
    """Waits until a call has shown so many pictures; returns its video."""
    visitor.page.wait_for_function(
        "([id, frames]) => document.querySelector(`#${id} [data-call=shown]`)?.dataset.shown >= frames",
        arg=[element, frames],
    )
    return visitor.page.locator(f"#{element} video:not(.self)")


def test_a_student_speaks_in_a_call(site, visitor):
    page = visitor.page
    visitor.open(site.url, "student")
    visitor.bring("student-speech", FOLDER / "example_speech.wav")
    page.locator("#student-speech #waveform, #student-speech audio").first.wait_for(state="attached")
    page.locator("#student-live-run").click()
    video = call_shown(visitor, "student-live", frames=5)
    first = video.evaluate(LOOK)
    heard = page.evaluate(HEAR, [video.element_handle(), 1.5])
    later = video.evaluate(LOOK)
    assert heard > 0.05
    assert first["width"] > 100
    assert np.abs(np.array(first["grey"]) - later["grey"]).max() > 8
    page.locator("#student-live .state", has_text="Synthetic speech and picture").wait_for()
    assert page.locator("#student-live .poster").is_visible()


def test_a_photo_imitates_the_camera_until_it_is_stopped(site, visitor):
    page = visitor.page
    visitor.open(site.url, "mimic")
    visitor.bring_photo("mimic", FOLDER / "example_photo.jpg")
    page.get_by_role("button", name="Live, with your camera").click()
    page.locator("#mimic-live-run").click()
    video = call_shown(visitor, "mimic-screen", frames=5)
    seen = []
    for _ in range(12):
        seen.append(video.evaluate(LOOK)["grey"])
        page.wait_for_timeout(150)
    assert np.ptp(seen, axis=0).max() > 20
    assert page.locator("#mimic-screen video.self").evaluate("video => video.videoWidth") == SIDE
    tracks = page.locator("#mimic-screen video.self").evaluate_handle("video => video.srcObject.getTracks()")
    page.locator("#mimic-live-stop").click()
    page.locator("#mimic-screen .state", has_text="Stopped").wait_for()
    assert tracks.evaluate("all => all.map(each => each.readyState)") == ["ended"]
    page.wait_for_timeout(1000)
    assert len(site.demo.calls) == 0
