"""Pictures, video and sound go in and out as promised."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from superface_hf import MediaError
from superface_hf.media import VideoReader, download, load_picture, save_picture, write_mp4

RED, GREEN = (200, 30, 40), (30, 200, 60)


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth picture whose four corners differ: 48 x 64."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 4, y * 5, 255 - x * 2 - y * 2], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def served(tmp_path):
    """The test's folder, served over HTTP."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class TestPictures:
    def test_every_kind_of_input_gives_the_same_picture(self, picture, tmp_path, served):
        path = tmp_path / "photo one.png"
        Image.fromarray(picture).save(path)
        data = path.read_bytes()
        for source in (path, str(path), data, bytearray(data), io.BytesIO(data), Image.fromarray(picture), picture):
            assert np.array_equal(load_picture(source), picture)
        assert np.array_equal(load_picture(f"{served}/photo%20one.png"), picture)

    @pytest.mark.parametrize(
        ("convert", "tolerance"),
        [
            (lambda p: p.astype(np.float32) / 255, 0),
            (lambda p: p.astype(np.float64) / 255, 0),
            (lambda p: p.astype(np.uint16) * 257, 0),
            (lambda p: p.astype(np.int64), 0),
            (lambda p: np.dstack([p, np.full(p.shape[:2], 255, np.uint8)]), 0),
        ],
        ids=["float32", "float64", "16-bit", "int64", "opaque alpha"],
    )
    def test_arrays_of_any_depth_keep_their_colours(self, picture, convert, tolerance):
        assert np.abs(load_picture(convert(picture)).astype(int) - picture).max() <= tolerance

    def test_grey_becomes_rgb(self, picture):
        grey = picture[..., 0]
        expected = np.repeat(grey[..., None], 3, axis=2)
        for source in (grey, grey[..., None], Image.fromarray(grey), encoded(Image.fromarray(grey))):
            assert np.array_equal(load_picture(source), expected)

    def test_sixteen_bit_png_keeps_its_brightness(self, picture):
        grey = picture[..., 0].astype(np.uint16) * 257
        assert np.array_equal(load_picture(encoded(Image.fromarray(grey)))[..., 0], picture[..., 0])

    @pytest.mark.parametrize(
        ("dtype", "white"),
        [(np.float32, 1), (np.float32, 255), (np.float32, 65535), (np.int32, 255), (np.int32, 65535)],
    )
    def test_a_tiff_keeps_its_brightness_whatever_its_white_is(self, picture, dtype, white):
        grey = (picture[..., 0] / 255 * white).astype(dtype)
        loaded = load_picture(encoded(Image.fromarray(grey), "TIFF"))
        assert np.abs(loaded[..., 0].astype(int) - picture[..., 0]).max() <= 1

    def test_transparent_places_become_white(self):
        layers = np.zeros((20, 20, 4), np.uint8)
        layers[10:, :, :] = (*RED, 255)
        for source in (layers, encoded(Image.fromarray(layers)), encoded(Image.fromarray(layers).quantize(), "PNG")):
            loaded = load_picture(source)
            assert (loaded[0, 0] == 255).all()
            assert np.abs(loaded[15, 5].astype(int) - RED).max() <= 2

    @pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "P", "1", "LA", "L"])
    def test_every_colour_mode_becomes_rgb(self, picture, mode):
        assert load_picture(Image.fromarray(picture).convert(mode)).shape == picture.shape

    def test_premultiplied_grey_becomes_rgb(self, picture):
        grey = Image.fromarray(picture).convert("L")
        premultiplied = grey.convert("LA").convert("La")
        assert np.array_equal(load_picture(premultiplied), load_picture(grey))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_turned_upright(self, orientation):
        upright = np.zeros((32, 64, 3), np.uint8)
        upright[:16, :32] = RED
        undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
        stored = Image.fromarray(upright)
        stored = stored if undo is None else stored.transpose(Image.Transpose(undo))
        exif = Image.Exif()
        exif[0x0112] = orientation
        loaded = load_picture(encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0))
        assert loaded.shape == upright.shape
        assert np.abs(loaded.astype(int) - upright).mean() < 5

    def test_an_animation_gives_its_first_frame(self):
        first, second = (Image.new("RGB", (20, 20), colour) for colour in (RED, GREEN))
        data = encoded(first, "GIF", save_all=True, append_images=[second])
        assert np.abs(load_picture(data)[5, 5].astype(int) - RED).max() <= 3

    def test_saved_pictures_come_back(self, picture, tmp_path):
        save_picture(tmp_path / "new" / "out.png", picture)
        assert np.array_equal(load_picture(tmp_path / "new" / "out.png"), picture)


class TestUnusablePictures:
    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("no_such_file.jpg", "no file"),
            (b"", "empty"),
            (b"this is text, not a picture", "not a picture"),
            (12, "cannot be read"),
            (None, "cannot be read"),
            (np.zeros((4, 4, 3), np.uint8), "at least 16"),
            (np.zeros((1, 1, 3), np.uint8), "at least 16"),
            (np.zeros((64, 64, 5), np.uint8), "shape"),
            (np.zeros((0, 64, 3), np.uint8), "shape"),
            (np.full((64, 64, 3), np.nan), "NaN"),
            (Image.fromarray(np.full((64, 64), np.nan, np.float32)), "NaN"),
            ("data:image/png;base64," + "A" * 9000, "A… (9022 characters) cannot be opened"),
            (np.full((64, 64, 3), 130.0), "[0, 1]"),
            (np.full((64, 64, 3), 1000), "0..255"),
            (np.full((64, 64, 3), "x"), "not supported"),
            ("http://127.0.0.1:9/nothing.jpg", "cannot be fetched"),
        ],
    )
    def test_one_clear_error(self, source, says):
        with pytest.raises(MediaError) as raised:
            load_picture(source)
        assert says in str(raised.value)

    def test_a_folder_and_an_empty_file_are_named(self, tmp_path):
        (tmp_path / "empty.jpg").touch()
        for path in (tmp_path, tmp_path / "empty.jpg"):
            with pytest.raises(MediaError, match=path.name):
                load_picture(path)

    def test_a_cut_off_file_is_damaged(self, picture):
        noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
        data = encoded(Image.fromarray(noise), "JPEG")
        with pytest.raises(MediaError, match="damaged"):
            load_picture(data[: len(data) // 2])

    @pytest.mark.parametrize("side", [12_000, 9_000, 20_000])
    def test_a_huge_picture_is_refused_before_it_is_decoded(self, side):
        data = encoded(Image.new("1", (side, side)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(MediaError, match="64 megapixels"):
                load_picture(data)

    def test_a_download_over_the_limit_is_cut_off(self, served, tmp_path, monkeypatch):
        (tmp_path / "big.jpg").write_bytes(bytes(3000))
        monkeypatch.setattr(download, "MAX_BYTES", 2000)
        monkeypatch.setattr(download, "CHUNK", 500)
        with pytest.raises(MediaError, match="larger than"):
            load_picture(f"{served}/big.jpg")

    def test_a_missing_address_says_so(self, served):
        with pytest.raises(MediaError, match="404"):
            load_picture(f"{served}/missing.jpg")

    def test_an_unknown_suffix_is_refused_when_saving(self, picture, tmp_path):
        with pytest.raises(MediaError, match=r"\.png"):
            save_picture(tmp_path / "out.xyz", picture)


def moving(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames whose brightness tells their number."""
    return np.stack([np.full((height, width, 3), 20 + 8 * index, np.uint8) for index in range(frames)])


def tone(seconds: float, rate: int = 16000) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


class TestVideo:
    @pytest.mark.parametrize("fps", [10, 24, 25, 29.97, 30, 59.94])
    def test_frames_and_rate_survive_a_round_trip(self, tmp_path, fps):
        frames = moving(12)
        write_mp4(tmp_path / "clip.mp4", frames, fps)
        reader = VideoReader(tmp_path / "clip.mp4")
        back = np.stack(list(reader))
        assert reader.fps == pytest.approx(fps, abs=0.01)
        assert back.shape == frames.shape
        assert np.abs(back.astype(int) - frames).max() <= 2

    @pytest.mark.parametrize("colour", [RED, GREEN, (20, 40, 220), (224, 172, 140), (90, 60, 45), (255,) * 3, (0,) * 3])
    @pytest.mark.parametrize("size", [(64, 64), (720, 1280)])
    def test_colours_survive_a_round_trip(self, tmp_path, colour, size):
        frame = np.full((*size, 3), colour, np.uint8)
        write_mp4(tmp_path / "clip.mp4", [frame] * 2, 25)
        back = next(iter(VideoReader(tmp_path / "clip.mp4")))
        assert np.abs(back.astype(int) - colour).max() <= 3

    def test_the_file_says_which_colours_it_has(self, tmp_path):
        write_mp4(tmp_path / "clip.mp4", moving(2), 25)
        with av.open(str(tmp_path / "clip.mp4")) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            assert stream.codec.name == "h264"
            assert context.pix_fmt == "yuv420p"
            assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)

    def test_odd_sizes_keep_every_pixel(self, tmp_path):
        write_mp4(tmp_path / "clip.mp4", moving(3, 47, 33), 25)
        assert next(iter(VideoReader(tmp_path / "clip.mp4"))).shape == (48, 34, 3)

    @pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 12345])
    def test_sound_is_carried_and_cut_to_the_picture(self, tmp_path, rate):
        write_mp4(tmp_path / "clip.mp4", moving(25), 25, tone(3.0, rate), rate)
        sound = VideoReader(tmp_path / "clip.mp4").sound()
        assert sound is not None
        assert len(sound.samples) / sound.rate == pytest.approx(1.0, abs=0.15)
        middle = sound.samples[len(sound.samples) // 4 : -len(sound.samples) // 4]
        # Of a tone AAC keeps the strength, but not each peak.
        assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.4, abs=0.02)
        strongest = np.abs(np.fft.rfft(sound.samples)).argmax() * sound.rate / len(sound.samples)
        assert strongest == pytest.approx(440, abs=3)

    def test_stereo_stays_stereo(self, tmp_path):
        both = np.stack([tone(1.0), np.zeros(16000, np.float32)], axis=1)
        write_mp4(tmp_path / "clip.mp4", moving(25), 25, both, 16000)
        sound = VideoReader(tmp_path / "clip.mp4").sound()
        assert sound is not None
        assert sound.samples.shape[1] == 2
        assert np.abs(sound.samples[:, 0]).max() > 10 * np.abs(sound.samples[:, 1]).max()

    def test_a_video_without_sound_has_none(self, tmp_path):
        write_mp4(tmp_path / "clip.mp4", moving(2), 25)
        assert VideoReader(tmp_path / "clip.mp4").sound() is None

    def test_bytes_lists_and_arrays_are_videos_too(self, tmp_path):
        frames = moving(5)
        write_mp4(tmp_path / "clip.mp4", frames, 25)
        for source in ((tmp_path / "clip.mp4").read_bytes(), str(tmp_path / "clip.mp4"), frames, list(frames)):
            assert len(list(VideoReader(source))) == 5
        assert VideoReader(frames, fps=12.5).fps == 12.5

    def test_a_reader_can_be_read_twice(self, tmp_path):
        write_mp4(tmp_path / "clip.mp4", moving(4), 25)
        reader = VideoReader((tmp_path / "clip.mp4").read_bytes())
        assert len(list(reader)) == len(list(reader)) == 4

    @pytest.mark.parametrize(
        ("matrix", "turns"),
        [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
        ids=["90 clockwise", "180", "90 counterclockwise"],
    )
    def test_the_rotation_that_phones_write_is_applied(self, tmp_path, matrix, turns):
        stored = np.zeros((48, 64, 3), np.uint8)
        stored[:24, :32] = 255
        write_mp4(tmp_path / "clip.mp4", [stored] * 2, 25)
        data = bytearray((tmp_path / "clip.mp4").read_bytes())
        a, b, c, d = (value << 16 for value in matrix)
        place = data.index(b"tkhd") + 4 + 40  # the display matrix of ISO 14496-12's track header, version 0
        data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        assert np.abs(next(iter(VideoReader(bytes(data)))).astype(int) - np.rot90(stored, turns)).mean() < 5

    def test_a_varying_frame_rate_keeps_the_clock(self, tmp_path):
        """Half of the clip at 10 frames a second, half at 30: sound would drift if frames were only counted."""
        path = tmp_path / "clip.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 30)
            times = [*range(0, 30, 3), *range(30, 60)]
            for time, frame in zip(times, moving(1).repeat(len(times), 0), strict=True):
                picture = av.VideoFrame.from_ndarray(np.clip(frame + 3 * time, 0, 255).astype(np.uint8), format="rgb24")
                picture.pts = time
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        reader = VideoReader(path)
        brightness = np.array([frame.mean() for frame in reader])
        assert len(brightness) / reader.fps == pytest.approx(2.0, abs=0.1)
        half = brightness[len(brightness) // 2]
        assert half == pytest.approx(20 + 3 * 30, abs=10)


class TestUnusableVideos:
    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("no_such_file.mp4", "no file"),
            (b"", "empty"),
            (b"nothing like a video" * 50, "not a video"),
            ([], "no frames"),
            (np.zeros((0, 64, 64, 3), np.uint8), "no frames"),
            (np.zeros((64, 64, 3), np.uint8), "shape"),
            (3.5, "cannot be read"),
        ],
    )
    def test_one_clear_error(self, source, says):
        with pytest.raises(MediaError, match=says):
            list(VideoReader(source))

    def test_sound_alone_is_no_video(self, tmp_path):
        with av.open(str(tmp_path / "sound.mp4"), "w") as container:
            stream = container.add_stream("aac", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(tone(1.0)[None], format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with pytest.raises(MediaError, match="no video track"):
            VideoReader(tmp_path / "sound.mp4")

    def test_a_cut_off_file_fails_clearly(self, tmp_path):
        write_mp4(tmp_path / "clip.mp4", moving(25), 25)
        data = (tmp_path / "clip.mp4").read_bytes()
        for part in (data[:200], data[len(data) // 2 :]):
            with pytest.raises(MediaError):
                list(VideoReader(part))

    def test_damage_in_the_middle_does_not_end_the_video(self, tmp_path):
        frames = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8)
        write_mp4(tmp_path / "clip.mp4", frames, 25)
        data = bytearray((tmp_path / "clip.mp4").read_bytes())
        middle = len(data) * 6 // 10
        data[middle : middle + 400] = bytes(400)
        assert 10 <= len(list(VideoReader(bytes(data)))) <= 20


class TestNothingHalfWrittenRemains:
    def test_an_error_while_rendering_leaves_the_folder_as_it_was(self, tmp_path):
        (tmp_path / "clip.mp4").write_bytes(b"what was there before")

        def breaking():
            yield from moving(3)
            raise RuntimeError("the renderer broke")

        with pytest.raises(RuntimeError, match="the renderer broke"):
            write_mp4(tmp_path / "clip.mp4", breaking(), 25, tone(1.0), 16000)
        assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
        assert (tmp_path / "clip.mp4").read_bytes() == b"what was there before"

    @pytest.mark.parametrize(
        "frames", [[], [np.zeros((8, 8, 3))], [np.zeros((8, 8), np.uint8)], [*moving(1), moving(1, 20)[0]]]
    )
    def test_unusable_frames_leave_nothing(self, tmp_path, frames):
        with pytest.raises(MediaError):
            write_mp4(tmp_path / "clip.mp4", frames, 25)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("name", "fps"), [("clip.xyz", 25), ("clip.mp4", 0), ("clip.mp4", float("nan"))])
    def test_unusable_targets_leave_nothing(self, tmp_path, name, fps):
        with pytest.raises(MediaError):
            write_mp4(tmp_path / name, moving(2), fps)
        assert list(tmp_path.iterdir()) == []

    def test_sound_with_nan_is_refused(self, tmp_path):
        with pytest.raises(MediaError, match="finite"):
            write_mp4(tmp_path / "clip.mp4", moving(2), 25, np.full(100, np.nan), 16000)

    def test_missing_folders_are_made(self, tmp_path):
        write_mp4(tmp_path / "a" / "b" / "clip.mp4", moving(2), 25)
        assert Path(tmp_path / "a" / "b" / "clip.mp4").stat().st_size > 0
