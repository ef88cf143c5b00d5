"""Files as people have them: pauses, damage, odd colours and shapes. What goes in comes out as a player shows it."""

from __future__ import annotations

import gc
import io
import logging
import os
import struct
import sys
from fractions import Fraction
from types import SimpleNamespace

import av
import clips
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from PIL import Image

from superface_hf import MediaError
from superface_hf.media import (
    SoundReader,
    VideoReader,
    Work,
    WorkLimit,
    check_picture_path,
    check_transparent_path,
    check_video_path,
    check_writable,
    destination,
    load_picture,
    save_picture,
    transparent_writer,
    write_mp4,
)
from superface_hf.motion import Motion


@pytest.fixture
def said(caplog):
    """What was said so far."""
    for name in ("superface_hf", "transformers"):
        logging.getLogger(name).propagate = True
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def brightness(frames) -> np.ndarray:
    return np.array([frame.mean() for frame in frames])


class TestTimeStampsAreTheTruth:
    @pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
    @pytest.mark.parametrize("pause", [3, 7, 60])
    def test_a_pause_stands_still_as_long_as_it_was(self, container, pause, said):
        stamps = [*range(15), *range(15 + 25 * pause, 30 + 25 * pause)]
        reader = VideoReader(clips.video(clips.numbered(30), container, stamps=stamps))
        frames = brightness(reader)
        assert reader.fps == pytest.approx(25)
        assert len(frames) == 30 + 25 * pause
        assert frames[15 + 25 * pause // 2] == pytest.approx(20 + 4 * 14, abs=3)
        assert frames[-1] == pytest.approx(20 + 4 * 29, abs=3)
        assert np.allclose(brightness(reader.backwards()), frames[::-1], atol=1)
        (message,) = said()
        assert f"pause for {pause:.1f} s" in message

    def test_a_pause_late_in_the_file_does_not_slow_its_frame_rate(self):
        stamps = [*range(40), *range(2000, 2010)]
        assert VideoReader(clips.video(clips.numbered(50), stamps=stamps)).fps == pytest.approx(25)

    def test_a_broken_stamp_does_not_fill_hours(self):
        stamps = [*range(10), *range(25 * 36000, 25 * 36000 + 10)]
        assert len(list(VideoReader(clips.video(clips.numbered(20), "matroska", stamps=stamps)))) == 20

    @pytest.mark.parametrize(
        ("container", "codec"), [("mp4", "aac"), ("matroska", "aac"), ("mpegts", "aac"), ("webm", "libopus")]
    )
    @pytest.mark.parametrize("lost", [(2.0, 3.0), (2.0, 5.0)])
    def test_lost_packets_are_silence(self, container, codec, lost, said):
        reader = SoundReader(clips.sound(container, codec, 8, lost))
        sound = reader.read()
        assert sound.seconds == pytest.approx(8, abs=0.1)
        middle = sum(lost) / 2
        assert (
            np.abs(sound.samples[round((middle - 0.3) * sound.rate) : round((middle + 0.3) * sound.rate)]).max() < 0.01
        )
        for at in (1.5, 6.5, 7.5):
            assert clips.pitch(sound.samples, sound.rate, at) == pytest.approx(300 + 100 * int(at), abs=5)
        list(reader)
        assert len([message for message in said() if "missing in 1 places" in message]) == 1

    @pytest.mark.parametrize("later", [0.5, 7.0])
    def test_a_sound_that_starts_late_stays_late(self, later):
        sound = SoundReader(clips.sound("matroska", "aac", 3, later=later, pictures=40)).read()
        assert sound.seconds == pytest.approx(3 + later, abs=0.1)
        assert clips.pitch(sound.samples, sound.rate, later + 1.5) == pytest.approx(400, abs=5)


class TestDamage:
    @pytest.mark.parametrize(
        ("container", "codec"),
        [
            ("mp3", "libmp3lame"),
            ("adts", "aac"),
            ("ac3", "ac3"),
            ("flac", "flac"),
            ("ogg", "libopus"),
            ("ogg", "flac"),
            ("ipod", "aac"),
            ("matroska", "aac"),
            ("matroska", "libmp3lame"),
            ("webm", "libopus"),
            ("mpegts", "aac"),
            ("flv", "aac"),
            ("avi", "libmp3lame"),
            ("avi", "ac3"),
        ],
    )
    def test_a_damaged_sound_goes_on_in_its_place(self, container, codec, said):
        data = clips.sound(container, codec)
        whole, reader = SoundReader(data).read(), SoundReader(clips.damaged(data))
        sound = reader.read()
        assert sound.seconds == pytest.approx(whole.seconds, abs=0.12)
        # Where a Matroska file is damaged, FFmpeg goes on at its next cluster, here at 5 s.
        for at in (0.5, 1.5, 5.5) if container in ("matroska", "webm") else (0.5, 1.5, 4.5, 5.5):
            assert clips.pitch(sound.samples, sound.rate, at) == pytest.approx(300 + 100 * int(at), abs=5)
        assert any("lost to damage" in message or "are missing" in message for message in said())
        told = len(said())
        list(reader)
        assert len(said()) == told

    def test_pictures_of_a_damaged_avi_stay_in_their_place(self):
        broken = clips.damaged(clips.video(clips.numbered(50), "avi", "mjpeg", "yuvj420p"), 0.4, 0.1)
        shown = brightness(VideoReader(broken))
        assert len(shown) == 50
        assert shown[-5:] == pytest.approx(brightness(clips.numbered(50)[-5:]), abs=4)

    def test_a_sound_that_is_damaged_at_its_start_is_read(self):
        assert SoundReader(clips.damaged(clips.sound("mp3", "libmp3lame"), 0.02)).read().seconds > 5

    def test_a_sound_that_changes_its_channels_goes_on(self):
        parts = []
        for layout in ("mono", "stereo"):
            file = io.BytesIO()
            with av.open(file, "w", format="adts") as output:
                stream = output.add_stream("aac", rate=48000, layout=layout)
                samples = np.tile(clips.rising(1), (1 if layout == "mono" else 2, 1))
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
                frame.sample_rate = 48000
                for each in (frame, None):
                    output.mux(stream.encode(each))
            parts.append(file.getvalue())
        assert SoundReader(b"".join(parts)).read().seconds == pytest.approx(2, abs=0.15)


class TestFramesThatChangeTheirSize:
    def joined(self, *sizes: tuple[int, int]) -> bytes:
        """Ten frames of each size (height, width), one recording after the other."""
        return b"".join(
            clips.video([clips.portrait(*size)] * 10, "mpegts", options={"g": "1"}, stamps=range(start, start + 10))
            for start, size in zip(range(0, 100, 10), sizes, strict=False)
        )

    def test_they_are_scaled_to_the_first_size(self, tmp_path):
        data = self.joined((96, 96), (144, 144), (48, 48))
        frames = list(VideoReader(data))
        assert len(frames) >= 29
        assert {frame.shape for frame in frames} == {(96, 96, 3)}
        assert np.abs(frames[15].astype(int) - frames[0]).mean() < 8
        assert np.abs(frames[-1].astype(int) - clips.portrait()).mean() < 20  # from half the size
        write_mp4(tmp_path / "out.mp4", VideoReader(data), 25)
        assert [frame.shape for frame in VideoReader(data).backwards()] == [(96, 96, 3)] * len(frames)

    def test_a_turned_phone_is_shown_whole(self):
        last = list(VideoReader(self.joined((64, 96), (96, 64))))[-1]
        assert last.shape == (64, 96, 3)
        assert last[:, :20].max() < 20  # black beside it
        assert last[32, 48].max() > 40

    def test_small_frames_after_a_large_one_are_as_much_work(self):
        limit = WorkLimit(gigapixels=25 * 640 * 480 / 1e9)
        data = self.joined((480, 640), (48, 64), (48, 64))
        with pytest.raises(MediaError, match="too much work"):
            list(VideoReader(data, work=Work(limit)))

    def test_pictures_in_a_list_too(self):
        frames = list(VideoReader([clips.portrait(32, 32), clips.portrait(64, 64)]))
        assert [frame.shape for frame in frames] == [(32, 32, 3)] * 2
        backwards = VideoReader([clips.portrait(32, 32), clips.portrait(64, 64)]).backwards()
        assert [frame.shape for frame in backwards] == [(32, 32, 3)] * 2


class TestWhatCanBeKnownBeforeRendering:
    @pytest.mark.parametrize("length", [230, 240, 250, 255])
    def test_a_name_as_long_as_names_may_be_is_written(self, length, tmp_path):
        path = tmp_path / ("n" * (length - 4) + ".mp4")
        write_mp4(check_video_path(path), clips.numbered(2), 25)
        assert path.stat().st_size > 0
        save_picture(path.with_suffix(".png"), clips.portrait())
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("check", [check_video_path, check_picture_path, check_writable])
    def test_a_longer_one_is_refused_at_once(self, check, tmp_path):
        for path in (tmp_path / ("n" * 252 + ".mp4"), tmp_path / "/".join(["n" * 200] * 25) / "x.mp4"):
            path = path if check is not check_picture_path else path.with_suffix(".png")
            with pytest.raises(MediaError, match="too long"):
                check(path)

    def test_a_home_folder_is_found(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        write_mp4("~/a/clip.mp4", clips.numbered(2), 25)
        save_picture("~/a/photo.png", clips.portrait())
        Motion.from_arkit(np.zeros((1, 52), np.float32), 25).save("~/a/motion.safetensors")
        with transparent_writer("~/a/frames", 25) as writer:
            writer.add(np.zeros((32, 32, 4), np.uint8))
        assert {path.name for path in (tmp_path / "a").iterdir()} == {
            "clip.mp4", "photo.png", "motion.safetensors", "frames",
        }  # fmt: skip
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    @pytest.mark.parametrize("name", ["clip.mp4", "frames", "clip.webm"])
    def test_a_full_disk_and_missing_rights_are_said_before(self, name, tmp_path, monkeypatch):
        check = check_video_path if name.endswith("mp4") else check_transparent_path
        monkeypatch.setattr(destination.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
        with pytest.raises(MediaError, match="only 1 MiB left"):
            check(tmp_path / name)
        monkeypatch.undo()

        def refused(*args, **options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(destination.Path, "write_bytes", refused)
        with pytest.raises(MediaError, match=r"cannot be written to.*Permission denied"):
            check(tmp_path / name)
        assert list(tmp_path.iterdir()) == []

    def test_a_device_is_not_replaced(self, tmp_path):
        os.mkfifo(tmp_path / "clip.mp4")
        with pytest.raises(MediaError, match="no file"):
            check_video_path(tmp_path / "clip.mp4")


TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])


def light(picture: np.ndarray) -> np.ndarray:
    value = picture / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def pq(nits: np.ndarray) -> np.ndarray:
    root = np.clip(nits / 10000, 0, 1) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375


def hlg(nits: np.ndarray) -> np.ndarray:
    display = nits / 1000
    luminance = display @ np.array([0.2627, 0.678, 0.0593])
    scene = display * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
    above = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * np.maximum(scene, 0)), above)


def first(data: bytes) -> np.ndarray:
    return next(iter(VideoReader(data)))


class TestColours:
    @pytest.mark.parametrize(("curve", "transfer"), [(pq, 16), (hlg, 18)], ids=["PQ", "HLG"])
    def test_hdr_looks_as_on_an_ordinary_screen(self, curve, transfer):
        """The portrait, its white at 203 nits (BT.2408): below paper white nothing changes but a soft shoulder."""
        shown = clips.portrait()
        values = np.round(np.clip(curve(light(shown) @ TO_BT2020.T * 203), 0, 1) * 65535).astype(np.uint16)
        back = first(
            clips.video(
                [values] * 2, "mov", "prores_ks", "yuv422p10le", matrix=Colorspace.BT2020, tags=(9, 9, transfer)
            )
        ).astype(int)
        dark = shown.max(-1) < 170
        assert np.abs(back - shown)[dark].mean() < 4
        assert np.abs(back - shown).mean() < 8
        # A light ten times as bright as paper is white, and not grey.
        bright = np.full((64, 64, 3), np.round(curve(np.full(3, 1000.0)) * 65535), np.uint16)
        made = clips.video(
            [bright] * 2, "matroska", "ffv1", "yuv444p16le", matrix=Colorspace.BT2020, tags=(9, 9, transfer)
        )
        assert first(made).min() >= 250

    @pytest.mark.parametrize(("primaries", "conversion"), [(12, TO_P3), (9, TO_BT2020)], ids=["P3", "BT.2020"])
    def test_wide_gamut_is_not_pale(self, primaries, conversion):
        shown = clips.portrait()
        wide = np.clip(light(shown) @ conversion.T, 0, 1)
        values = np.where(wide <= 0.0031308, wide * 12.92, 1.055 * wide ** (1 / 2.4) - 0.055)
        made = clips.video(
            [np.round(values * 65535).astype(np.uint16)] * 2, "matroska", "ffv1", "yuv444p10le", tags=(1, primaries, 1)
        )
        assert np.abs(first(made).astype(int) - shown).mean() < 1.5

    @pytest.mark.parametrize("full_range", [False, True])
    @pytest.mark.parametrize(
        ("matrix", "tag"),
        [(Colorspace.ITU709, 1), (Colorspace.ITU601, 6), (Colorspace.BT2020, 9), (Colorspace.SMPTE240M, 7)],
    )
    def test_matrix_and_range_are_those_of_the_file(self, matrix, tag, full_range):
        shown = clips.portrait()
        made = clips.video(
            [shown] * 2, "matroska", "ffv1", "yuv444p", matrix=matrix, tags=(tag, 1, 1), full_range=full_range
        )
        assert np.abs(first(made).astype(int) - shown).mean() < 1.5

    def test_what_is_not_read_is_refused_with_what_to_do(self):
        for tags, what in (((8, 1, 1), "YCgCo"), ((1, 1, 9), "logarithmic"), ((14, 9, 16), "ICtCp")):
            with pytest.raises(MediaError, match=f"{what}.*Convert"):
                first(clips.video([clips.portrait()] * 2, "matroska", "ffv1", "yuv444p", tags=tags))

    def test_dolby_vision_that_nothing_else_can_show_is_refused(self):
        made = clips.video([clips.portrait()] * 2, "mp4", tags=(2, 2, 2))
        assert b"avc1" in made
        with pytest.raises(MediaError, match=r"Dolby Vision.*Convert"):
            first(made.replace(b"avc1", b"dva1"))

    @pytest.mark.parametrize(
        ("container", "codec", "pixels"),
        [("mov", "qtrle", "argb"), ("mov", "prores_ks", "yuva444p10le"), ("webm", "libvpx-vp9", "yuva420p"),
         ("webm", "libvpx", "yuva420p"), ("matroska", "ffv1", "yuva420p"), ("mov", "png", "rgba")],
    )  # fmt: skip
    def test_transparent_places_are_white(self, container, codec, pixels):
        frame = np.dstack([clips.portrait(), np.zeros((96, 96), np.uint8)])
        frame[:48, :, 3], frame[:48, :48, :3] = 255, (200, 30, 40)
        frame[48:, :, :3] = 0
        options = {"auto-alt-ref": "0", "crf": "4", "b": "1M"} if codec.startswith("libvpx") else {}
        # VP8 knows no other matrix than BT.601's.
        matrix, tag = (Colorspace.ITU601, 6) if codec == "libvpx" else (Colorspace.ITU709, 1)
        made = clips.video([frame] * 3, container, codec, pixels, options=options, matrix=matrix, tags=(tag, 1, 1))
        back = first(made).astype(int)
        assert back[60:].min() > 245
        assert np.abs(back[10:40, 10:40] - (200, 30, 40)).max() < 12

    def test_transparent_places_of_a_gif_are_white(self):
        picture = Image.new("P", (64, 64), 0)
        picture.putpalette([0, 0, 0, 200, 30, 40])
        picture.paste(1, (0, 0, 32, 64))
        other = picture.copy()
        other.paste(1, (0, 0, 40, 64))
        file = io.BytesIO()
        picture.save(file, "GIF", save_all=True, append_images=[other], transparency=0, disposal=2, duration=100)
        back = first(file.getvalue())
        assert back[5, 60].tolist() == [255, 255, 255]
        assert back[5, 5].tolist() == [200, 30, 40]


def with_matrix(data: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """An mp4 with another display matrix (ISO 14496-12's track header, version 0)."""
    result = bytearray(data)
    place = result.index(b"tkhd") + 4 + 40
    result[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return bytes(result)


class TestShapes:
    @pytest.mark.parametrize(
        ("matrix", "expected"),
        [
            ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
            ((1, 0, 0, -1), lambda p: p[::-1]),
            ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
            ((0, -1, -1, 0), lambda p: p.transpose(1, 0, 2)[::-1, ::-1]),
            ((0, 1, -1, 0), lambda p: np.rot90(p, 3)),
            ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
        ],
        ids=["mirrored", "upside down mirrored", "transposed", "transverse", "turned", "half turn"],
    )
    def test_mirrored_and_turned_videos_are_as_players_show_them(self, matrix, expected):
        shown = clips.portrait(64, 96)
        back = first(with_matrix(clips.video([shown] * 2), *matrix)).astype(int)
        assert back.shape == expected(shown).shape
        assert np.abs(back - expected(shown)).mean() < 8

    def test_frames_do_not_wait_for_the_garbage_collector(self):
        video = VideoReader(clips.video([clips.portrait()] * 40))
        gc.collect()
        gc.disable()
        try:
            assert sum(1 for _ in video) == 40
            assert sum(type(each) is av.VideoFrame for each in gc.get_objects()) < 10
        finally:
            gc.enable()

    @pytest.mark.parametrize(
        ("aspect", "size"), [(Fraction(2), (96, 192)), (Fraction(1, 2), (192, 96)), (Fraction(16, 11), (96, 140))]
    )
    def test_pixels_become_square(self, aspect, size):
        for container in ("mp4", "matroska", "mpegts"):
            reader = VideoReader(clips.video([clips.portrait()] * 2, container, aspect=aspect))
            frame = next(iter(reader))
            assert frame.shape[:2] == size
            assert reader.size == size[::-1]
            assert np.abs(frame.astype(int) - clips.portrait(*size)).mean() < 10

    def test_absurd_pixels_are_ignored(self):
        assert first(clips.video([clips.portrait()] * 2, aspect=Fraction(1000))).shape == (96, 96, 3)

    @pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
    def test_interlaced_video_has_no_combs(self, codec):
        """A bar that moves 8 pixels from one field to the next."""

        def at(field: int) -> np.ndarray:
            picture = np.full((96, 128, 3), 40, np.uint8)
            picture[:, 8 * field : 8 * field + 24] = 220
            return picture

        woven = []
        for index in range(5):
            frame = at(2 * index)
            frame[1::2] = at(2 * index + 1)[1::2]
            woven.append(frame)
        options = (
            {"x264-params": "interlaced=1:tff=1", "crf": "4"} if codec == "libx264"
            else {"flags": "+ildct+ilme", "b": "20M", "alternate_scan": "1"}
        )  # fmt: skip
        reader = VideoReader(clips.video(woven, "mpegts", codec, options=options))
        frames = [frame.astype(int)[..., 0] for frame in reader]
        assert len(frames) == 5
        for frame in frames[1:-1]:
            combs = (frame[1:-1] - frame[:-2]) * (frame[1:-1] - frame[2:])
            assert (combs > 60**2).mean() < 0.005
        assert len(list(reader.backwards())) == 5

    def test_progressive_video_is_left_as_it_is(self):
        stripes = (
            np.repeat(np.where(np.arange(96) % 2, 200, 60)[:, None], 96, 1)[..., None].repeat(3, 2).astype(np.uint8)
        )
        back = first(clips.video([stripes] * 3, "matroska", "ffv1", "yuv444p"))
        assert np.abs(back.astype(int) - stripes).max() <= 3


class TestOtherFormats:
    def animated(self, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        frames = [Image.fromarray(frame) for frame in clips.numbered(6)]
        frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
        return file.getvalue()

    @pytest.mark.parametrize("kind", ["WEBP", "PNG", "AVIF", "GIF"])
    def test_animated_pictures_are_videos(self, kind, tmp_path):
        data = self.animated(kind, duration=100, **({"lossless": True} if kind == "WEBP" else {}))
        (tmp_path / "moving").write_bytes(data)
        for source in (data, tmp_path / "moving", io.BytesIO(data)):
            reader = VideoReader(source)
            frames = brightness(reader)
            assert reader.fps == pytest.approx(10)
            assert np.allclose(frames, [20 + 4 * index for index in range(6)], atol=6)
            assert np.allclose(brightness(reader.backwards()), frames[::-1])
            assert reader.sound() is None

    def test_an_animation_keeps_its_times(self):
        frames = brightness(VideoReader(self.animated("WEBP", duration=[100, 100, 700, 100, 100, 100], lossless=True)))
        assert len(frames) == 12
        assert (np.abs(frames - 28) < 3).mean() == pytest.approx(7 / 12, abs=0.1)

    def test_a_still_picture_is_no_video(self):
        file = io.BytesIO()
        Image.fromarray(clips.portrait()).save(file, "WEBP")
        with pytest.raises(MediaError, match="not a video"):
            VideoReader(file.getvalue())

    def test_an_incomplete_mp4_says_so(self, tmp_path, said):
        write_mp4(tmp_path / "clip.mp4", clips.numbered(40), 25, clips.rising(2), clips.RATE)
        data = (tmp_path / "clip.mp4").read_bytes()
        # The index comes first here: what is there is read, and it is said that this is not all.
        reader = VideoReader(data[: len(data) * 7 // 10])
        assert 5 < len(list(reader)) < 40
        assert any("is incomplete" in message for message in said())
        with_index_last = clips.video(clips.numbered(40))
        for read in (VideoReader, SoundReader):
            with pytest.raises(MediaError, match="incomplete"):
                read(with_index_last[: len(with_index_last) * 7 // 10])

    @pytest.mark.parametrize(("container", "codec"), [("wav", "pcm_s16le"), ("matroska", "aac")])
    def test_other_incomplete_files_say_so(self, container, codec, said):
        data = clips.sound(container, codec)
        assert SoundReader(data).read().seconds == pytest.approx(6, abs=0.1)
        assert said() == []
        assert SoundReader(data[: len(data) // 2]).read().seconds == pytest.approx(3, abs=0.5)
        assert any("is incomplete" in message for message in said())

    @pytest.mark.parametrize(
        ("start", "kind"),
        [(b"SDPX\0\0\x20\0", "DPX"), (b"XPDS", "DPX"), (b"\x76\x2f\x31\x01\x02", "OpenEXR"), (b"8BPS\0\1", "Photoshop"),
         (b"#?RADIANCE\n", "Radiance"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x18ftypcrx ", "raw")],
    )  # fmt: skip
    def test_other_pictures_are_refused_with_what_to_do(self, start, kind):
        for read in (load_picture, VideoReader):
            with pytest.raises(MediaError, match=f"{kind}.*PNG or JPEG"):
                read(start + bytes(4000))

    HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(4000)

    def test_a_heic_photograph_names_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pillow_heif", None)  # importing it would fail
        with pytest.raises(MediaError, match="pillow-heif"):
            load_picture(self.HEIC)
        with pytest.raises(MediaError, match="HEIC"):
            VideoReader(self.HEIC)

    def test_a_heic_photograph_is_read_where_the_package_is(self, monkeypatch):
        """Stands in for the package: its plugin is told to Pillow, and gives the portrait."""

        def register() -> None:
            Image.register_open(
                "HEIF", lambda file, name: Image.fromarray(clips.portrait()), lambda start: b"heic" in start
            )

        monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
        monkeypatch.setattr(Image, "ID", list(Image.ID))
        monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
        assert np.array_equal(load_picture(self.HEIC), clips.portrait())
