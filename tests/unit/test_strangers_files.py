"""What strangers may hand over: no file makes us open another file or address, and none is more work than the limit says.

Nothing here needs torch: these tests run on every Python (`make test-pythons`).
"""

from __future__ import annotations

import ast
import io
import os
import wave
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from canary_server import recipes, serve
from PIL import EpsImagePlugin, Image

import superface_hf
from superface_hf.errors import MediaError
from superface_hf.media import SoundReader, VideoReader, Work, WorkLimit, container, download, load_picture, write_mp4
from superface_hf.media import sound as sound_module
from superface_hf.media import work as work_module
from superface_hf.media.inspection import inspect_file

SOURCE = Path(superface_hf.__file__).parent
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(%pipe%id) (w) file\nshowpage\n%%EOF\n"


@pytest.fixture
def canary():
    yield from serve("127.0.0.1")


@pytest.fixture
def inside():
    """A second server, on an address that the tests call private."""
    yield from serve("127.0.0.2")


@pytest.fixture
def one_private_address(monkeypatch):
    """Loopback counts as public but for 127.0.0.2."""
    monkeypatch.setattr(download, "_is_global", lambda place: place != "127.0.0.2")


@pytest.fixture
def secret(tmp_path) -> Path:
    """A private recording: a video with sound."""
    path = tmp_path / "private" / "secret.mp4"
    write_mp4(path, moving(5), 25, np.full(4000, 0.1, np.float32), 16000)
    return path


def moving(count: int, width: int = 64, height: int = 48) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([np.stack([x + 3 * t, y + t, x], -1) % 256 for t in range(count)]).astype(np.uint8)


class TestNothingElseIsOpened:
    @pytest.mark.parametrize("suffix", [".wav", ".mp4", ".m3u8", ".ffconcat", ".sdp", ".mpd", ".png"])
    @pytest.mark.parametrize("read", [SoundReader, VideoReader, load_picture], ids=["sound", "video", "picture"])
    def test_a_recipe_is_refused_under_any_name(self, read, suffix, secret, canary, tmp_path):
        for name, recipe in recipes(secret, canary).items():
            path = tmp_path / f"stranger{suffix}"
            path.write_bytes(recipe)
            for source in (path, str(path), recipe, io.BytesIO(recipe), path.open("rb")):
                with pytest.raises(MediaError, match=r"not a (sound|video|picture)"):
                    read(source)
            assert canary.hits == [], name

    def test_a_recipe_from_a_server_is_refused(self, secret, canary):
        for name, recipe in recipes(secret, canary).items():
            canary.answers["/given.wav"] = (200, None, [recipe])
            for read in (SoundReader, VideoReader, load_picture):
                with pytest.raises(MediaError, match=r"not a (sound|video|picture)"):
                    read(f"{canary.url}/given.wav")
            assert set(canary.hits) == {"/given.wav"}, name

    def test_what_is_on_the_list_may_open_nothing(self, secret, monkeypatch):
        """Even if a playlist were let through, FFmpeg has no protocol to open what it names."""
        monkeypatch.setattr(container, "SOUND_FORMATS", "hls,concat,sdp")
        script = f"ffconcat version 1.0\nfile '{secret}'\n".encode()
        with pytest.raises(MediaError):
            list(SoundReader(script))

    def test_ghostscript_is_never_called(self, monkeypatch, tmp_path):
        called: list[object] = []
        monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **_: called.append(args))
        (tmp_path / "photo.png").write_bytes(EPS)
        for source in (EPS, tmp_path / "photo.png", Image.open(io.BytesIO(EPS))):
            with pytest.raises(MediaError, match=r"EPS|not a picture"):
                load_picture(source)
        assert called == []

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "speech.wav")
        for read in (SoundReader, VideoReader, load_picture):
            with pytest.raises(MediaError, match="pipe"):
                read(tmp_path / "speech.wav")

    def test_opening_has_a_time_limit(self, secret, monkeypatch):
        monkeypatch.setattr(container, "OPENING", -1.0)
        with pytest.raises(MediaError, match="to open"):
            VideoReader(secret)

    def test_all_files_are_opened_in_one_place(self):
        """FFmpeg reads in ``media/container.py``; whoever opens a picture with Pillow names the formats."""
        for path in SOURCE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (
                    isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open"
                ):
                    continue
                opener = ast.unparse(node.func)
                if opener == "Image.open":
                    assert "formats" in {keyword.arg for keyword in node.keywords}, f"{path}: {ast.unparse(node)}"
                if opener == "av.open" and path.name != "container.py":
                    assert "'w'" in ast.unparse(node), f"{path}: {ast.unparse(node)}"

    def test_metadata_that_is_no_text_does_not_matter(self, secret):
        data = secret.read_bytes()
        broken = data.replace(b"AI-generated", b"AI\xff\xfe\xfdnerated")
        assert broken != data
        assert len(list(VideoReader(broken))) == 5
        assert SoundReader(broken).rate == 16000
        secret.write_bytes(broken)
        str(inspect_file(secret)).encode()


class TestDownloads:
    def test_a_redirect_into_a_private_network_is_not_followed(self, canary, inside, one_private_address):
        for place in ("/admin", "/x?y=1"):
            canary.answers["/photo.png"] = (302, inside.url + place, [])
            with pytest.raises(MediaError, match="private network"):
                load_picture(f"{canary.url}/photo.png")
        assert inside.hits == []

    def test_a_name_that_changes_its_address_is_noticed(self, canary, inside, one_private_address, monkeypatch):
        """The redirect's name is public when it is checked, and private when the connection is made."""
        answers = iter([["127.0.0.1"], ["127.0.0.1"]])
        monkeypatch.setattr(download, "_addresses", lambda host: next(answers, ["127.0.0.2"]))
        port = inside.url.rpartition(":")[2]
        canary.answers["/photo.png"] = (302, f"http://rebinding.test:{port}/admin", [])
        with pytest.raises(MediaError, match="private network"):
            load_picture(f"{canary.url}/photo.png")
        assert inside.hits == []

    @pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"])
    def test_a_redirect_leads_to_an_http_address_only(self, canary, address):
        canary.answers["/photo.png"] = (302, address, [])
        with pytest.raises(MediaError, match="cannot be fetched"):
            load_picture(f"{canary.url}/photo.png")

    def test_a_private_address_that_the_caller_names_is_fetched(self, canary):
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (200, 30, 40)).save(file, "PNG")
        canary.answers["/photo.png"] = (302, f"{canary.url}/real.png", [])
        canary.answers["/real.png"] = (200, None, [file.getvalue()])
        assert load_picture(f"{canary.url}/photo.png").shape == (32, 32, 3)

    def test_private_addresses_are_known(self):
        private = (
            "127.0.0.1 10.1.2.3 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 ::1 fe80::1 fd00::1 ::ffff:10.0.0.1"
        )
        assert all(download.is_private(place) for place in private.split())
        assert not any(download.is_private(place) for place in ("1.1.1.1", "2606:4700::1111"))

    def test_a_server_that_drips_is_given_up(self, canary, monkeypatch):
        monkeypatch.setattr(download, "MAX_SECONDS", 0.5)
        canary.pause = 0.05
        canary.answers["/photo.png"] = (200, None, [b"x"] * 1000)
        with pytest.raises(MediaError, match=r"took longer than 0\.5 s"):
            load_picture(f"{canary.url}/photo.png")


class TestWork:
    def test_a_frame_is_measured_as_decoded(self, tmp_path):
        """The stream begins small, and so says its header; later its frames are large."""
        parts = []
        for width, height in ((64, 48), (640, 480)):
            path = tmp_path / f"{width}.ts"
            with av.open(str(path), "w", format="mpegts") as output:
                stream = output.add_stream("libx264", rate=25, options={"g": "1"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for frame in moving(8, width, height):
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                output.mux(stream.encode(None))
            parts.append(path.read_bytes())
        reader = VideoReader(b"".join(parts), work=Work(WorkLimit(megapixels=0.1)))
        assert reader.size == (64, 48)
        with pytest.raises(MediaError, match=r"640 x 480 pixels: the limit is 0\.1 megapixels"):
            list(reader)

    def test_a_frame_that_is_far_too_large_is_not_decoded(self, tmp_path):
        write_mp4(tmp_path / "large.mp4", moving(2, 640, 480), 25)
        with pytest.raises(MediaError, match="640 x 480"):
            VideoReader(tmp_path / "large.mp4", work=Work(WorkLimit(megapixels=0.01)))
        data = (tmp_path / "large.mp4").read_bytes()
        with (
            container.open_container(io.BytesIO(data), "video", "large", WorkLimit(megapixels=0.01)) as opened,
            pytest.raises((av.FFmpegError, ValueError)),
        ):
            list(opened.decode(opened.streams.video[0]))

    def test_frames_times_pixels_have_a_limit(self, tmp_path):
        write_mp4(tmp_path / "long.mp4", moving(40), 25)
        limit = WorkLimit(gigapixels=20 * work_module.MIN_PIXELS / 1e9)
        frames = iter(VideoReader(tmp_path / "long.mp4", work=Work(limit)))
        assert len(list(islice(frames, 15))) == 15
        with pytest.raises(MediaError, match="too much work"):
            list(frames)
        with pytest.raises(MediaError, match="too much work"):
            list(VideoReader(moving(40), work=Work(limit)))

    def test_repeated_frames_are_work_too(self, tmp_path):
        """Two frames, four seconds apart in a file that says 100 frames a second, are 400 frames."""
        path = tmp_path / "pause.mkv"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=100)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for place, frame in zip((0, 1, 2, 400), moving(4), strict=True):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts = place
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
        reader = VideoReader(path, work=Work(WorkLimit(gigapixels=50 * work_module.MIN_PIXELS / 1e9)))
        assert reader.fps > 50
        with pytest.raises(MediaError, match="too much work"):
            list(reader)

    def test_a_job_ends_when_its_time_is_over(self, secret, monkeypatch):
        clock = iter(range(1000))
        monkeypatch.setattr(work_module.time, "monotonic", lambda: next(clock))
        with pytest.raises(MediaError, match="longer than the limit of 3 s"):
            list(VideoReader(moving(20), work=Work(WorkLimit(seconds=3))))
        with pytest.raises(MediaError, match="longer than the limit of 3 s"):
            list(Work(WorkLimit(seconds=3)).timed(range(20)))

    @pytest.mark.parametrize(
        "wrong", [{"seconds": 0}, {"gigapixels": -1}, {"megapixels": None}, {"seconds": float("nan")}]
    )
    def test_a_limit_that_allows_nothing_is_refused(self, wrong):
        with pytest.raises(MediaError, match="above zero"):
            WorkLimit(**wrong)

    def test_a_sound_has_a_longest_length(self, monkeypatch):
        monkeypatch.setattr(sound_module, "MAX_SECONDS", 2)
        with pytest.raises(MediaError, match="lasts longer"):
            list(SoundReader(wav(np.zeros((5 * 8000, 1), np.int16))))

    @pytest.mark.parametrize("channels", [17, 33, 500])
    def test_more_channels_than_can_be_mixed_are_refused_in_one_line(self, channels):
        with pytest.raises(MediaError, match=r"^[^\n]*channels[^\n]*$"):
            SoundReader(wav(np.full((4000, channels), 1000, np.int16))).read()


def wav(samples: np.ndarray) -> bytes:
    """(N, channels) int16 at 8000 samples a second."""
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setnchannels(samples.shape[1])
        output.setsampwidth(2)
        output.setframerate(8000)
        output.writeframes(samples.tobytes())
    return file.getvalue()
