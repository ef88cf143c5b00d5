"""What the talking-face pipeline promises, on a scene that is fully known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import FACE_SIZE, HEIGHT, WIDTH, frames_of, swaying
from PIL import Image
from transformers import AutoModel, pipeline

from superface_hf import (
    MediaError,
    Motion,
    MotionError,
    NoFaceError,
    SeveralFacesError,
    SuperFaceError,
    TalkingFaceClip,
    UnknownNameError,
)
from superface_hf.animation.retargeting import resampled
from superface_hf.media import VideoReader, write_mp4
from superface_hf.models.tracker.base import Face


class TestTheClip:
    def test_it_has_the_pictures_size_and_the_drivers_length_and_rate(self, quick_pipe, scene):
        clip = quick_pipe(scene, motion=swaying(7, 12.5))
        assert isinstance(clip, TalkingFaceClip)
        assert clip.frames.shape == (7, *scene.shape)
        assert clip.frames.dtype == np.uint8
        assert (clip.fps, len(clip), len(clip.motion)) == (12.5, 7, 7)
        assert clip.audio is None
        assert clip.missing == []

    def test_it_moves(self, quick_pipe, scene):
        frames = quick_pipe(scene, motion=swaying(10)).frames.astype(int)
        assert np.abs(frames[9] - frames[0]).mean() > 1

    def test_a_face_at_rest_is_the_picture_itself(self, quick_pipe, scene):
        clip = quick_pipe(scene, motion=Motion.neutral(2, 25))
        assert np.abs(clip.frames.astype(int) - scene).max() <= 1

    def test_where_nobody_is_or_was_every_pixel_stays(self, quick_pipe, scene):
        clip = quick_pipe(scene, motion=swaying(6, far=0.3))
        alpha = quick_pipe(scene, motion=swaying(6, far=0.3), background="transparent").alpha
        layers = quick_pipe.layers(quick_pipe.preprocess(scene))
        plate = scene.copy()
        plate[layers.box] = layers.plate
        free = (plate == scene).all(-1) & (alpha == 0).all(0)
        assert free.mean() > 0.3
        assert (clip.frames[:, free] == scene[free]).all()

    def test_a_head_goes_where_its_motion_says_even_out_of_the_picture(self, quick_pipe, scene, face_model):
        away = replace(Motion.neutral(4, 25), translation=np.linspace(0, 4, 4)[:, None] * np.array([1.0, 0]))
        clip = quick_pipe(scene, motion=away, background="transparent")
        shown = clip.alpha[:, :140].sum((1, 2), dtype=float)
        assert shown[0] > shown[1] > shown[2]
        assert shown[3] < 0.02 * shown[0]
        own = quick_pipe.preprocess(scene).motion.translation[0]
        assert clip.motion.translation - own == pytest.approx(away.translation * clip.motion.scale[0], abs=1e-4)

    def test_without_paste_back_it_is_the_square_crop(self, quick_pipe, scene):
        assert quick_pipe(scene, motion=swaying(3), paste_back=False).frames.shape == (3, 128, 128, 3)

    def test_its_motion_drives_again(self, quick_pipe, scene):
        first = quick_pipe(scene, motion=swaying(4))
        again = quick_pipe(scene, motion=first.motion, relative=True)
        assert np.abs(again.frames.astype(int) - first.frames).mean() < 0.5

    def test_it_is_saved_with_its_sound(self, quick_pipe, scene, tmp_path):
        tone = 0.3 * np.sin(np.arange(16000 * 3) / 5).astype(np.float32)
        write_mp4(tmp_path / "driving.mp4", frames_of(25) + 60, 25, tone, 16000)
        clip = quick_pipe(scene, video=tmp_path / "driving.mp4")
        assert clip.sampling_rate == 16000
        assert len(clip.audio) == 16000  # as long as the 25 frames
        clip.save(tmp_path / "out.mp4")
        reader = VideoReader(tmp_path / "out.mp4")
        assert len(list(reader)) == 25
        assert reader.sound() is not None
        assert np.abs(np.stack(list(reader)).astype(int) - clip.frames).mean() < 3


class TestPictures:
    def test_any_kind_of_picture_will_do(self, quick_pipe, scene, tmp_path):
        Image.fromarray(scene).save(tmp_path / "photo.png")
        expected = quick_pipe(scene, motion=swaying(2)).frames
        for image in (
            tmp_path / "photo.png",
            str(tmp_path / "photo.png"),
            (tmp_path / "photo.png").read_bytes(),
            Image.fromarray(scene),
            Image.fromarray(scene).convert("RGBA"),
            scene.astype(np.float32) / 255,
            scene.astype(np.uint16) * 257,
        ):
            assert np.array_equal(quick_pipe(image, motion=swaying(2)).frames, expected)

    def test_a_list_gives_a_list_and_a_generator_an_iterator(self, quick_pipe, scene):
        clips = quick_pipe([scene, scene[::-1]], video=frames_of(3))
        assert [len(clip) for clip in clips] == [3, 3]
        assert quick_pipe.tracker.frames_read == 3  # the driver is read once
        lazy = quick_pipe((picture for picture in (scene, scene)), motion=swaying(2))
        assert len(next(lazy)) == 2
        assert quick_pipe([], motion=swaying(2)) == []

    def test_the_largest_face_moves_by_default(self, quick_pipe, tracker, scene, face_points):
        tracker.faces = [Face.of(face_points(), 1.0), Face.of(face_points(60, 60, 20), 1.0)]
        largest = quick_pipe(scene, motion=swaying(5)).frames[4].astype(int)
        second = quick_pipe(scene, motion=swaying(5), face=1).frames[4].astype(int)
        assert np.abs(largest - scene)[100:160, 130:190].mean() > 1
        assert np.abs(second - scene)[50:70, 50:70].mean() > 1
        assert np.abs(second - scene)[150:].max() == 0

    def test_several_faces_are_counted_when_one_was_expected(self, quick_pipe, tracker, scene, face_points):
        tracker.faces = [Face.of(face_points(), 1.0)] * 3
        with pytest.raises(SeveralFacesError, match="3 faces"):
            quick_pipe(scene, motion=swaying(2), face="only")
        with pytest.raises(SeveralFacesError, match="3 faces"):
            quick_pipe(scene, motion=swaying(2), face=3)
        assert len(quick_pipe(scene, motion=swaying(2), face=2)) == 2

    def test_a_picture_without_a_face_is_refused(self, quick_pipe, tracker, scene):
        tracker.faces = []
        with pytest.raises(NoFaceError, match="320 x 240"):
            quick_pipe(scene, motion=swaying(2))

    def test_a_face_at_the_edge_of_the_picture_works(self, quick_pipe, tracker, scene, face_points):
        tracker.faces = [Face.of(face_points(20, 30), 1.0)]
        assert quick_pipe(scene, motion=swaying(3)).frames.shape == (3, *scene.shape)

    def test_detail_finer_than_the_renderer_is_kept(self, quick_pipe, tracker, face_points):
        """A crop three times the renderer's size: fine texture stays sharp where the face moves."""
        noise = np.random.default_rng(0).integers(60, 190, (600, 600, 3)).astype(np.uint8)
        tracker.faces = [Face.of(face_points(300, 320, 130), 1.0)]
        frames = quick_pipe(noise, motion=swaying(6)).frames.astype(int)
        assert np.abs(frames[0] - noise).max() <= 1
        middle = (slice(250, 350), slice(250, 350))
        assert frames[5][middle].std() > 0.6 * noise[middle].std()


class TestDrivers:
    def test_video_and_motion_may_take_many_forms(self, quick_pipe, scene, tmp_path):
        swaying(4).save(tmp_path / "m.safetensors")
        write_mp4(tmp_path / "v.mp4", frames_of(4), 25)
        frames = list(frames_of(4))
        assert len(quick_pipe(scene, motion=tmp_path / "m.safetensors")) == 4
        assert len(quick_pipe(scene, motion=str(tmp_path / "m.safetensors"))) == 4
        assert len(quick_pipe(scene, video=swaying(4))) == 4
        for video in (tmp_path / "v.mp4", (tmp_path / "v.mp4").read_bytes(), frames, frames_of(4)):
            assert len(quick_pipe(scene, video=video)) == 4

    def test_bundled_motions_go_by_name(self, quick_pipe, scene):
        assert len(quick_pipe(scene, motion="blink", fps=5)) > 1
        with pytest.raises(UnknownNameError, match="nod"):
            quick_pipe(scene, motion="node")

    def test_a_driving_frame_without_a_face_holds_the_last_motion(self, quick_pipe, tracker, scene, warnings_logged):
        tracker.script[5] = tracker.script[6] = None
        clip = quick_pipe(scene, video=frames_of(12))
        assert clip.missing == [5, 6]
        assert len(clip) == 12
        assert len(warnings_logged) == 1
        assert "2 of 12" in warnings_logged[0]
        steps = np.abs(np.diff(clip.motion.translation, axis=0)).max(1)
        assert steps[4:6].max() < steps.max()

    def test_a_face_that_appears_late_is_waited_for(self, quick_pipe, tracker, scene):
        tracker.script[:4] = [None] * 4
        clip = quick_pipe(scene, video=frames_of(12))
        assert clip.missing == [0, 1, 2, 3]
        assert np.abs(clip.frames[0].astype(int) - scene).max() <= 3
        assert len(list(quick_pipe.stream(scene, video=frames_of(12)))) == 12

    def test_a_driving_video_without_any_face_is_refused(self, quick_pipe, tracker, scene):
        tracker.script = [None]
        with pytest.raises(NoFaceError, match="7 frames"):
            quick_pipe(scene, video=frames_of(7))
        with pytest.raises(NoFaceError, match="7 frames"):
            list(quick_pipe.stream(scene, video=frames_of(7)))

    def test_a_still_person_gives_a_still_face(self, quick_pipe, tracker, scene, face_points, face_model):
        """Tracking noise of 0.3% of the face's width comes out as less than 0.2%."""
        noise = np.random.default_rng(0).normal(size=(60, 478, 3)) * 0.003 * FACE_SIZE
        common = np.random.default_rng(1).normal(size=(60, 1, 3)) * 0.003 * FACE_SIZE
        tracker.script = list((face_points() + noise + common).astype(np.float32))
        clip = quick_pipe(scene, video=frames_of(60), fps=25)
        landmarks = face_model.animate(quick_pipe.preprocess(scene).shape, clip.motion)[..., :2].numpy()
        width = np.ptp(landmarks[0, :, 0])
        shake = np.linalg.norm(landmarks - landmarks.mean(0), axis=-1).mean()
        assert shake / width < 0.002

    def test_fps_changes_the_rate_and_keeps_the_length_in_seconds(self, quick_pipe, scene):
        for driver in ({"motion": swaying(10, 25)}, {"video": list(frames_of(10))}):
            clip = quick_pipe(scene, **driver, fps=50)
            assert clip.fps == 50
        assert len(quick_pipe(scene, motion=swaying(10, 25), fps=50)) == 20

    def test_relative_motion_starts_from_the_portraits_own_face(self, quick_pipe, scene):
        turned = replace(swaying(4), rotation=np.full((4, 3), 0.3), mouth=np.ones_like(swaying(4).mouth))
        own = quick_pipe.preprocess(scene).motion
        relative, absolute = (quick_pipe(scene, motion=turned, relative=choice).motion for choice in (True, False))
        assert relative.rotation == pytest.approx(np.repeat(own.rotation, 4, 0), abs=1e-4)
        assert relative.mouth == pytest.approx(np.repeat(own.mouth, 4, 0), abs=1e-4)
        assert absolute.rotation == pytest.approx(turned.rotation, abs=1e-4)
        assert absolute.mouth == pytest.approx(turned.mouth, abs=1e-4)
        assert absolute.scale == pytest.approx(np.repeat(own.scale, 4, 0), rel=1e-4)

    def test_there_must_be_exactly_one_driver(self, quick_pipe, scene):
        with pytest.raises(MotionError, match="nothing to drive"):
            quick_pipe(scene)
        with pytest.raises(MotionError, match="not both"):
            quick_pipe(scene, motion=swaying(2), video=frames_of(2))


class TestEditing:
    def test_an_edit_alone_gives_one_frame(self, quick_pipe, scene):
        clip = quick_pipe(scene, edit={"jawOpen": 0.6})
        assert clip.frames.shape == (1, *scene.shape)
        assert np.abs(clip.frames[0].astype(int) - scene)[130:170].mean() > 0.2

    def test_an_edit_is_added_to_every_frame(self, quick_pipe, scene):
        plain = quick_pipe(scene, motion=swaying(5)).motion
        edited = quick_pipe(scene, motion=swaying(5), edit={"jawOpen": 0.5}).motion
        change = edited.mouth - plain.mouth
        assert np.abs(change).max() > 0.1
        assert change == pytest.approx(np.repeat(change[:1], 5, axis=0), abs=1e-4)

    def test_a_region_comes_from_another_motion(self, quick_pipe, scene):
        still, other = Motion.neutral(6, 25), swaying(6)
        mixed = quick_pipe(scene, motion=still, regions={"mouth": other}).motion
        alone = quick_pipe(scene, motion=other).motion
        assert mixed.mouth == pytest.approx(alone.mouth, abs=1e-5)
        assert mixed.rotation == pytest.approx(quick_pipe(scene, motion=still).motion.rotation, abs=1e-5)

    @pytest.mark.parametrize("frames", [3, 40])
    def test_a_region_of_another_length_and_rate_is_fitted(self, quick_pipe, scene, frames):
        clip = quick_pipe(scene, motion=Motion.neutral(8, 25), regions={"mouth": swaying(frames, 50)})
        assert len(clip) == 8
        if frames == 3:
            assert clip.motion.mouth[7] == pytest.approx(clip.motion.mouth[2])

    def test_regions_alone_last_as_long_as_they_do(self, quick_pipe, scene):
        assert len(quick_pipe(scene, regions={"mouth": swaying(5), "eyes": swaying(3)})) == 5

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"edit": {"jawOpenn": 0.5}}, UnknownNameError),
            ({"edit": {"jawOpen": float("nan")}}, MotionError),
            ({"regions": {"nose": swaying(2)}}, UnknownNameError),
            ({"regions": {"mouth": 3}}, MotionError),
            ({"motion": 3}, MotionError),
            ({"motion": "missing.safetensors"}, MediaError),
            ({"video": "missing.mp4"}, MediaError),
            ({"video": []}, MediaError),
            ({"video": b"not a video" * 99}, MediaError),
            ({"motion": swaying(2), "face": "biggest"}, UnknownNameError),
            ({"motion": swaying(2), "face": -1}, UnknownNameError),
            ({"motion": swaying(2), "fps": 0}, MotionError),
            ({"motion": swaying(2), "fps": float("nan")}, MotionError),
            ({"motion": swaying(2), "batch_size": -1}, SuperFaceError),
        ],
    )
    def test_what_cannot_work_is_one_error_of_ours(self, quick_pipe, scene, options, error):
        with pytest.raises(error):
            quick_pipe(scene, **options)

    @pytest.mark.parametrize("image", [None, "missing.jpg", b"", b"text", np.zeros((1, 1, 3), np.uint8), 5])
    def test_unusable_pictures_are_media_errors(self, quick_pipe, image):
        with pytest.raises(MediaError):
            quick_pipe(image, motion=swaying(2))

    def test_nan_in_a_motion_cannot_even_be_made(self):
        with pytest.raises(MotionError, match="NaN"):
            replace(Motion.neutral(2, 25), scale=np.array([1.0, np.nan]))


class TestStreaming:
    def test_a_motion_streams_the_very_same_frames(self, quick_pipe, scene):
        clip = quick_pipe(scene, motion=swaying(6), edit={"jawOpen": 0.2}, regions={"eyes": swaying(3)})
        stream = quick_pipe.stream(scene, motion=swaying(6), edit={"jawOpen": 0.2}, regions={"eyes": swaying(3)})
        assert np.abs(np.stack(list(stream)).astype(int) - clip.frames).max() <= 1

    def test_a_video_streams_nearly_the_same_frames(self, quick_pipe, scene):
        clip = quick_pipe(scene, video=frames_of(12), edit={"jawOpen": 0.2})
        stream = np.stack(list(quick_pipe.stream(scene, video=frames_of(12), edit={"jawOpen": 0.2})))
        assert stream.shape == clip.frames.shape
        assert np.abs(stream.astype(int) - clip.frames).mean() < 2

    def test_frames_come_while_the_video_is_still_being_read(self, quick_pipe, tracker, scene):
        stream = quick_pipe.stream(scene, video=(frame for frame in frames_of(1000)))
        for _ in range(3):
            next(stream)
        assert tracker.frames_read <= 5

    def test_another_rate_gives_as_many_frames_as_the_clip(self, quick_pipe, scene, tmp_path):
        write_mp4(tmp_path / "v.mp4", frames_of(10), 20)
        for fps in (10, 15, 20, 30):
            clip = quick_pipe(scene, video=tmp_path / "v.mp4", fps=fps)
            assert len(list(quick_pipe.stream(scene, video=tmp_path / "v.mp4", fps=fps))) == len(clip)

    @pytest.mark.parametrize("to", [10, 24, 25, 30, 60])
    def test_resampling_as_it_comes_equals_resampling_at_once(self, to):
        motion = swaying(25, 25)
        piecewise = Motion.concatenate(list(resampled((motion[i] for i in range(25)), 25, to)))
        whole = motion.resample(to)
        assert len(piecewise) == len(whole)
        assert piecewise.rotation == pytest.approx(whole.rotation, abs=1e-4)
        assert piecewise.mouth == pytest.approx(whole.mouth, abs=1e-4)

    def test_bad_input_is_refused_before_the_first_frame(self, quick_pipe):
        with pytest.raises(MediaError):
            quick_pipe.stream("missing.jpg", motion=swaying(2))

    def test_writing_straight_to_a_file_gives_the_clip(self, quick_pipe, scene, tmp_path):
        moved = quick_pipe.write(tmp_path / "out.mp4", scene, motion=swaying(5))
        clip = quick_pipe(scene, motion=swaying(5))
        assert len(moved) == 5
        assert np.abs(np.stack(list(VideoReader(tmp_path / "out.mp4"))).astype(int) - clip.frames).mean() < 3

    def test_a_bad_file_name_is_refused_before_any_work(self, quick_pipe, tracker, scene, tmp_path):
        with pytest.raises(MediaError):
            quick_pipe.write(tmp_path / "out.txt", scene, video=frames_of(3))
        assert tracker.frames_read == 0


class TestModelsAndSettings:
    def test_batches_of_any_size_give_the_same_frames(self, quick_pipe, scene):
        one, many = (quick_pipe(scene, motion=swaying(5), batch_size=size).frames.astype(int) for size in (1, 4))
        assert np.abs(one - many).max() <= 1

    def test_it_is_deterministic(self, quick_pipe, scene):
        first, second = (quick_pipe(scene, motion=swaying(3), seed=seed).frames for seed in (1, 1))
        assert np.array_equal(first, second)

    def test_a_seed_does_not_disturb_the_callers_random_numbers(self, quick_pipe, scene):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        quick_pipe(scene, motion=swaying(2), seed=3)
        assert torch.equal(torch.rand(1), expected)

    def test_bfloat16_looks_the_same(self, small_teacher, tracker, quick_pipe, scene, tmp_path):
        layers = {"matte": quick_pipe.matte, "inpainter": quick_pipe.inpainter, "device": "cpu"}
        small_teacher.save_pretrained(tmp_path)
        pipe = pipeline("talking-face", model=str(tmp_path), tracker=tracker, dtype=torch.bfloat16, **layers)
        full = pipeline("talking-face", model=str(tmp_path), tracker=tracker, dtype=torch.float32, **layers)
        assert pipe.model.dtype == torch.bfloat16
        assert full.model.dtype == torch.float32
        narrow, wide = (each(scene, motion=swaying(4)).frames.astype(int) for each in (pipe, full))
        assert np.abs(narrow - wide).mean() < 1

    @pytest.mark.parametrize(
        ("asked", "able", "computes_in"),
        [({}, True, "bfloat16"), ({}, False, "float32"), ({"dtype": torch.float32}, True, "float32")],
    )
    def test_without_a_dtype_a_cpu_that_has_bfloat16_computes_in_it(
        self, small_teacher, tracker, quick_pipe, scene, tmp_path, monkeypatch, asked, able, computes_in
    ):
        monkeypatch.setattr("superface_hf.renderers.teacher.computes_in_bfloat16", lambda: able)
        small_teacher.save_pretrained(tmp_path)
        layers = {"matte": quick_pipe.matte, "inpainter": quick_pipe.inpainter, "device": "cpu"}
        pipe = pipeline("talking-face", model=str(tmp_path), tracker=tracker, **layers, **asked)
        assert pipe.model.dtype == torch.float32, "the weights stay as they are"
        seen = []
        with pipe.model.generator.register_forward_hook(lambda part, given, made: seen.append(given[0].dtype)):
            pipe(scene, motion=swaying(2))
        # The painted picture is float32 in any case; what enters the generator is what the networks compute in.
        assert {str(each) for each in seen} == {f"torch.{computes_in}"}

    def test_a_saved_pipeline_comes_back_from_its_folder(self, quick_pipe, tracker, scene, tmp_path):
        quick_pipe.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert "superface_hf/weights" not in json.dumps(config)
        layers = {"matte": quick_pipe.matte, "inpainter": quick_pipe.inpainter}
        again = pipeline("talking-face", model=str(tmp_path), tracker=tracker, device="cpu", **layers)
        assert np.array_equal(again(scene, motion=swaying(3)).frames, quick_pipe(scene, motion=swaying(3)).frames)
        assert type(AutoModel.from_pretrained(tmp_path)).__name__ == "SuperFaceTeacherModel"

    def test_unknown_arguments_are_refused(self, quick_pipe, small_teacher, scene):
        with pytest.raises(TypeError, match="blendshapes"):
            quick_pipe(scene, motion=swaying(2), blendshapes={})
        with pytest.raises(TypeError, match="colour"):
            pipeline("talking-face", model=small_teacher, colour="red")

    def test_the_progress_bar_appears_when_asked_for(self, quick_pipe, scene, capsys):
        quick_pipe(scene, video=frames_of(3), progress=True)
        shown = capsys.readouterr().err
        assert "Tracking" in shown
        assert "Rendering" in shown
        quick_pipe(scene, video=frames_of(3))
        assert capsys.readouterr().err == ""

    def test_the_scene_fits_its_constants(self, scene):
        assert scene.shape == (HEIGHT, WIDTH, 3)
