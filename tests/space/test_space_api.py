"""Programs call every endpoint of the web demo, as people do on the page."""

from __future__ import annotations

import time

import av
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from space_server import picture_of, png, quick_studio, serving, wav
from test_student import made_student

from superface_hf import SuperFaceStudentConfig, inspect_file
from superface_hf.media import VideoReader, write_mp4
from superface_hf.pipelines.talking_face import TalkingFacePipeline
from superface_hf.provenance.marks import DISCLAIMER, MADE_UP
from superface_hf.space.sliders import NAMES

SECONDS = 0.32
STILL = dict.fromkeys(NAMES, 0.0)


def tiny_student(folder, face_model) -> None:
    points = (face_model.mean.numpy() * 22 + np.array([120, 90, 0])).astype(np.float32)
    config = SuperFaceStudentConfig.of_size("tiny", person="Ada")
    made_student(config, picture_of((10, 200, 30)), points).save_pretrained(folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brought")
    (folder / "photo.png").write_bytes(png(picture_of((200, 60, 20))))
    (folder / "nobody.png").write_bytes(png(np.zeros((120, 160, 3), np.uint8)))
    (folder / "speech.wav").write_bytes(wav(SECONDS))
    (folder / "silence.wav").write_bytes(wav(SECONDS)[:44] + bytes(9000))
    write_mp4(folder / "video.mp4", [picture_of((20, 60, 200))] * 6, 12.5)
    return folder


@pytest.fixture(scope="module")
def site(small_teacher, face_model, tmp_path_factory):
    student = tmp_path_factory.mktemp("student")
    tiny_student(student, face_model)
    with serving(quick_studio(small_teacher, face_model, student)) as site:
        yield site


@pytest.fixture(scope="module")
def client(site, tmp_path_factory):
    return Client(site.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.fixture
def given(files):
    """Files as programs hand them over."""

    def give(name: str):
        return handle_file(files / name)

    return give


def check_video(result, frames: int, sound: bool) -> None:
    video, settings = result
    reader = VideoReader(video)
    pictures = list(reader)
    assert len(pictures) == frames
    assert (reader.sound() is not None) == sound
    assert settings["synthetic"] is True
    assert f"{frames} frames" in settings["length"]


def test_talk_gives_a_video_with_sound(client, given):
    result = client.predict(photo=given("photo.png"), speech=given("speech.wav"), consent=True, api_name="/talk")
    check_video(result, frames=8, sound=True)


def test_mimic_moves_as_long_as_the_video(client, given):
    result = client.predict(photo=given("photo.png"), video=given("video.mp4"), consent=True, api_name="/mimic")
    check_video(result, frames=6, sound=False)


def test_dub_gives_the_video_new_sound(client, given):
    result = client.predict(
        video=given("video.mp4"), speech=given("speech.wav"), consent=True, when_longer="stop", api_name="/dub"
    )
    check_video(result, frames=6, sound=True)


def test_the_student_speaks_without_a_photo(client, given):
    result = client.predict(speech=given("speech.wav"), kind="bundled", repo_id="", consent=False, api_name="/student")
    check_video(result, frames=8, sound=True)
    assert result[1]["student"] == "Ada"


def test_a_voice_alone_speaks_with_the_face_that_is_asked_for(client, given):
    """Drawn by the embedded pipeline; the same number gives the same face, whichever of the four it is."""
    first = {}
    for face, seed in (("1", 5), ("2", 4), ("1", 4)):
        result = client.predict(
            speech=given("speech.wav"),
            face=face,
            seed=seed,
            age=60,
            age_heard=False,
            liveliness=0,
            api_name="/voice_only",
        )
        check_video(result, frames=8, sound=True)
        assert result[1]["drawn"]["age"] == 60
        assert result[1]["disclaimer"] == DISCLAIMER
        assert inspect_file(result[0]).source_type == MADE_UP
        first[face, seed] = next(iter(VideoReader(result[0]))).astype(int)
    assert np.array_equal(first["1", 5], first["2", 4])
    assert np.abs(first["1", 5] - first["1", 4]).mean() > 2


@pytest.mark.parametrize(
    ("wrong", "said"), [({"age": 12, "age_heard": False}, "less than minimum"), ({"face": "7"}, "not in the list"),
                        ({"emotion": "hunger"}, "not in the list"), ({"speech": None}, "add a recording")],
)  # fmt: skip
def test_what_cannot_be_asked_of_a_voice_is_told(client, given, wrong, said):
    asked_for = {"speech": given("speech.wav"), **wrong}
    with pytest.raises(AppError, match=said):
        client.predict(**asked_for, api_name="/voice_only")


TALKS = {
    "/talk": {"photo": "photo.png", "speech": "speech.wav", "consent": True},
    "/mimic": {"photo": "photo.png", "video": "video.mp4", "consent": True},
    "/student": {"speech": "speech.wav", "kind": "bundled", "repo_id": "", "consent": False},
}


def asked(given, endpoint: str) -> dict:
    return {
        name: given(value) if name in ("photo", "speech", "video") else value for name, value in TALKS[endpoint].items()
    }


@pytest.mark.parametrize("endpoint", TALKS)
def test_another_colour_stands_behind_the_person(client, given, endpoint):
    video, settings = client.predict(
        **asked(given, endpoint), background="colour", colour="rgba(16.4, 200, 60, 1)", api_name=endpoint
    )
    assert settings["background"] == "#10c83c"
    assert np.abs(next(iter(VideoReader(video)))[:20, :20].astype(int) - (16, 200, 60)).max() < 12


@pytest.mark.parametrize("endpoint", TALKS)
def test_a_transparent_result_is_a_webm_with_alpha_and_our_mark(client, given, endpoint):
    video, settings = client.predict(**asked(given, endpoint), background="transparent", label=True, api_name=endpoint)
    assert video.endswith(".webm")
    assert "transparent" in settings["background"]
    assert inspect_file(video).ours
    with av.open(video) as container:  # FFmpeg's own decoder leaves alpha out
        context = av.CodecContext.create("libvpx-vp9", "r")
        packets = list(container.demux(container.streams.video[0]))
        alpha = next(frame for packet in packets for frame in context.decode(packet)).to_ndarray(format="rgba")[..., 3]
        assert len(container.streams.audio) == (endpoint != "/mimic")
    assert alpha[:12].max() < 20
    assert alpha[80:100, 110:130].min() > 235  # the face


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"background": "/etc/passwd"}, "not in the list"),
        ({"background": "colour", "colour": "/etc/passwd"}, "This is not a colour"),
        ({"background": "colour", "colour": "blur"}, "This is not a colour"),
    ],
)
def test_a_background_is_no_file(client, given, choice, said):
    with pytest.raises(AppError, match=said):
        client.predict(**asked(given, "/talk"), **choice, api_name="/talk")


def test_a_live_student_takes_what_a_jpeg_can_show(site, monkeypatch, files):
    """Live, a transparent background is the picture's own; blurs and colours are shown."""
    seen = []

    def one_frame(*args, background=None, limit=None, **kwargs):
        seen.append((background, limit))
        return iter([picture_of((1, 2, 3))])

    monkeypatch.setattr(TalkingFacePipeline, "stream", one_frame)
    monkeypatch.setattr(site.demo.calls, "usable", False)
    live = next(function.fn for function in site.demo.fns.values() if function.name == "talk_live")
    for background in ("transparent", "blur", "colour"):
        list(live(str(files / "speech.wav"), "bundled", "", False, background, "#010203", None))
    assert seen == [(each, site.demo.limits.work) for each in (None, "blur", (1, 2, 3))]


def test_every_job_has_its_limit_of_work(client, given, site, monkeypatch):
    limits = []

    def one_frame(*args, limit=None, **kwargs):
        limits.append(limit)
        yield picture_of((1, 2, 3))

    monkeypatch.setattr(TalkingFacePipeline, "stream", one_frame)
    for endpoint in TALKS:
        client.predict(**asked(given, endpoint), api_name=endpoint)
    dub = {"video": given("video.mp4"), "speech": given("speech.wav"), "consent": True}
    client.predict(**dub, when_longer="bounce", api_name="/dub")
    assert limits == 4 * [site.demo.limits.work]
    assert limits[0].seconds == site.demo.limits.job_seconds


def test_edit_changes_the_face_and_nothing_else(client, given, files):
    before = np.asarray(Image.open(files / "photo.png"))
    values = {**STILL, "mouth_open": 0.8, "turn": 0.5}
    path, settings = client.predict(photo=given("photo.png"), consent=True, label=False, **values, api_name="/edit")
    after = np.asarray(Image.open(path))
    assert after.shape == before.shape
    assert np.array_equal(after[:, :12], before[:, :12])
    assert np.abs(after.astype(int) - before).max() > 20
    assert settings["mouth_open"] == 0.8
    assert settings["turn"] == 0.5


def test_the_label_is_seen_on_the_picture(client, given):
    plain, labelled = (
        client.predict(photo=given("photo.png"), consent=True, label=label, **STILL, api_name="/edit")[0]
        for label in (False, True)
    )
    different = np.asarray(Image.open(plain)) != np.asarray(Image.open(labelled))
    rows, columns, _ = np.nonzero(different)
    assert rows.min() > 120
    assert columns.max() < 120


@pytest.mark.parametrize("endpoint", ["/talk", "/mimic", "/dub", "/edit"])
def test_nobody_is_animated_without_consent(client, given, endpoint):
    inputs = {
        "/talk": {"photo": given("photo.png"), "speech": given("speech.wav")},
        "/mimic": {"photo": given("photo.png"), "video": given("video.mp4")},
        "/dub": {"video": given("video.mp4"), "speech": given("speech.wav")},
        "/edit": {"photo": given("photo.png"), "label": False, **STILL},
    }[endpoint]
    with pytest.raises(AppError, match="Please confirm first"):
        client.predict(**inputs, consent=False, api_name=endpoint)
    with pytest.raises(AppError, match="Please confirm first"):
        client.predict(**inputs, api_name=endpoint)


def test_a_photo_without_a_face_says_so(client, given):
    with pytest.raises(AppError, match="No face was found"):
        client.predict(photo=given("nobody.png"), speech=given("speech.wav"), consent=True, api_name="/talk")


def test_what_is_missing_is_named(client, given):
    with pytest.raises(AppError, match="add a recording"):
        client.predict(photo=given("photo.png"), speech=None, consent=True, api_name="/talk")


def test_silence_is_told(client, given):
    with pytest.raises(AppError, match="Nothing can be heard"):
        client.predict(photo=given("photo.png"), speech=given("silence.wav"), consent=True, api_name="/talk")


@pytest.mark.parametrize("wrong", ["../../weights/teacher", "/etc", "nonsense", "a/b/c"])
def test_students_of_the_hub_are_no_paths(client, given, wrong):
    with pytest.raises(AppError, match="A student of the Hub has a name like"):
        client.predict(speech=given("speech.wav"), kind="hub", repo_id=wrong, consent=True, api_name="/student")


def test_progress_names_the_stage(client, given):
    job = client.submit(photo=given("photo.png"), speech=given("speech.wav"), consent=True, api_name="/talk")
    stages = set()
    while not job.done():
        stages |= {unit.desc for unit in job.status().progress_data or []}
        time.sleep(0.02)
    job.result()
    assert any("Drawing the frames" in stage for stage in stages)


def test_the_page_that_explains_the_endpoints_names_their_inputs(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/talk", "/voice_only", "/mimic", "/edit", "/dub", "/student"}
    names = {name: [one["parameter_name"] for one in endpoint["parameters"]] for name, endpoint in endpoints.items()}
    assert names["/talk"] == ["photo", "speech", "consent", "liveliness", "label", "background", "colour"]
    assert names["/edit"] == ["photo", "consent", "label", *NAMES]
    assert names["/student"] == ["speech", "kind", "repo_id", "consent", "label", "background", "colour"]
