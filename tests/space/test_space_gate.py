"""Attackers write to every function of the web demo by hand: none opens a file that is not the session's own."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import httpx
import pytest
from gradio.utils import get_upload_folder
from space_server import Site, picture_of, png, quick_studio, serving, wav

from superface_hf.space import Limits
from superface_hf.space.gate import FILES, NOT_UNDERSTOOD, NOT_YOURS, Gate
from superface_hf.space.metrics import Metrics
from superface_hf.space.store import Store
from superface_hf.utils.assets import PORTRAIT

CANARY = b"a secret of the server that no visitor may see"
FORGED = {"_type": "gradio.FileData"}
METAS: list[dict[str, Any]] = [{}, {"meta": {"_type": "something else"}}, {"meta": FORGED}]
NAMES = ("x.svg", "x.png", "x.wav", "x.mp4")


@dataclass
class Lookout:
    """Which of the server's secrets were opened; an audit hook sees every open of this process."""

    folder: str = ""
    opened: list[str] = field(default_factory=list)

    def __call__(self, event: str, details: tuple[Any, ...]) -> None:
        if self.folder and event == "open" and isinstance(details[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(details[0]))
            if path.startswith(self.folder) and not path.endswith(".part"):
                self.opened.append(path)


LOOKOUT = Lookout()
sys.addaudithook(LOOKOUT)


@pytest.fixture(scope="module")
def secrets_of_server(tmp_path_factory) -> Iterator[Path]:
    """The folder where the server runs: keys, a dotfile, pictures and sounds, links, and a neighbour's folder of gradio."""
    folder = tmp_path_factory.mktemp("home").resolve()
    for name in (".ssh/id_rsa", ".env", "notes.txt", "notes.svg", "secret.wav", "secret.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(CANARY)
    (folder / "secret.png").write_bytes(png(picture_of((1, 2, 3))) + CANARY)
    (folder / "link.png").symlink_to(folder / "secret.png")
    (folder / "work").mkdir()
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def site(small_teacher, face_model, secrets_of_server) -> Iterator[Site]:
    with serving(quick_studio(small_teacher, face_model), Limits(waiting=1000)) as site:
        inside = Path(get_upload_folder())
        (inside / "of_somebody").mkdir(exist_ok=True)
        (inside / "of_somebody" / "photo.png").write_bytes(png(picture_of((1, 2, 3))) + CANARY)
        (inside / "link.png").symlink_to(secrets_of_server / "secret.png")
        yield site


@pytest.fixture
def web(site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=60) as client:
        yield client


def upload(web: httpx.Client, name: str, content: bytes) -> dict[str, Any]:
    answer = web.post("/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return {"path": answer.json()[0], "meta": FORGED}


def join(web: httpx.Client, number: int, data: list, session: str) -> httpx.Response:
    return web.post("/gradio_api/queue/join", json={"fn_index": number, "session_hash": session, "data": data})


def answers(web: httpx.Client, session: str, wanted: int) -> dict[str, dict]:
    """event id -> the last message about it."""
    found: dict[str, dict] = {}
    with web.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line[6:]) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                found[message["event_id"]] = message
            if len(found) == wanted or message.get("msg") == "close_stream":
                break
    return found


def called(web: httpx.Client, number: int, data: list, session: str | None = None) -> dict:
    session = session or secrets.token_hex(5)
    begun = join(web, number, data, session)
    assert begun.status_code == 200, begun.text
    return answers(web, session, 1)[begun.json()["event_id"]]


def numbers(site: Site, name: str) -> list[int]:
    return [number for number, function in site.demo.fns.items() if function.name == name]


def file_slots(site: Site) -> list[tuple[int, int]]:
    """(function, input) of every input that takes a file."""
    return [
        (number, place)
        for number, function in site.demo.fns.items()
        for place, block in enumerate(function.inputs)
        if isinstance(block, FILES)
    ]


def fitting(site: Site, number: int) -> list:
    """Values that a function takes, without files; consent is given."""
    values = []
    for block in site.demo.fns[number].inputs:
        values.append(True if isinstance(block, gr.Checkbox) else None if isinstance(block, FILES) else block.value)
    return values


def hostile_paths(folder: Path) -> list[str]:
    inside = get_upload_folder()
    return [
        ".ssh/id_rsa", ".env", "notes.txt", "notes.svg", "secret.png", "secret.wav", "secret.mp4", "link.png", "work/../.env",
        *(str(folder / name) for name in (".ssh/id_rsa", "secret.png", "secret.wav", "link.png", "work/../secret.png")),
        f"{inside}/of_somebody/photo.png", f"{inside}/of_somebody/../of_somebody/photo.png", f"{inside}/link.png",
        f"{inside}/../{Path(inside).name}/of_somebody/photo.png", f"file://{folder}/secret.png", "/proc/self/environ", "",
    ]  # fmt: skip


def test_no_function_opens_or_gives_away_a_file_of_the_server(site, web, secrets_of_server):
    """Every function, every field of a file, every kind of path, name and ``meta``. What exists and what does not is answered
    alike."""
    paths, names, metas = cycle(hostile_paths(secrets_of_server)), cycle(NAMES), cycle(METAS)
    missing = cycle(["nothing.png", str(secrets_of_server / "nothing.svg"), f"{get_upload_folder()}/nothing/x.wav"])
    session, sent = secrets.token_hex(5), {}
    LOOKOUT.folder = str(secrets_of_server)
    try:
        with ThreadPoolExecutor(8) as pool:
            jobs = {}
            for number, place in file_slots(site):
                for turn in range(9):
                    path = next(missing) if turn == 0 else next(paths)
                    name = next(names)
                    if turn % 4 == 0:
                        next(names)  # so that paths meet other names
                    data = fitting(site, number)
                    data[place] = {"path": path, "orig_name": name, "url": f"/gradio_api/file={path}", **next(metas)}
                    jobs[pool.submit(join, web, number, data, session)] = (number, place, path)
            for job, what in jobs.items():
                assert job.result().status_code == 200, job.result().text
                sent[job.result().json()["event_id"]] = what
        found = answers(web, session, len(sent))
    finally:
        LOOKOUT.folder = ""
    assert set(found) == set(sent)
    said = {json.dumps(message["output"]) for message in found.values()}
    succeeded = [sent[event] for event, message in found.items() if message["success"]]
    assert not succeeded
    assert len(said) == 1, said
    assert NOT_YOURS in said.pop()
    assert not LOOKOUT.opened


def test_every_path_is_refused_by_the_fields_that_gave_files_away(site, web, secrets_of_server):
    """The download of a picture and the check of a photo, with every path, name and ``meta``."""
    leaky = [
        *numbers(site, "look_at_photo")[:1],
        next(n for n, _ in file_slots(site) if n == _download_of_picture(site)),
    ]
    session, sent, metas = secrets.token_hex(5), 0, cycle(METAS)
    LOOKOUT.folder = str(secrets_of_server)
    try:
        for number in leaky:
            for path in hostile_paths(secrets_of_server):
                for name in ("x.svg", "x.png"):
                    join(web, number, [{"path": path, "orig_name": name, **next(metas)}], session)
                    sent += 1
        found = answers(web, session, sent)
    finally:
        LOOKOUT.folder = ""
    assert len(found) == sent
    assert not any(message["success"] for message in found.values())
    assert len({json.dumps(message["output"]) for message in found.values()}) == 1
    assert not LOOKOUT.opened


def _download_of_picture(site: Site) -> int:
    for number, function in site.demo.fns.items():
        if [type(block) for block in (*function.inputs, *function.outputs)] == [gr.Image, gr.DownloadButton]:
            return number
    raise AssertionError("nothing offers a picture")


def test_files_of_the_server_cannot_be_downloaded(web, secrets_of_server):
    said = set()
    for path in (*hostile_paths(secrets_of_server), "nothing.png", f"{get_upload_folder()}/.lock", str(PORTRAIT)):
        for way in ("file=", "file/"):
            answer = web.get(f"/gradio_api/{way}{quote(path, safe='')}")
            assert answer.status_code == 404
            assert CANARY not in answer.content
            said |= {answer.text} if way == "file=" else set()
    assert len(said) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.png", "https://example.org/x.png"])
def test_the_server_fetches_nothing_for_visitors(web, address):
    for way in ("file=", "proxy=", "file/"):
        assert web.get(f"/gradio_api/{way}{address}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/run/edit"), ("POST", "/gradio_api/api/edit"), ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"), ("GET", "/gradio_api/deep_link"), ("GET", "/monitoring/summary"),
        ("GET", "/gradio_api/runs"), ("GET", "/docs"), ("GET", "/gradio_api/custom_component/1/client/component/index.js"),
        ("GET", "/gradio_api/stream/x/y/1/playlist-file"), ("PUT", "/gradio_api/upload"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_need_is_not_served(web, method, path):
    assert web.request(method, path, json={"data": []}).status_code in (404, 405)


def test_uploads_belong_to_the_session_that_used_them(site, web):
    look = numbers(site, "look_at_photo")[0]
    mine = upload(web, "photo.png", png(picture_of((200, 60, 20))))
    assert called(web, look, [mine], "owner")["success"]
    assert called(web, look, [mine], "owner")["success"]
    other = called(web, look, [mine], "somebody-else")
    assert not other["success"]
    assert NOT_YOURS in json.dumps(other["output"])


def test_equal_uploads_of_two_visitors_are_two_files(web):
    """Their names are not made of their content: nobody can ask whether a photo that he has was brought by another."""
    content = png(picture_of((9, 8, 7)))
    first, second = (Path(upload(web, "photo.png", content)["path"]) for _ in range(2))
    assert first != second
    assert first.parent.parent != second.parent.parent


@pytest.mark.parametrize("name", ["../../x.png", "..", ".bashrc", "/etc/passwd", "a\\..\\b.png", "x" * 400 + ".png"])
def test_uploads_stay_in_their_folder_whatever_they_are_called(site, web, name):
    answer = web.post("/gradio_api/upload", files={"files": (name, b"x")})
    assert answer.status_code == 200
    path = Path(answer.json()[0])
    assert path.resolve().is_relative_to(site.demo.store.folder.resolve())
    assert not path.name.startswith(".")


def test_results_belong_to_the_session_that_made_them(site, web):
    edit, download = numbers(site, "edit")[0], _download_of_picture(site)
    data = fitting(site, edit)
    data[0] = upload(web, "photo.png", png(picture_of((200, 60, 20))))
    made = called(web, edit, data, "maker")
    assert made["success"], made
    picture = made["output"]["data"][0]
    assert web.get(f"/gradio_api/file={picture['path']}").status_code == 200
    assert called(web, download, [picture], "maker")["success"]
    assert not called(web, download, [picture], "thief")["success"]


def test_made_up_faces_are_downloaded_by_name_and_are_nobodys_input(site, web):
    """The pictures of the four faces are results: they are served, and no field of uploads takes another session's."""
    show = numbers(site, "show")
    number = next(each for each in show if isinstance(site.demo.fns[each].outputs[0], gr.Gallery))
    data = fitting(site, number)
    data[0] = upload(web, "speech.wav", wav(0.3))
    made = called(web, number, data, "maker")
    assert made["success"], made
    shown = [each["image"]["path"] for each in made["output"]["data"][0]["value"]]
    assert len(set(shown)) == 4
    assert all(web.get(f"/gradio_api/file={path}").status_code == 200 for path in shown)
    stolen = {"path": shown[0], "meta": FORGED}
    assert not called(web, numbers(site, "look_at_photo")[0], [stolen], "thief")["success"]


def test_a_download_is_of_a_result_not_of_an_upload(site, web):
    """Decoding there would be without the checks of an upload."""
    own = upload(web, "x.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert not called(web, _download_of_picture(site), [own])["success"]


def test_scripts_are_saved_and_not_shown(web):
    for name in ("x.svg", "x.html"):
        answer = web.get(f"/gradio_api/file={upload(web, name, b'<script>alert(1)</script>')['path']}")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_programs_without_a_session_use_their_uploads_again(web):
    """`curl` has none: what it uploaded is known by its name, until a session has used it."""
    photo = upload(web, "photo.png", png(picture_of((200, 60, 20))))
    for _ in range(2):
        begun = web.post("/gradio_api/call/edit", json={"data": [photo, True, False, *[0.0] * 13]})
        assert "event: complete" in web.get(f"/gradio_api/call/edit/{begun.json()['event_id']}").text


def test_our_examples_can_be_used_by_everybody(site, web):
    look = numbers(site, "look_at_photo")[0]
    for session in ("one", "two"):
        for number, function in site.demo.fns.items():
            if not function.inputs and [type(block) for block in function.outputs] == [gr.Image]:
                photo = called(web, number, [], session)["output"]["data"][0]
        assert called(web, look, [photo], session)["success"]


def test_only_fields_of_files_take_descriptions_of_files(site, web):
    """A text, a slider or a tick that is a dictionary goes no further than the gate."""
    values = cycle([{"path": "notes.txt"}, ["notes.txt"], [[{"path": "notes.txt", "meta": FORGED}]]])
    session, sent = secrets.token_hex(5), 0
    for number, function in site.demo.fns.items():
        for place, block in enumerate(function.inputs):
            if (
                not block.stateful
                and not isinstance(block, FILES)
                and function.api_name in ("talk", "voice_only", "student", "push_student")
            ):
                data = fitting(site, number)
                data[place] = next(values)
                sent += join(web, number, data, session).status_code == 200
    found = answers(web, session, sent)
    assert len(found) == sent > 8
    assert not any(message["success"] for message in found.values())
    assert {message["output"]["error"] for message in found.values()} == {NOT_UNDERSTOOD}


@pytest.mark.parametrize("wrong", ["far", None, float("nan"), float("inf"), [1], {"path": "x"}])
def test_a_number_is_a_number(site, web, wrong, caplog):
    """What a visitor got wrong is told, and is nothing for the log."""
    edit = numbers(site, "edit")[0]
    data = fitting(site, edit)
    data[0], data[4] = upload(web, "photo.png", png(picture_of((200, 60, 20)))), wrong
    body = json.dumps({"fn_index": edit, "session_hash": "s", "data": data})  # httpx would refuse NaN
    begun = web.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    message = answers(web, "s", 1)[begun.json()["event_id"]]
    assert not message["success"]
    assert message["output"]["error"] == NOT_UNDERSTOOD
    assert not caplog.records


def test_a_fault_of_ours_at_the_gate_is_in_the_log(site, web, monkeypatch, caplog):
    """The visitor reads one line, and those who run the server find out."""

    def broken(*args):
        raise LookupError("a cable is loose")

    look = numbers(site, "look_at_photo")[0]
    monkeypatch.setattr(site.demo.fns[look].inputs[0], "preprocess", broken)
    message = called(web, look, [None])
    assert not message["success"]
    assert message["output"]["error"] == NOT_UNDERSTOOD
    (record,) = [each for each in caplog.records if each.name.endswith("gate")]
    assert "look_at_photo" in record.getMessage()
    assert "a cable is loose" in caplog.text
    assert "Traceback" in caplog.text
    assert 'requests_total{endpoint="look_at_photo",outcome="failed"} 1' in web.get("/metrics").text


def test_what_the_page_shows_from_the_start_is_everybodys(tmp_path):
    store = Store(tmp_path)
    try:
        with gr.Blocks() as demo:
            picture, text = gr.Image(str(PORTRAIT), type="filepath"), gr.Textbox()
            picture.change(lambda picture: picture, picture, text)
        Gate(demo, store, Metrics())
        store.sweep(0)
        path = picture.value["path"]
        assert Path(store.real(path)).is_file()
        assert str(tmp_path) not in str(picture.value)
        assert store.serves(path)
        assert store.allows(path, "anybody", uploads=False)
    finally:
        store.close()


def test_a_session_cannot_say_what_the_server_remembers_of_it(site, web):
    """A visitor's own student is a folder: it is taken from the session, not from the request."""
    number = numbers(site, "student")[0]
    data = fitting(site, number)
    data[0] = upload(web, "speech.wav", wav(0.2))
    data[1], data[-1] = "own", str(PORTRAIT.parent)
    message = called(web, number, data)
    assert not message["success"]
    assert "not made a student yet" in message["output"]["error"]


def test_invented_sessions_make_nobody_elses_forgotten(site, web):
    """A student that took ten minutes to make is not lost to some hundred small requests."""
    holder = site.demo.state_holder
    own = next(number for number, block in site.demo.blocks.items() if isinstance(block, gr.State))
    screen = next(
        number for number, block in site.demo.blocks.items() if getattr(block, "elem_id", "") == "student-live"
    )
    holder["has a student"][own] = "a folder"
    before, holder.capacity = holder.capacity, 20
    try:
        for number in range(60):
            call = {"component_id": screen, "session_hash": f"invented {number}", "fn_name": "more", "data": "x"}
            assert web.post("/gradio_api/component_server", json=call).status_code == 200
        assert "has a student" in holder
        assert holder["has a student"][own] == "a folder"
        assert len(holder.session_data) <= 20
        assert "invented 59" in holder
    finally:
        holder.capacity = before


def test_an_empty_session_is_refused_before_anything_is_done(site, web, capfd):
    edit = numbers(site, "edit")[0]
    known = len(site.demo._queue.event_ids_to_events)
    answer = join(web, edit, fitting(site, edit), "")
    assert answer.status_code == 400, answer.text
    assert NOT_UNDERSTOOD in answer.text
    assert len(site.demo._queue.event_ids_to_events) == known
    assert "Traceback" not in capfd.readouterr().err


def test_the_page_does_not_tell_where_things_lie(site, web):
    for address in ("/", "/config", "/gradio_api/info", "/gradio_api/openapi.json", "/health", "/metrics"):
        text = web.get(address).text
        for place in (
            get_upload_folder(),
            str(site.demo.store.folder),
            str(Path.home()),
            str(PORTRAIT.parent),
            str(Path.cwd()),
        ):
            assert place == "/" or place not in text, (address, place)


def test_an_app_with_an_input_that_the_gate_does_not_know_is_not_built(tmp_path):
    with gr.Blocks() as demo:
        gallery, text = gr.Gallery(), gr.Textbox()
        gallery.change(lambda pictures: "", gallery, text)
    store = Store(tmp_path)
    try:
        with pytest.raises(TypeError, match="gate"):
            Gate(demo, store, Metrics())
    finally:
        store.close()


def test_the_log_has_no_tracebacks_of_visitors_mistakes(site, web, capfd):
    look = numbers(site, "look_at_photo")[0]
    for value in (
        17,
        "text",
        [1],
        {"path": None},
        {"path": ["x"]},
        {"meta": 1},
        {"path": "x", "size": "y", "is_stream": True},
    ):
        assert not called(web, look, [value])["success"]
    data = fitting(site, numbers(site, "edit")[0])
    for wrong in ("far", 1e9, True, None, "NaN"):
        called(web, numbers(site, "edit")[0], [*data[:4], wrong, *data[5:]])
    assert not called(web, look, [])["success"]
    assert (
        web.post("/gradio_api/queue/join", json={"fn_index": 9999, "session_hash": "x", "data": []}).status_code >= 400
    )
    assert web.post("/gradio_api/queue/join", content=b"{").status_code >= 400
    assert (
        web.post("/gradio_api/component_server", json={"component_id": 1, "fn_name": "x", "data": 0}).status_code >= 400
    )
    assert web.post("/gradio_api/call/nothing", json={"data": []}).status_code >= 400
    with suppress(httpx.RemoteProtocolError):  # gradio has begun its answer when it finds out
        web.get("/gradio_api/call/edit/nothing")
    assert (
        web.post("/gradio_api/upload", content=b"x", headers={"content-type": "multipart/form-data"}).status_code == 400
    )
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
