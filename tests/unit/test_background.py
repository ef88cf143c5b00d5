"""What may stand behind the person, and what transparent clips are written as."""

from __future__ import annotations

import av
import numpy as np
import pytest
from conftest import frames_of, swaying

from superface_hf.errors import MediaError
from superface_hf.layers.background import Background, covering
from superface_hf.media import VideoReader, load_picture
from superface_hf.media.inspection import inspect_file
from superface_hf.media.transparent import check_transparent_path

CORNER = (slice(0, 20), slice(0, 20))  # nobody is there


def test_a_colour_stands_behind_the_person(quick_pipe, scene):
    plain = quick_pipe(scene, motion=swaying(2))
    for background, colour in (("#204060", (32, 64, 96)), ("white", (255, 255, 255)), ((1, 2, 3), (1, 2, 3))):
        clip = quick_pipe(scene, motion=swaying(2), background=background)
        assert (clip.frames[(slice(None), *CORNER)] == colour).all()
        assert np.abs(clip.frames[:, 120:150, 150:170].astype(int) - plain.frames[:, 120:150, 150:170]).max() <= 1


def test_a_picture_covers_and_a_video_goes_on_from_its_start(quick_pipe, scene):
    green = np.zeros((50, 90, 3), np.uint8) + np.uint8([0, 200, 0])
    assert (quick_pipe(scene, motion=swaying(2), background=green).frames[0][CORNER] == (0, 200, 0)).all()
    numbered = np.zeros((3, 24, 32, 3), np.uint8) + np.uint8([0, 80, 160])[:, None, None, None]
    frames = quick_pipe(scene, motion=swaying(5), background=numbered).frames
    assert frames[:, 0, 0, 0].tolist() == [0, 80, 160, 0, 80]
    half = quick_pipe(scene, motion=swaying(4, 12.5), background=numbered, batch_size=3).frames
    assert half[:, 0, 0, 0].tolist() == [0, 160, 80, 0]


def test_the_blurred_background_shows_nothing_of_the_person(quick_pipe, scene):
    frames = quick_pipe(scene, motion=swaying(2), background="blur").frames.astype(int)
    corner = scene[CORNER].astype(int)
    assert np.abs(np.diff(frames[0][CORNER], axis=0)).mean() < np.abs(np.diff(corner, axis=0)).mean()
    assert np.abs(frames[0][CORNER].mean((0, 1)) - corner.mean((0, 1))).max() < 25


def test_a_transparent_clip_over_its_plate_is_the_clip(quick_pipe, scene):
    plain, clip = (quick_pipe(scene, motion=swaying(2), background=each) for each in (None, "transparent"))
    assert clip.alpha.shape == clip.frames.shape[:3]
    assert (clip.alpha[(slice(None), *CORNER)] == 0).all()
    plate = quick_pipe.ready(quick_pipe.preprocess(scene)).plate
    share = clip.alpha[..., None] / 255
    assert np.abs(share * clip.frames + (1 - share) * plate - plain.frames)[:, 90:].mean() < 1.5
    assert plain.alpha is None


def test_streams_may_be_transparent(quick_pipe, scene):
    assert next(quick_pipe.stream(scene, motion=swaying(2), background="transparent")).shape == (*scene.shape[:2], 4)


@pytest.mark.parametrize(("name", "codec"), [("out.webm", "vp9"), ("out.mov", "prores")])
def test_transparent_videos_keep_alpha_sound_and_mark(quick_pipe, scene, tmp_path, name, codec):
    clip = quick_pipe(scene, motion=swaying(4), background="transparent")
    tone = 0.3 * np.sin(np.arange(2560) / 5).astype(np.float32)
    clip = type(clip)(clip.frames, clip.fps, clip.motion, tone, 16000, alpha=clip.alpha)
    clip.save(tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec
        assert len(container.streams.audio) == 1
        if codec == "vp9":  # FFmpeg's own decoder leaves alpha out
            context = av.CodecContext.create("libvpx-vp9", "r")
            frames = [frame for packet in container.demux(stream) for frame in context.decode(packet)]
        else:
            frames = list(container.decode(stream))
        alpha = np.stack([frame.to_ndarray(format="rgba")[..., 3] for frame in frames])
    assert alpha.shape == clip.alpha.shape
    assert np.abs(alpha.astype(int) - clip.alpha).mean() < 3
    assert inspect_file(tmp_path / name).ours


def test_a_folder_takes_pictures(quick_pipe, scene, tmp_path):
    quick_pipe.write(tmp_path / "frames", scene, motion=swaying(3), background="transparent")
    files = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert files == ["00000.png", "00001.png", "00002.png"]
    assert inspect_file(tmp_path / "frames" / "00000.png").ours
    assert (load_picture(tmp_path / "frames" / "00000.png")[CORNER] == 255).all()
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    from superface_hf.media import transparent_writer

    def interrupted() -> None:
        with transparent_writer(tmp_path / "frames", 25) as writer:
            writer.add(np.zeros((20, 20, 4), np.uint8))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["out.mp4", "out.gif", "out.png"])
def test_what_cannot_be_transparent_is_refused_before_any_work(quick_pipe, tracker, scene, tmp_path, path):
    with pytest.raises(MediaError, match="folder"):
        quick_pipe.write(tmp_path / path, scene, video=frames_of(3), background="transparent")
    assert tracker.frames_read == 0


def test_a_missing_codec_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"libx264"})
    with pytest.raises(MediaError, match="libvpx-vp9"):
        check_transparent_path(tmp_path / "out.webm")


@pytest.mark.parametrize("background", ["no-such-file.jpg", "no-such-file.mp4", (1, 2, 300), 5])
def test_an_unusable_background_is_a_media_error(quick_pipe, scene, background):
    with pytest.raises(MediaError):
        quick_pipe(scene, motion=swaying(2), background=background)


def test_a_dubbed_video_keeps_its_background(quick_pipe):
    with pytest.raises(MediaError, match="background"):
        quick_pipe(video=frames_of(3), audio=np.zeros(1600, np.float32), sampling_rate=16000, background="blur")


def test_a_background_is_cut_and_never_stretched():
    y, x = np.mgrid[0:40, 0:40]
    round_thing = np.repeat((255 * (np.hypot(x - 19.5, y - 19.5) < 15)).astype(np.uint8)[..., None], 3, axis=2)
    covered = covering(round_thing, (60, 100))[..., 0] > 127
    assert covered.shape == (60, 100)
    assert np.ptp(np.flatnonzero(covered.any(0))) == pytest.approx(75, abs=3)
    assert (next(Background("black").frames(np.zeros((4, 6, 3), np.uint8), 25)) == 0).all()


def test_a_video_reader_is_a_background_too(quick_pipe, scene):
    reader = VideoReader([np.full((24, 32, 3), 90, np.uint8)] * 2, 25)
    assert (quick_pipe(scene, motion=swaying(2), background=reader).frames[1][CORNER] == 90).all()
