"""Calls of the web demo by WebRTC, with aiortc in the place of the visitor's browser."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from space_server import picture_of, png, quick_studio, serving
from test_space_api import tiny_student

pytest.importorskip("aiortc")

from call_visitor import HEARD_RATE, CallVisitor, TestCamera
from turn_server import TurnServer

from superface_hf import SuperFaceError
from superface_hf.media import load_sound
from superface_hf.models.embedded import embedded_tracker
from superface_hf.motion import Motion
from superface_hf.space import Limits, calls, carrying, ice, live_mimic
from superface_hf.space.call_media import LARGEST_CAMERA, SOUND_RATE, largest_side
from superface_hf.space.calls import BadOffer, Call, Calls
from superface_hf.space.carrying import NotConnected, carried
from superface_hf.space.drawn_face import drawn
from superface_hf.space.ice import Relay
from superface_hf.space.make_examples import DRAWN_PLACE, DRAWN_SCALE
from superface_hf.utils.assets import SPEECH

NEVER = threading.Event()
LABEL = np.s_[-40:, :60]  # where "AI-generated" stands


@pytest.fixture
def waiting() -> Iterator[Calls]:
    """Calls without a server."""
    calls = Calls()
    yield calls
    calls.close()


@contextmanager
def handled(call: Call, work: Callable[[], None], seconds: float = 20.0) -> Iterator[list[Any]]:
    """A handler that carries the call; the list gets how it ended."""
    ended: list[Any] = []

    def handle() -> None:
        try:
            for _ in carried(call, work, seconds, NEVER):
                pass
            ended.append("done")
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=handle)
    thread.start()
    try:
        yield ended
    finally:
        call.end()
        thread.join(10)
        assert not thread.is_alive()


async def brought(waiting: Calls, call: Call, visitor: CallVisitor) -> str:
    """The visitor is let in, without a server between; returns the answer."""
    import aiortc

    answer = await waiting.answer(call.token, await visitor.offer(), "127.0.0.1")
    await visitor.peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
    return answer


def addresses(description: str) -> list[str]:
    """The candidates of an offer or an answer."""
    return [line for line in description.splitlines() if line.startswith("a=candidate:")]


async def until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not happen"
        await asyncio.sleep(0.02)


def run(coroutine: Any) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 90))


# What goes through


def test_what_flashes_when_it_beeps_arrives_so(waiting):
    """Once a second, a white picture and a beep of 80 ms: both arrive together, as often as they were sent."""
    step, flashes = SOUND_RATE // 25, 4
    beep = (16000 * np.sin(np.arange(step) * 2 * np.pi * 1000 / SOUND_RATE)).astype(np.int16)
    call, visitor = waiting.invite(with_camera=False), CallVisitor()

    def flash() -> None:
        began = time.monotonic()
        for frame in range(25 * flashes):
            bright = frame % 25 in (12, 13)
            call.show(np.full((96, 128, 3), 230 if bright else 30, np.uint8), beep if bright else 0 * beep)
            time.sleep(max(0.0, began + (frame + 1) / 25 - time.monotonic()))

    async def watch() -> None:
        with handled(call, flash) as ended:
            await brought(waiting, call, visitor)
            await until(lambda: ended)
            assert ended == ["done"]
        await visitor.leave()

    run(watch())
    seen = starts([(at, picture.mean() > 120) for at, picture in visitor.pictures])
    heard = starts([(at, np.abs(sound.astype(int)).max() > 4000) for at, sound in visitor.sounds])
    assert len(seen) == len(heard) == flashes
    # aiortc's own buffer of sound holds four packets (80 ms) back; a browser aligns both by the senders' clocks.
    apart = np.array(heard) - np.array(seen)
    assert np.abs(np.median(apart) - 0.06) < 0.1, apart


def starts(states: list[tuple[float, bool]]) -> list[float]:
    """When something began, in seconds."""
    return [at for (_, before), (at, now) in pairwise(states) if now and not before]


def test_a_slow_machine_takes_the_newest_picture_and_the_delay_does_not_grow(waiting):
    """The camera's pictures get brighter and are sent back by one who needs 0.15 s for each."""
    camera = TestCamera(lambda seconds: np.full((120, 160, 3), 30 + round(seconds * 40), np.uint8))
    call, visitor = waiting.invite(with_camera=True), CallVisitor(camera)

    def echo() -> None:
        for picture in call.camera():
            time.sleep(0.15)
            call.show(picture)

    async def watch() -> None:
        with handled(call, echo) as ended:
            await brought(waiting, call, visitor)
            await until(lambda: len(visitor.pictures) > 20 or ended)
        await visitor.leave()

    run(watch())
    assert call.pictures_seen > 2 * len(visitor.pictures)
    delays = [at - camera.began - (picture.mean() - 30) / 40 for at, picture in visitor.pictures]
    assert np.median(delays[-5:]) < np.median(delays[3:8]) + 0.2
    assert np.median(delays) < 0.8


# What the app does


class Site:
    """A running app with the embedded student, and what its handlers are given."""

    def __init__(self, site: Any, folder: Any) -> None:
        self.url, self.demo, self.folder = site.url, site.demo, folder

    def handler(self, name: str) -> Any:
        return next(function.fn for function in self.demo.fns.values() if function.name == name)

    def speech(self, samples: np.ndarray, rate: int) -> str:
        path = self.folder / "speech.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((samples * 32767).astype(np.int16).tobytes())
        return str(path)


@pytest.fixture(scope="module")
def site(small_teacher, face_model, tmp_path_factory):
    studio = quick_studio(small_teacher, face_model)
    with serving(studio, Limits(live_seconds=30)) as site:
        yield Site(site, tmp_path_factory.mktemp("files"))


def visited(site: Site, handler: Iterator[Any], visitor: CallVisitor, until_then: Callable[[], bool]) -> list[Any]:
    """Lets a handler run, with a visitor who comes when it invites them and leaves when ``until_then`` holds.

    Returns what the handler gave to the page.
    """
    given: list[Any] = []
    ended = threading.Event()

    def handle() -> None:
        try:
            given.extend(value for value in handler if isinstance(value, dict) and "__type__" not in value)
        finally:
            ended.set()

    async def come() -> None:
        token = next(handler)["call"]
        thread = threading.Thread(target=handle)
        thread.start()
        await visitor.come(site.url, token)
        await until(lambda: until_then() or ended.is_set(), 60)
        await visitor.leave()
        await until(ended.is_set)
        thread.join()

    run(come())
    return given


def test_a_student_speaks_in_a_call(site):
    """The mouth moves while something is heard, and all of the speech is heard; each picture has the label."""
    words, rate = load_sound(SPEECH).cut(1.2).mono(24_000), 24_000
    said = np.concatenate([words, np.zeros(rate, np.float32), words])
    visitor = CallVisitor()
    talk = site.handler("talk_live")(site.speech(said, rate), "bundled", "", False, "picture", "", None)
    given = visited(site, talk, visitor, lambda: False)
    assert given == [{"ended": "Synthetic speech and picture, drawn live."}]
    assert matches(visitor.heard, said, rate) > 0.9
    height, width = visitor.pictures[0][1].shape[:2]
    mouth = np.s_[round(0.5 * height) : round(0.8 * height), round(0.3 * width) : round(0.7 * width)]
    moved = [
        (at, np.abs(now[mouth].astype(int) - before[mouth]).mean())
        for (_, before), (at, now) in pairwise(visitor.pictures)
    ]
    loud = [(at, np.abs(sound.astype(int)).max()) for at, sound in visitor.sounds]
    first = next(at for at, level in loud if level > 1500)
    speaking = [change for at, change in moved if 0.2 < at - first < 1.0 or 2.4 < at - first < 3.2]
    silent = [change for at, change in moved if 1.5 < at - first < 2.0 or at - first < -0.1]
    assert len(speaking) > 10
    assert np.mean(speaking) > 1.5 * np.mean(silent), (np.mean(speaking), np.mean(silent))
    assert all(picture[LABEL].max() > 200 for _, picture in visitor.pictures)


def matches(heard: np.ndarray, said: np.ndarray, rate: int) -> float:
    """How alike what was heard and what was said are, 1 for the same: their loudness every 20 ms, at the best delay."""
    levels = [
        np.sqrt(np.square(samples[: len(samples) // block * block].reshape(-1, block).astype(float)).mean(1))
        for samples, block in ((heard, HEARD_RATE // 50), (said, rate // 50))
    ]
    padded = np.pad(levels[0], (len(levels[1]), len(levels[1])))
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(levels[1]))
    return float(max(np.corrcoef(window, levels[1])[0, 1] for window in windows if window.std() > 0))


def shaken(seconds: float, fps: int) -> Motion:
    """A head that is shaken once; its place is that of the drawn person."""
    still = Motion.neutral(round(seconds * fps), float(fps))
    rotation = np.zeros_like(still.rotation)
    rotation[:, 1] = 0.3 * np.sin(np.arange(len(still)) * 2 * np.pi / len(still))
    place = np.broadcast_to(np.array(DRAWN_PLACE, np.float32), still.translation.shape)
    return replace(still, rotation=rotation, translation=place, scale=np.full_like(still.scale, DRAWN_SCALE))


def test_a_photo_imitates_the_camera(small_teacher, face_model, tmp_path):
    """A drawn person before the camera shakes their head, and the photo's head moves as much as theirs."""
    studio = quick_studio(small_teacher, face_model)
    studio.pipe._tracker = embedded_tracker("cpu")
    frames = list(drawn(shaken(2.0, 20), 256))
    camera = TestCamera(lambda seconds: frames[round(seconds * 20) % 40], fps=20)
    visitor = CallVisitor(camera)
    from superface_hf.space.examples import FOLDER

    with serving(studio, Limits(live_seconds=30)) as running:
        site = Site(running, tmp_path)
        live = site.handler("mimic_live")(str(FOLDER / "example_photo.jpg"), False)
        given = visited(site, live, visitor, lambda: len(visitor.pictures) > 30)
    assert given == [{"ended": live_mimic.DRAWN}]
    pictures = [picture for _, picture in visitor.pictures]
    assert all(picture[LABEL].max() > 200 for picture in pictures)
    moved = [np.abs(picture.astype(int) - pictures[0]).mean() for picture in pictures]
    assert np.ptp(moved) > 2, moved


# Who cannot be reached gets today's way


def test_whoever_does_not_come_is_shown_pictures_as_before(site, monkeypatch):
    monkeypatch.setattr(carrying, "CONNECT", 0.0)
    monkeypatch.setattr(carrying, "CONNECT_WITH_CAMERA", 0.0)
    speech = site.speech(load_sound(SPEECH).cut(0.4).mono(16_000), 16_000)
    shown = list(site.handler("talk_live")(speech, "bundled", "", False, "picture", "", None))
    assert "call" in shown[0]
    assert shown[-1]["total"] == 10
    live = list(site.handler("mimic_live")(photo_of(site), True))
    assert live[0]["camera"]
    assert live[-1] == {"ended": live_mimic.CANNOT}


def photo_of(site: Site) -> str:
    path = site.folder / "photo.png"
    path.write_bytes(png(picture_of((200, 60, 20))))
    return str(path)


def test_a_browser_that_cannot_says_so_and_nobody_waits(site):
    speech = site.speech(load_sound(SPEECH).cut(0.4).mono(16_000), 16_000)
    talk = site.handler("talk_live")(speech, "bundled", "", False, "picture", "", None)
    token = next(talk)["call"]
    assert httpx.post(f"{site.url}/live/offer", json={"token": token, "sdp": None}).status_code == 200
    began = time.monotonic()
    assert next(value for value in talk if "total" in value)["total"] == 10
    assert time.monotonic() - began < carrying.CONNECT / 2


@pytest.mark.parametrize("why", ["the package is missing", "it is switched off"])
def test_where_there_are_no_calls_nothing_offers_them(small_teacher, face_model, tmp_path, monkeypatch, why):
    limits = Limits(live_seconds=0 if why == "it is switched off" else 60)
    if why == "the package is missing":
        monkeypatch.setattr(calls, "find_spec", lambda name: None)
    tiny_student(tmp_path / "student", face_model)
    with serving(quick_studio(small_teacher, face_model, tmp_path / "student"), limits) as running:
        site = Site(running, tmp_path)
        speech = site.speech(load_sound(SPEECH).cut(0.4).mono(16_000), 16_000)
        shown = list(site.handler("talk_live")(speech, "bundled", "", False, "picture", "", None))
        assert [sorted(value) for value in shown] == [["fps", "sound", "token", "total"]]
        assert "mimic_live" not in [function.name for function in site.demo.fns.values()]


# Gates


def test_nobody_is_called_without_consent(site):
    from gradio.exceptions import Error

    with pytest.raises(Error, match="confirm first"):
        next(site.handler("mimic_live")(photo_of(site), False))
    assert not site.demo.calls._waited_for


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"token": 1, "sdp": "x"}',
        b'{"token": "x"}',
        b'{"token": "guess", "sdp": "v=0"}',
        b"[" * 9999,
    ],
)
def test_what_is_no_offer_is_refused(site, body):
    answer = httpx.post(f"{site.url}/live/offer", content=body)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def changed_offers() -> dict[str, Callable[[str], str]]:
    return {
        "nothing": lambda offer: "",
        "words": lambda offer: "please",
        "a channel for data": lambda offer: offer + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
        "a second camera": lambda offer: offer + offer[offer.index("m=video") :],
        "a camera that was not asked for": lambda offer: offer.replace("a=recvonly", "a=sendrecv"),
        "other codecs": lambda offer: offer.replace("VP8/90000", "AV1/90000"),
        "no key": lambda offer: "\r\n".join(line for line in offer.splitlines() if "fingerprint" not in line),
        "a whole book": lambda offer: offer + 10_000 * "a=x:y\r\n",
    }


@pytest.mark.parametrize("what", changed_offers())
def test_offers_of_something_else_are_refused_and_the_call_is_over(waiting, what, caplog):
    async def offer() -> None:
        call, visitor = waiting.invite(with_camera=False), CallVisitor()
        asked = changed_offers()[what](await visitor.offer())
        with pytest.raises(BadOffer, match="cannot be understood"):
            await waiting.answer(call.token, asked, "127.0.0.1")
        assert call.over.is_set()
        await visitor.leave()

    run(offer())
    assert len(waiting) == 0
    assert not caplog.records


def test_a_token_lets_in_once(waiting):
    async def offer() -> None:
        call, visitor = waiting.invite(with_camera=False), CallVisitor()
        with handled(call, lambda: time.sleep(1)):
            await brought(waiting, call, visitor)
            with pytest.raises(BadOffer, match="over"):
                await waiting.answer(call.token, await CallVisitor().offer(), "127.0.0.1")
        await visitor.leave()

    run(offer())


@pytest.mark.parametrize("what", ["a=candidate", "a line that only Python sees", "a name of the local network"])
@pytest.mark.parametrize("dropped", [True, False])
def test_no_packet_goes_to_whom_a_visitor_names(waiting, monkeypatch, what, dropped):
    """Where candidates are kept, as WebRTC has it, a packet comes: what the test is worth."""
    asked_names: list[str] = []

    async def no_name(self: Any, name: str, *_: Any) -> None:
        asked_names.append(name)

    monkeypatch.setattr("aioice.mdns.MDnsProtocol.resolve", no_name)
    if not dropped:
        monkeypatch.setattr(calls, "checked_offer", lambda offer, kinds, relayed: offer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        victim.settimeout(2.0 if dropped or "name" in what else 10.0)
        host = "printer.local" if "name" in what else "127.0.0.1"
        line = f"a=candidate:1 1 udp 2130706431 {host} {victim.getsockname()[1]} typ host"
        line = f"a=x:y\u2028{line}" if "Python" in what else line

        async def offer() -> None:
            call, visitor = waiting.invite(with_camera=False), CallVisitor()
            kept = "\r\n".join(each for each in (await visitor.offer()).splitlines() if "candidate" not in each)
            named = f"{kept}\r\n".replace("m=video", f"{line}\r\nm=video")  # all streams share the first one's way
            asked = waiting.answer(call.token, named, "127.0.0.1")
            if dropped and "Python" not in what:
                await asked
            else:
                await asyncio.gather(asked, return_exceptions=True)
            try:
                came = await asyncio.to_thread(victim.recv, 2000)
            except TimeoutError:
                came = b""
            assert bool(came or asked_names) != dropped
            call.end()
            await visitor.leave()

        run(offer())


def test_nobody_else_is_asked_where_this_machine_is(waiting, monkeypatch):
    """aiortc's own choice is a server of Google."""
    asked: list[Any] = []
    monkeypatch.setattr("aioice.ice.server_reflexive_candidate", lambda *each: asked.append(each))

    async def offer() -> None:
        call, visitor = waiting.invite(with_camera=False), CallVisitor()
        with handled(call, lambda: None):
            await brought(waiting, call, visitor)
        await visitor.leave()

    run(offer())
    assert not asked


@pytest.mark.parametrize(
    ("host", "some", "all_"),
    [("192.0.2.7", ["192.0.2.7"], False), ("127.0.0.1", ["127.0.0.1"], True), ("::ffff:127.0.0.1", ["127.0.0.1"], True),
     ("fe80::1%eth0", ["fe80::1"], False), ("/run/socket", [], True)],
)  # fmt: skip
def test_a_call_is_waited_for_where_the_page_was_asked_for(monkeypatch, host, some, all_):
    monkeypatch.setattr(ice, "_all_addresses", lambda: ["198.51.100.4"])
    assert ice.own_addresses(host) == some + (["198.51.100.4"] if all_ else [])


def test_where_the_server_cannot_be_reached_a_relay_carries_the_call(monkeypatch):
    """And the server itself sends to nobody but the relay: it has no other socket."""
    gathered: list[list[str]] = []
    monkeypatch.setattr(ice, "_is_public", lambda line: " 127.0.0.1 " in line)  # all that a test has
    monkeypatch.setattr(calls, "listen_at", lambda *_: pytest.fail("it listens"))
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])

    async def watch() -> None:
        turn = await TurnServer.running("space", "secret")
        waiting = Calls(relay=Relay(f"turn:127.0.0.1:{turn.port}", "space", "secret"))
        call, visitor = waiting.invite(with_camera=False), CallVisitor()
        assert call.invitation["stun"] == f"stun:127.0.0.1:{turn.port}"

        def show() -> None:
            while not call.over.wait(0.04):
                call.show(np.full((48, 64, 3), 90, np.uint8), np.zeros(SOUND_RATE // 25, np.int16))

        with handled(call, show):
            gathered.append(addresses(await brought(waiting, call, visitor)))
            await until(lambda: len(visitor.pictures) > 5)
        own = {line.split()[5] for line in addresses(visitor.peer.localDescription.sdp)}
        assert {str(port) for _, port in turn.sent_to} <= own
        await visitor.leave()
        waiting.close()
        turn.close()

    run(watch())
    assert gathered[0]
    assert all("typ relay" in line for line in gathered[0]), gathered


def test_a_relay_sends_to_a_few_public_addresses_alone():
    """Of an offer with every other kind of address; without a relay none is left."""

    def line(host: str, protocol: str = "udp") -> str:
        return f"a=candidate:1 1 {protocol} 2130706431 {host} 9 typ host"

    async def offered() -> str:
        visitor = CallVisitor()
        offer = await visitor.offer()
        await visitor.leave()
        return offer

    offer = "\r\n".join(each for each in asyncio.run(offered()).splitlines() if "candidate" not in each)
    private = [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "printer.local",
        "example.org",
        "::1",
        "fd00::2",
        "",
    ]
    public = [f"8.8.8.{number}" for number in range(20)]
    lines = [*map(line, private), line("1.1.1.1", "tcp"), "a=candidate:", *map(line, public)]
    asked = "\r\n".join([offer, *lines, ""])
    kinds = calls.OFFERED[False]
    kept = [
        each.split()[4] for each in ice.checked_offer(asked, kinds, relayed=True).splitlines() if "candidate" in each
    ]
    assert kept == public[: ice.MOST_CANDIDATES]
    assert "candidate" not in ice.checked_offer(asked, kinds)


@pytest.mark.parametrize(
    ("address", "password", "stun"),
    [("turn:a.example:5000?transport=tcp", "p", "stun:a.example:5000"), ("turns:a.example", "p", "stun:a.example:3478"),
     ("turn:a.example", "", None), ("http://a.example", "p", None)],
)  # fmt: skip
def test_a_relay_is_named_by_the_environment_whole_or_not_at_all(monkeypatch, address, password, stun):
    assert Relay.from_environment() is None
    for name, value in ((ice.TURN, address), (ice.TURN_USER, "me"), (ice.TURN_PASSWORD, password)):
        monkeypatch.setenv(name, value)
    if stun is None:
        with pytest.raises(SuperFaceError, match="SUPERFACE_TURN_PASSWORD"):
            Relay.from_environment()
    else:
        assert Relay.from_environment().stun == stun


def test_a_space_offers_calls_only_with_a_relay(monkeypatch):
    assert ice.reachable(None)
    monkeypatch.setenv("SPACE_ID", "org/talking-face")
    assert not ice.reachable(None)
    assert ice.reachable(Relay("turn:a.example", "me", "p"))


# Ends


def camera_of(shape: tuple[int, int]) -> TestCamera:
    rng = np.random.default_rng(0)
    return TestCamera(lambda _: rng.integers(0, 255, (*shape, 3), np.uint8), fps=8)


def test_a_call_ends_when_its_time_is_up(waiting):
    call, visitor = waiting.invite(with_camera=False), CallVisitor()

    async def watch() -> None:
        with handled(call, lambda: call.over.wait(60), seconds=0.6) as ended:
            await brought(waiting, call, visitor)
            await until(lambda: ended, 8)
            assert ended == ["done"]
        assert len(waiting) == 0
        await visitor.leave()

    run(watch())


def test_a_handler_that_is_stopped_ends_its_call(site):
    """As the button "Stop" does: gradio closes the generator."""
    speech = site.speech(load_sound(SPEECH).cut(3.0).mono(16_000), 16_000)
    talk, visitor = site.handler("talk_live")(speech, "bundled", "", False, "picture", "", None), CallVisitor()

    async def watch() -> None:
        await visitor.come(site.url, next(talk)["call"])
        while not visitor.pictures:
            await asyncio.to_thread(next, talk)
        assert len(site.demo.calls) == 1
        await asyncio.to_thread(talk.close)
        assert len(site.demo.calls) == 0
        await until(lambda: visitor.peer.connectionState in ("closed", "failed"), 10)
        await visitor.leave()

    run(watch())
    assert not [thread for thread in threading.enumerate() if thread.name in ("superface-call", "superface-live")]


def test_a_visitor_who_leaves_ends_it(waiting):
    call, visitor = waiting.invite(with_camera=False), CallVisitor()

    async def watch() -> None:
        with handled(call, lambda: call.over.wait(60)) as ended:
            await brought(waiting, call, visitor)
            await until(call.connected.is_set)
            await visitor.leave()
            await until(lambda: ended, 10)

    run(watch())


def test_a_camera_that_sends_nothing_ends_it(waiting, monkeypatch):
    monkeypatch.setattr(calls, "SILENCE", 0.5)
    camera = camera_of((48, 64))
    call, visitor = waiting.invite(with_camera=True), CallVisitor(camera)

    async def watch() -> None:
        with handled(call, lambda: [None for _ in call.camera()]) as ended:
            await brought(waiting, call, visitor)
            await until(lambda: call.pictures_seen > 3)
            camera._fps = 0.001
            await until(lambda: ended, 10)
            assert ended == ["done"]
        await visitor.leave()

    run(watch())


def test_a_camera_with_too_many_pixels_ends_it(waiting):
    call, visitor = waiting.invite(with_camera=True), CallVisitor(camera_of((48, LARGEST_CAMERA + 16)))

    async def watch() -> None:
        with handled(call, lambda: [None for _ in call.camera()]):
            await brought(waiting, call, visitor)
            await until(call.over.is_set, 20)
        assert call.pictures_seen == 0
        await visitor.leave()

    run(watch())


def test_a_size_is_read_before_anything_is_decoded():
    assert largest_side(b"\x10\x02\x00\x9d\x01\x2a\x80\x02\xe0\x01") == 640  # RFC 6386: a key frame of 640 x 480
    assert largest_side(b"\x11\x02\x00\x9d\x01\x2a\xff\x3f\xff\x3f") == 0  # no key frame keeps its size
    assert largest_side(b"\x10\x02\x00\x9d\x01\x2a\xff\xff\xff\x3f") == 0x3FFF
    assert largest_side(b"") == 0


def test_what_stops_the_work_is_raised_where_the_call_is_carried(waiting):
    call, visitor = waiting.invite(with_camera=False), CallVisitor()

    def fail() -> None:
        raise KeyError("internals")

    async def watch() -> None:
        with handled(call, fail) as ended:
            await brought(waiting, call, visitor)
            await until(lambda: ended, 10)
            assert isinstance(ended[0], KeyError)
        await visitor.leave()

    run(watch())


def test_a_server_that_stops_ends_its_calls(waiting):
    call, visitor = waiting.invite(with_camera=False), CallVisitor()

    async def watch() -> None:
        with handled(call, lambda: call.over.wait(60)) as ended:
            await brought(waiting, call, visitor)
            await until(call.connected.is_set)
            waiting.close()
            await until(lambda: ended, 10)
            await until(lambda: visitor.peer.connectionState in ("closed", "failed"), 10)
        await visitor.leave()

    run(watch())


def test_a_stopping_server_does_not_wait_for_a_visitor(waiting):
    stopping = SimpleNamespace(is_set=lambda: True)
    with pytest.raises(NotConnected):
        list(carried(waiting.invite(with_camera=True), lambda: None, 60, stopping))


def test_aiortc_is_loaded_by_the_first_call_and_not_by_the_page():
    code = (
        "import sys; import superface_hf.space as s; s.build()\n"
        "print(sorted(name for name in ('aiortc', 'aioice', 'superface_hf.integrations') if name in sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert loaded.stdout.strip().endswith("[]"), loaded.stdout
