"""Programs call every endpoint of the web demo, as people do on the page."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from space_server import picture_of, png, quick_studio, serving, wav

from superface_hf import SuperFaceStudentConfig, SuperFaceStudentModel
from superface_hf.geometry import Square
from superface_hf.media import VideoReader, write_mp4
from superface_hf.pipelines.paste_back import cut_out
from superface_hf.space.sliders import NAMES

SECONDS = 0.32
STILL = dict.fromkeys(NAMES, 0.0)


def tiny_student(folder, face_model) -> None:
    picture = picture_of((10, 200, 30))
    points = (face_model.mean.numpy() * 22 + np.array([120, 90, 0])).astype(np.float32)
    file = png(picture)
    torch.manual_seed(0)
    model = SuperFaceStudentModel(SuperFaceStudentConfig.of_size("tiny", person="Ada", picture_bytes=len(file)))
    square, size = Square.around_face(points), model.config.image_size
    appearance = torch.zeros(1, model.config.appearance_channels, size // 8, size // 8)
    model.store(file, square, square.to_image(points), cut_out(picture, square, size), appearance)
    model.eval().save_pretrained(folder)


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
    assert set(endpoints) == {"/talk", "/mimic", "/edit", "/dub", "/student"}
    names = {name: [one["parameter_name"] for one in endpoint["parameters"]] for name, endpoint in endpoints.items()}
    assert names["/talk"] == ["photo", "speech", "consent", "liveliness", "label"]
    assert names["/edit"] == ["photo", "consent", "label", *NAMES]
    assert names["/student"] == ["speech", "kind", "repo_id", "consent", "label"]
