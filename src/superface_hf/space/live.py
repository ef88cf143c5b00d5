"""Live talking students: in a call where the visitor's browser can be reached (:mod:`.calls`), and otherwise as pictures that
the page asks for while it shows earlier ones, in step with the sound."""

from __future__ import annotations

import base64
import io
import secrets
import threading
import time
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from ..errors import SuperFaceError
from .call_page import CALL

if TYPE_CHECKING:
    from ..face_model.coordinates import Square
    from ..integrations import LiveFace
    from ..media import Sound
    from .calls import Call

SOUND_RATE = 24_000
FPS = 25
FRAMES_AT_ONCE = 8
JPEG_QUALITY = 85
# In a call: seconds of the listening face before it speaks, so that no word is lost, and after it has spoken.
BEFORE, AFTER = 0.5, 0.5
TIMEOUT = 20.0  # seconds without a request after which a talk is dropped
MAX_TALKS = 4


@dataclass(eq=False)
class Talk:
    """One student that talks to one visitor."""

    frames: Iterator[np.ndarray]
    asked: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)


class LiveTalks:
    """The running talks, each under a token that only its visitor knows."""

    def __init__(self) -> None:
        self._talks: dict[str, Talk] = {}
        self._lock = threading.Lock()

    def begin(self, frames: Iterator[np.ndarray], sound: Sound) -> dict[str, Any]:
        """Start a talk and return what the page needs for it: a token, the frame rate, the approximate number of
        frames, and the sound.

        Raises:
            SuperFaceError: too many talks are running.
        """
        now = time.monotonic()
        with self._lock:
            self._talks = {token: talk for token, talk in self._talks.items() if now - talk.asked < TIMEOUT}
            if len(self._talks) >= MAX_TALKS:
                raise SuperFaceError("Several students are talking already. Please try again in a minute.")
            token = secrets.token_urlsafe(16)
            self._talks[token] = Talk(frames)
        total = max(1, round(sound.seconds * FPS))
        return {"token": token, "fps": FPS, "total": total, "sound": _as_url(sound.mono(SOUND_RATE))}

    def more(self, token: str) -> dict[str, Any]:
        """Return the next frames (JPEG in base64), and whether they were the last. An unknown token has none."""
        talk = self._talks.get(token) if isinstance(token, str) else None
        if talk is None:
            return {"frames": [], "done": True}
        pictures: list[str] = []
        with talk.lock:
            talk.asked = time.monotonic()
            for frame in talk.frames:
                pictures.append(_as_jpeg(frame))
                if len(pictures) == FRAMES_AT_ONCE:
                    break
            talk.asked = time.monotonic()
        done = len(pictures) < FRAMES_AT_ONCE
        if done:
            self._talks.pop(token, None)
        return {"frames": pictures, "done": done}

    def __len__(self) -> int:
        return len(self._talks)


def speak(call: Call, face: LiveFace, sound: Sound) -> None:
    """Say something in a call: the part of each picture around the face, with the label, and the sound of its time."""
    from ..media.label import labelled
    from .call_media import SOUND_RATE

    square, said = face.pipe.model.crop, False
    with face.session(SOUND_RATE) as live:
        began: float | None = None
        for part in live:
            picture = next(close_up([part.picture], square))
            call.show(labelled(even(picture)), part.sound)
            now = time.monotonic()
            began = began or now
            if not said and now - began > BEFORE:
                live.push(sound.samples, sound.rate)
                live.end()
                said = True
            if part.ends or call.over.is_set():
                break
    call.over.wait(AFTER)


def even(picture: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) without the last row or column where they are odd in number: VP8 shares colours among
    pairs of pixels."""
    height, width = picture.shape[:2]
    return picture[: height - height % 2, : width - width % 2]


def close_up(frames: Iterable[np.ndarray], square: Square) -> Iterator[np.ndarray]:
    """Yield the part of each frame (H, W, 3) around the face; a student's pictures show more."""
    rows, columns = (slice(max(0, int(start)), int(start + square.side)) for start in (square.top, square.left))
    for frame in frames:
        yield frame[rows, columns]


def player(talks: LiveTalks, poster: str) -> gr.HTML:
    """Return the player; its value is the result of :meth:`LiveTalks.begin`. Until then it shows ``poster``, the path
    of a JPEG."""

    def more(token: str) -> dict[str, Any]:
        return talks.more(token)

    screen = SCREEN.replace("POSTER", _as_data("image/jpeg", Path(poster).read_bytes()))
    return gr.HTML(
        value=None, html_template=screen, css_template=SCREEN_LOOK, js_on_load=PLAYER, server_functions=[more],
        elem_id="student-live", elem_classes="sf-plain",
    )  # fmt: skip


def _as_jpeg(frame: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def _as_url(samples: np.ndarray) -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SOUND_RATE)
        sound.writeframes((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())
    return _as_data("audio/wav", file.getvalue())


def _as_data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


SCREEN = """
<div class="screen"><img class="poster" src="POSTER" alt="The student that comes with the app, speaking">
<canvas width="512" height="512" hidden></canvas><video playsinline autoplay hidden></video>
<p class="state" role="status">“Try the example” lets it talk to you.</p></div>
"""
SCREEN_LOOK = """
.screen { position: relative; border-radius: 14px; overflow: hidden; background: var(--background-fill-secondary);
  border: 1px solid var(--border-color-primary); }
canvas, video, .poster { width: 100%; height: 440px; object-fit: contain; }
:is(canvas, video, .poster):not([hidden]) { display: block; }
.state { position: absolute; left: .7rem; bottom: .6rem; margin: 0; padding: .2rem .6rem; border-radius: 99px;
  font-size: .82rem; background: rgba(0, 0, 0, .6); color: white; }
"""
# The sound is the clock. It starts once half a second of frames has arrived, and pauses when they run out.
PLAYER = (
    CALL
    + """
let current = 0;
async function talk(value) {
  const mine = ++current;
  if (value?.call) { call(value); return; }
  if (value?.token && element.dataset.call) window.sfCannotCall = true;  // the next talk does not wait for a call
  ended(value?.ended);
  if (!value?.token) return;
  const canvas = element.querySelector('canvas'), state = element.querySelector('.state');
  const pen = canvas.getContext('2d'), sound = new Audio(value.sound), frames = [];
  let done = false, started = false, waits = 0, shown = -1;
  const began = performance.now();
  state.textContent = 'Getting ready…';
  (async () => {
    while (mine === current && !done) {
      const part = await server.more(value.token);
      for (const jpeg of part.frames) {
        const picture = new Image();
        picture.src = 'data:image/jpeg;base64,' + jpeg;
        await picture.decode();
        frames.push(picture);
      }
      done = part.done || part.frames.length === 0;
    }
  })().catch(() => { done = true; state.textContent = 'The connection was lost.'; });
  function step() {
    if (mine !== current) { sound.pause(); return; }
    const enough = Math.min(value.total, Math.ceil(value.fps / 2));
    if (!started && frames.length && (done || frames.length >= enough)) {
      started = true;
      element.dataset.firstFrame = Math.round(performance.now() - began);
      sound.play().catch(() => { state.textContent = 'Press play again to hear it.'; });
    }
    if (started) {
      const wanted = Math.floor(sound.currentTime * value.fps);
      if (wanted >= frames.length && !done && !sound.paused) { sound.pause(); waits++; }
      else if (sound.paused && !sound.ended && (done || frames.length > wanted + enough)) sound.play().catch(() => {});
      const index = Math.min(wanted, frames.length - 1);
      if (index !== shown && index >= 0) {
        const picture = frames[index];
        if (canvas.width !== picture.width || canvas.height !== picture.height) {
          canvas.width = picture.width; canvas.height = picture.height;
        }
        canvas.hidden = false;
        element.querySelectorAll('.poster, video').forEach(other => { other.hidden = true; });
        pen.drawImage(picture, 0, 0);
        shown = index;
        state.textContent = waits ? 'Speaking (this machine is busy)' : 'Speaking, drawn live';
      }
      element.dataset.shown = shown + 1;
      if (sound.ended || (done && shown >= frames.length - 1 && sound.currentTime === 0)) {
        state.textContent = 'Synthetic speech and picture, drawn live.';
        return;
      }
    }
    requestAnimationFrame(step);
  }
  step();
}
watch('value', () => talk(props.value));
"""
)
