"""The web demo as those who run it want it: it stops cleanly, keeps nothing, waits for no slow visitor, and says how it is."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from space_server import free_port, picture_of, png, quick_studio, serving

from superface_hf import MediaError, SuperFaceError
from superface_hf.cli import main
from superface_hf.media import write_mp4
from superface_hf.space import Limits, distill
from superface_hf.space import serving as serving_module
from superface_hf.space.distill import Distillation, end_all, new_folder, remove
from superface_hf.space.limits import read_video, watched
from superface_hf.space.metrics import Metrics
from superface_hf.space.progress import Stages
from superface_hf.space.routes import METRICS_TOKEN, OF_PROXIES
from superface_hf.space.serving import _ended_by_signals
from superface_hf.space.store import PREFIX, Store

LIMITS = Limits(uploads=3, silence_seconds=0.6, upload_seconds=2.0, waiting=100)
FILE = {"_type": "gradio.FileData"}
PATIENCE = 60  # seconds; less than one is enough, unless the machine is busy with other things


@pytest.fixture(scope="module")
def site(small_teacher, face_model, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        patch.setattr(serving_module, "LOOK_SECONDS", 0.1)
        with serving(quick_studio(small_teacher, face_model), LIMITS) as site:
            yield site


@pytest.fixture
def web(site):
    with httpx.Client(base_url=site.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def connect(site):
    """Opens bare connections, and closes them at last."""
    host, port = site.url.removeprefix("http://").split(":")
    opened: list[socket.socket] = []

    def make() -> socket.socket:
        opened.append(socket.create_connection((host, int(port)), timeout=PATIENCE))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


BEGINNING = (
    b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="files"; filename="photo.png"\r\n\r\n'
)


def eventually(true) -> bool:
    ends = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < ends:
        time.sleep(0.05)
    return bool(true())


def edit(web: httpx.Client, picture: bytes) -> str:
    path = web.post("/gradio_api/upload", files={"files": ("photo.png", picture)}).json()[0]
    data = [{"path": path, "meta": FILE}, True, False, *[0.0] * 13]
    begun = web.post("/gradio_api/call/edit", json={"data": data}).json()
    return web.get(f"/gradio_api/call/edit/{begun['event_id']}").text


# Slow visitors


def test_an_upload_that_falls_silent_is_given_up(site, connect):
    site.demo.store.sweep(0)
    ours = set(site.demo.store.folder.iterdir())
    connection = connect()
    connection.sendall(BEGINNING)
    assert b" 408 " in connection.recv(1000)
    assert eventually(lambda: set(site.demo.store.folder.iterdir()) == ours)


def test_an_upload_that_trickles_is_given_up(connect):
    connection = connect()
    connection.sendall(BEGINNING)
    connection.settimeout(0.1)
    answer = b""
    ends = time.monotonic() + PATIENCE
    while not answer and time.monotonic() < ends:
        try:
            answer = connection.recv(1000)
        except TimeoutError:
            connection.sendall(b"x")
    assert b" 408 " in answer


def test_a_request_without_its_body_is_given_up(connect):
    connection = connect()
    connection.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert b" 408 " in connection.recv(1000)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_connection_that_asks_for_nothing_is_closed(connect, said):
    connection = connect()
    connection.sendall(said)
    with suppress(ConnectionResetError):
        assert connection.recv(1000) == b""


def test_many_slow_uploads_hold_no_more_than_their_share(site, web, connect):
    before = len(list(Path("/proc/self/fd").iterdir()))
    slow = [connect() for _ in range(60)]
    for connection in slow:
        connection.sendall(BEGINNING)
    answers = [connection.recv(1000) for connection in slow]
    assert {answer.split()[1] for answer in answers} <= {b"503", b"408"}
    assert sum(b" 503 " in answer for answer in answers) >= 60 - 3 * LIMITS.uploads
    for connection in slow:
        connection.close()
    assert eventually(lambda: len(list(Path("/proc/self/fd").iterdir())) < before + 10)
    assert "event: complete" in edit(web, png(picture_of((200, 60, 20))))


def test_a_full_server_takes_no_more_files(small_teacher, face_model):
    with serving(quick_studio(small_teacher, face_model), Limits(kept_mb=0)) as site:
        upload = f"{site.url}/gradio_api/upload"
        assert httpx.post(upload, files={"files": ("a.png", b"a")}).status_code == 200
        assert httpx.post(upload, files={"files": ("b.png", b"b")}).status_code == 503
        assert httpx.post(upload, files=[("files", (f"{n}.png", b"b")) for n in range(9)]).status_code >= 400


# Files


def test_files_go_after_their_hour(tmp_path):
    store = Store(tmp_path)
    try:
        paths = []
        for _ in range(2):
            paths.append(store.new_folder() / "photo.png")
            paths[-1].write_bytes(b"photo")
            store.add_upload(str(paths[-1]))
        for path in (paths[0], paths[0].parent):
            os.utime(path, (time.time() - 4000,) * 2)
        store.sweep(3600)
        assert not paths[0].parent.exists()
        assert paths[1].exists()
        assert not store.serves(str(paths[0]))
        assert store.serves(str(paths[1]))
    finally:
        store.close()
    assert not list(tmp_path.iterdir())


def test_a_starting_server_leaves_the_files_of_a_running_one(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    assert first.folder.exists()
    assert first.folder.stat().st_mode & 0o077 == 0
    second.close()
    first.close()
    assert not list(tmp_path.iterdir())


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder), "HF_HUB_OFFLINE": "1"}
    with (folder.parent / f"{port}.log").open("wb") as log:
        command = [sys.executable, "-m", "superface_hf.cli", "serve", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    ends = time.monotonic() + 3 * PATIENCE
    while time.monotonic() < ends:
        try:
            assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=PATIENCE).json()["status"] == "ok"
            return server
        except httpx.TransportError:
            assert server.poll() is None
            time.sleep(0.1)
    raise AssertionError("The server did not start.")


@pytest.mark.e2e
def test_a_server_leaves_no_photographs_however_it_ends(tmp_path):
    """Killed, they stay until the next one starts; told to stop, they go at once."""
    folder = tmp_path / "files"
    folder.mkdir()
    servers = []
    try:
        for how in (signal.SIGKILL, signal.SIGTERM):
            port = free_port()
            servers.append(serve(folder, port))
            assert len(list(folder.glob(f"{PREFIX}*"))) == 1  # nothing of the one before
            photo = {"files": ("photo.png", png(picture_of((1, 2, 3))))}
            path = Path(httpx.post(f"http://127.0.0.1:{port}/gradio_api/upload", files=photo).json()[0])
            assert path.exists()
            servers[-1].send_signal(how)
            servers[-1].wait(PATIENCE)
            assert path.exists() == (how == signal.SIGKILL)
    finally:
        for server in servers:
            server.kill()
            server.wait()
    assert servers[-1].returncode == 128 + signal.SIGTERM
    assert not [path for path in folder.rglob("*") if path.is_file()]
    said = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "Traceback" not in said, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_program_and_are_given_back(number):
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended, _ended_by_signals():
            signal.raise_signal(number)
        assert ended.value.code == 128 + number
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_hangup_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _ended_by_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_students_in_the_making_end_with_the_server(monkeypatch):
    monkeypatch.setattr(distill, "POLL", 0.05)
    folder = new_folder("Ada")
    try:
        making = Distillation("photo.png", "Ada", 2, folder)
        making._command = [sys.executable, "-c", "import time; time.sleep(99)"]
        run = making.run()
        next(run)
        (process,) = distill._running
        end_all()
        assert process.poll() is not None
        run.close()
        assert not distill._running
    finally:
        remove(str(folder))


# Work


def test_a_job_ends_when_its_time_is_up(monkeypatch):
    stages = Stages(lambda share, desc: None, max_seconds=120)  # type: ignore[arg-type]
    frames = stages.over(range(10), "Drawing", 10)
    next(frames)
    later = time.monotonic() + 121
    monkeypatch.setattr("superface_hf.space.progress.time.monotonic", lambda: later)
    with pytest.raises(SuperFaceError, match="longer than 2 min and was stopped"):
        next(frames)


def test_a_job_ends_when_the_server_stops():
    stopping = threading.Event()
    frames = Stages(lambda share, desc: None, stopping=stopping).over(range(10), "Drawing", 10)  # type: ignore[arg-type]
    next(frames)
    stopping.set()
    with pytest.raises(SuperFaceError, match="being stopped"):
        next(frames)


def test_frames_count_as_they_are_and_not_as_the_header_says():
    limits = Limits(video_side=100, video_seconds=1.5)
    small, large = np.zeros((80, 60, 3), np.uint8), np.zeros((80, 200, 3), np.uint8)
    frames = watched(iter([small, large]), 10, limits)
    next(frames)
    with pytest.raises(MediaError, match="200 x 80 pixels, and at most 100"):
        next(frames)
    with pytest.raises(MediaError, match=r"longer than 1\.5 seconds"):
        list(watched(iter([small] * 30), 10, limits))


def test_a_video_of_too_many_frames_a_second_is_refused(tmp_path):
    write_mp4(tmp_path / "fast.mp4", [np.zeros((64, 64, 3), np.uint8)] * 24, 240)
    with pytest.raises(MediaError, match="240 frames a second, and at most 60"):
        read_video(str(tmp_path / "fast.mp4"), Limits())


# How it is


def sample(text: str, name: str, **labels: str) -> float:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    line = f"superface_{name}{{{inside}}} " if inside else f"superface_{name} "
    return next((float(one.removeprefix(line)) for one in text.splitlines() if one.startswith(line)), 0.0)


def test_metrics_tell_what_happened(web):
    before = web.get("/metrics").text
    edit(web, png(picture_of((200, 60, 20))))
    assert "event: error" in edit(web, b"no picture")
    web.get("/gradio_api/proxy=http://example.org/")
    after = web.get("/metrics").text
    for change, name, labels in (
        (1, "requests_total", {"endpoint": "edit", "outcome": "done"}),
        (1, "requests_total", {"endpoint": "edit", "outcome": "refused"}),
        (1, "turned_away_total", {"status": "404"}),
    ):
        assert sample(after, name, **labels) == sample(before, name, **labels) + change
    assert sample(after, "work_seconds_total", endpoint="edit") > sample(before, "work_seconds_total", endpoint="edit")
    assert sample(after, "memory_bytes") > 50e6
    assert sample(after, "files_kept") >= 2
    assert sample(after, "queue_length") == 0
    assert sample(after, "busy") <= 1  # the call before may not have been cleared away
    assert sample(after, "models_ready") == 1


def test_metrics_are_in_the_format_of_prometheus(web):
    answer = web.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told: set[str] = set()
    for line in answer.text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP superface_\w+ .+|TYPE superface_\w+ (counter|gauge))", line)
            told.add(line.split()[2])
        else:
            found = re.fullmatch(r'(superface_\w+)(\{\w+="[^"\n]*"(,\w+="[^"\n]*")*\})? -?[\d.e+]+', line)
            assert found, line
            assert found[1] in told
    assert answer.text.endswith("\n")


def test_labels_are_escaped():
    metrics = Metrics()
    metrics.ended('a"b\\c\nd', "done")
    assert r'endpoint="a\"b\\c\nd"' in metrics.text({})


@pytest.mark.parametrize("header", [*OF_PROXIES, "host"])
def test_metrics_are_not_for_visitors_behind_a_proxy(web, header):
    assert web.get("/metrics").status_code == 200
    assert web.get("/metrics", headers={header: "demo.example"}).status_code == 403


def test_metrics_are_for_whoever_has_the_word(web, monkeypatch):
    monkeypatch.setenv(METRICS_TOKEN, "a long word")
    assert web.get("/metrics").status_code == 403
    assert web.get("/metrics", headers={"authorization": "Bearer a wrong word"}).status_code == 403
    assert web.get("/metrics", headers={"authorization": "Bearer a long word"}).status_code == 200


def test_health_is_for_everybody(site, web):
    assert web.get("/health", headers={"x-forwarded-for": "192.0.2.1"}).json() == {"status": "ok", "models": "ready"}
    site.demo.store.stopping.set()
    try:
        assert web.get("/health").status_code == 503
    finally:
        site.demo.store.stopping.clear()


@pytest.mark.parametrize("port", ["99999", "0", "-1", "http"])
def test_a_port_that_is_none_is_told_in_one_line(port, capsys):
    try:
        status = main(["serve", "--port", port])
    except SystemExit as left:
        status = left.code
    assert status
    assert "1 to 65535" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_port_in_use_is_told_in_one_line(capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert main(["serve", "--port", str(listener.getsockname()[1])]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "cannot be listened on" in said[0]


# Limits are said before


def test_every_limit_of_an_upload_is_said_on_the_page(site):
    words = " ".join(
        str(block.value) + str(getattr(block, "placeholder", ""))
        for block in site.demo.blocks.values()
        if hasattr(block, "value")
    )
    limits = site.demo.limits
    for said in (limits.picture_words, limits.sound_words, limits.video_words, limits.job_words, limits.keep_words):
        assert said in words
