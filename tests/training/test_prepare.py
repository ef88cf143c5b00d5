"""``superface prepare``: what becomes of raw videos, that a stopped run goes on, and that the manifest tells it all.

The faces are striped red squares, which a scripted labeller finds: where a square is, the landmarks must be.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow")
pytest.importorskip("yaml")
pytest.importorskip("datasets")

import pyarrow as pa
import pyarrow.parquet as pq

from superface_hf import cli
from superface_hf.data.prepare import store as set_store
from superface_hf.data.prepare import workers
from superface_hf.data.prepare.clips import crop_square
from superface_hf.data.prepare.labels import Label, LabelSource
from superface_hf.data.prepare.portraits import picture_chunks
from superface_hf.data.prepare.prepare import prepare
from superface_hf.data.prepare.quality_filters import QualityThresholds
from superface_hf.data.prepare.settings import PrepareSettings
from superface_hf.data.prepare.sources import split_of, videos_of
from superface_hf.data.prepared_set import load_clips, load_portraits
from superface_hf.errors import SuperFaceError
from superface_hf.media import load_picture, write_mp4
from superface_hf.models.tracker.base import Face
from superface_hf.motion.rotations import rotation_matrix
from superface_hf.utils.assets import PORTRAIT

HEIGHT, WIDTH, FPS = 240, 320, 25
SETTINGS = PrepareSettings(filters=QualityThresholds(min_face_pixels=40.0), sync=False)


def scene(face: int = 80, at: tuple[int, int] = (100, 120), frames: int = 40, seed: int = 0) -> np.ndarray:
    """A striped red square that sways before a background, (T, 240, 320, 3); no square if ``face`` is 0."""
    random = np.random.default_rng(seed)
    blocks = random.integers(30, 120, (6, 8, 1), np.uint8)
    background = np.kron(blocks, np.ones((40, 40, 3), np.uint8))
    video = np.repeat(background[None], frames, axis=0)
    pace = random.uniform(1, 4)
    stripes = np.array([230, 20, 20], np.uint8) * np.ones((face, face, 1), np.uint8)
    stripes[::8] = [140, 10, 10]
    for index, frame in enumerate(video if face else ()):
        left = at[0] + round(12 * np.sin(pace * index / 5)) - face // 2
        top = at[1] - face // 2
        frame[top : top + face, left : left + face] = stripes
    return video


class RedSquares:
    """Labels every red square with a face as wide, which looks to the side the further the square is off the middle."""

    def __init__(self, mean: np.ndarray) -> None:
        self.mean = (mean - mean.mean(0)) / np.ptp(mean[:, 0])
        self.videos = 0

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Label | None]:
        self.videos += 1
        for frame in frames:
            yield next(iter(self.find(frame)), None)

    def find(self, image: np.ndarray) -> list[Label]:
        red = (image[..., 0].astype(int) - image[..., 1]) > 60
        columns = np.flatnonzero(red.sum(0) > 8)
        groups = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else []
        labels = []
        for group in groups:
            rows = np.flatnonzero(red[:, group].any(1))
            x, y, size = group.mean() + 0.5, rows.mean() + 0.5, len(group)
            yaw = np.array([0.0, (x - image.shape[1] / 2) / image.shape[1], 0.0])
            points = self.mean @ rotation_matrix(yaw[None])[0].T * size + np.array([x, y, 0])
            labels.append(Label(Face.of(points, 1.0)))
        return sorted(labels, key=lambda label: -label.face.area)


@pytest.fixture
def labeller(monkeypatch, face_model) -> RedSquares:
    found = RedSquares(face_model.mean.numpy())
    monkeypatch.setattr(workers, "load_labeller", lambda _: found)
    return found


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def run(raw: Path, out: Path, settings: PrepareSettings = SETTINGS, table: Path | None = None) -> dict:
    videos = videos_of(str(raw), table, settings.val_share, "train", None, None)
    return prepare(out, videos, settings, LabelSource(), "raw")


def everything(out: Path) -> list[dict]:
    """All rows of a set, but for the order of its shards."""
    return [clip.to_row() for split in ("train", "val") for clip in load_clips(out, split)]


@pytest.mark.usefixtures("labeller")
class TestVideos:
    def test_a_long_video_is_cut_at_its_cuts_and_cropped_around_the_face(self, raw, tmp_path):
        parts = [scene(70, (80, 100)), scene(0, seed=1) + 100, scene(100, (220, 130), seed=2)]
        write_mp4(raw / "talk.mp4", np.concatenate(parts), FPS)
        entry = run(raw, tmp_path / "out")["raw"]["talk.mp4"]
        assert entry["cuts"] == [1.6, 3.2]
        assert [(drop["start"], drop["filter"]) for drop in entry["dropped"]] == [(1.6, "face seen")]
        first, second = everything_of(tmp_path / "out")
        assert (first.name, first.origin.start, second.name, second.origin.start) == ("talk-000", 0, "talk-001", 3.2)
        for clip in (first, second):
            assert clip.size[0] == clip.size[1] == clip.origin.square[2] < HEIGHT
            assert 0.4 < clip.quality["face_share"] < 0.6
            assert clip.jpeg_index.tolist() == list(range(0, 40, 3))
            for position, frame in enumerate(clip.jpeg_index):
                rows, columns = np.nonzero(
                    clip.picture(position)[..., 0].astype(int) - clip.picture(position)[..., 1] > 60
                )
                centre = clip.landmarks[frame].mean(0)
                assert abs(columns.mean() + 0.5 - centre[0]) < 2
                assert abs(rows.mean() + 0.5 - centre[1]) < 3

    def test_large_crops_are_brought_to_the_largest_side_with_their_landmarks(self, raw, tmp_path):
        write_mp4(raw / "a.mp4", scene(110), FPS)
        whole, small = tmp_path / "whole", tmp_path / "small"
        run(raw, whole)
        run(
            raw,
            small,
            PrepareSettings(max_side=96, filters=QualityThresholds(min_face_pixels=20, min_sharpness=0), sync=False),
        )
        (one,), (other,) = everything_of(whole), everything_of(small)
        assert other.size == (96, 96)
        assert np.asarray(other.picture(0)).shape == (96, 96, 3)
        assert np.allclose(other.landmarks, one.landmarks * 96 / one.size[0], atol=0.01)

    def test_a_video_that_is_a_face_crop_already_stays_whole(self, raw, tmp_path):
        write_mp4(raw / "crop.mp4", scene(110, (120, 120))[:, :, :240], FPS)
        run(raw, tmp_path / "out")
        (clip,) = everything_of(tmp_path / "out")
        assert (clip.name, clip.size, clip.origin.square) == ("crop", (240, 240), (0.0, 0.0, 240.0))

    def test_long_shots_and_shots_with_long_gaps_are_divided(self, raw, tmp_path):
        shown, gone = scene(frames=80), scene(0, frames=40)
        write_mp4(raw / "a.mp4", np.concatenate([shown, gone, shown[:60]]), FPS)
        filters = QualityThresholds(min_face_pixels=40, max_duplicate=1)
        settings = PrepareSettings(max_seconds=1.7, cut_difference=1.0, filters=filters, sync=False)
        run(raw, tmp_path / "out", settings)
        starts = [round(clip.origin.start * FPS) for clip in everything_of(tmp_path / "out")]
        assert starts == [0, 40, 120, 150]

    @pytest.mark.parametrize(
        ("video", "reason"),
        [
            (scene(30), "face size"),
            (scene(frames=20), "length"),
            (np.repeat(scene(frames=1), 40, axis=0), "still picture"),
            (scene(80, (60, 120)) // 2 + scene(80, (220, 120)) // 2 + scene(0, seed=1) // 9, "one speaker"),
        ],
    )
    def test_the_manifest_names_the_filter_and_the_value(self, raw, tmp_path, video, reason):
        write_mp4(raw / "bad.mp4", video, FPS)
        write_mp4(raw / "good.mp4", scene(seed=7), FPS)
        manifest = run(raw, tmp_path / "out")
        (drop,) = manifest["raw"]["bad.mp4"]["dropped"]
        assert drop["filter"] == reason
        assert drop["value"] != drop["limit"]
        assert manifest["raw"]["good.mp4"]["clips"] == ["good"]
        assert manifest["counts"]["dropped"] == {reason: 1}

    def test_copies_are_dropped_and_other_takes_are_not(self, raw, tmp_path):
        write_mp4(raw / "a.mp4", scene(frames=60), FPS)
        write_mp4(raw / "copy.mp4", scene(frames=60)[5:], FPS)
        write_mp4(raw / "take.mp4", scene(frames=60, seed=3), FPS)
        manifest = run(raw, tmp_path / "out")
        assert manifest["raw"]["copy.mp4"]["dropped"][0]["of"] == "a"
        assert sorted(clip.name for clip in everything_of(tmp_path / "out")) == ["a", "take"]

    def test_an_unreadable_video_is_reported_and_the_others_go_on(self, raw, tmp_path):
        (raw / "broken.mp4").write_bytes(b"no video")
        write_mp4(raw / "good.mp4", scene(), FPS)
        manifest = run(raw, tmp_path / "out")
        assert "broken.mp4" in manifest["raw"]["broken.mp4"]["error"]
        assert (manifest["counts"]["unreadable"], manifest["counts"]["raw_videos"]) == (1, 2)
        assert [clip.name for clip in everything_of(tmp_path / "out")] == ["good"]


def everything_of(out: Path) -> list:
    return [clip for split in ("train", "val") for clip in load_clips(out, split)]


class TestGoingOn:
    @pytest.fixture
    def videos(self, raw) -> Path:
        for number in range(4):
            write_mp4(raw / f"{number}.mp4", scene(seed=number), FPS)
        return raw

    @pytest.fixture
    def whole(self, videos, labeller, tmp_path) -> list[dict]:
        """What an undisturbed run makes."""
        run(videos, tmp_path / "whole")
        labeller.videos = 0
        return everything(tmp_path / "whole")

    def test_a_stopped_run_goes_on_with_what_is_missing(self, videos, whole, labeller, tmp_path, monkeypatch):
        follow = labeller.follow

        def stopped(frames):
            if labeller.videos == 2:
                raise KeyboardInterrupt
            return follow(frames)

        monkeypatch.setattr(labeller, "follow", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(videos, tmp_path / "out")
        assert not list((tmp_path / "out").glob("*-0*.parquet"))
        monkeypatch.setattr(labeller, "follow", follow)
        run(videos, tmp_path / "out")
        assert labeller.videos == 4
        assert everything(tmp_path / "out") == whole
        assert not (tmp_path / "out" / ".parts").exists()

    @pytest.mark.parametrize("moment", ["before the shard", "before the manifest"])
    def test_a_crash_while_packing_loses_and_doubles_nothing(
        self, videos, whole, labeller, tmp_path, monkeypatch, moment
    ):
        def crash(*_):
            raise RuntimeError("crash")

        with monkeypatch.context() as broken:
            broken.setattr(set_store, "_rows" if moment == "before the shard" else "count", crash)
            with pytest.raises(RuntimeError):
                run(videos, tmp_path / "out")
        labeller.videos = 0
        manifest = run(videos, tmp_path / "out")
        assert labeller.videos == 0
        assert everything(tmp_path / "out") == whole
        assert manifest == json.loads((tmp_path / "whole" / "manifest.json").read_text())

    def test_a_finished_set_takes_new_videos_and_knows_the_old_ones(self, videos, whole, labeller, tmp_path):
        write_mp4(videos / "copy.mp4", scene(seed=2), FPS)
        write_mp4(videos / "new.mp4", scene(seed=9), FPS)
        manifest = run(videos, tmp_path / "whole")
        assert labeller.videos == 2
        assert manifest["raw"]["copy.mp4"]["dropped"][0]["filter"] == "duplicate"
        assert len(everything(tmp_path / "whole")) == len(whole) + 1

    def test_shards_are_closed_when_they_are_large(self, videos, labeller, tmp_path, monkeypatch):
        monkeypatch.setattr(set_store.SetStore, "_full", lambda store, pack: len(pack.parts) == 2)
        manifest = run(videos, tmp_path / "out")
        assert sum(manifest["shards"].values()) == 4
        assert max(manifest["shards"].values()) == 2

    def test_a_folder_of_somebody_else_s_parquet_files_is_left_alone(self, videos, tmp_path):
        pq.write_table(pa.table({"a": [1]}), tmp_path / "train-00000.parquet")
        with pytest.raises(SuperFaceError, match="no manifest"):
            run(videos, tmp_path)
        assert (tmp_path / "train-00000.parquet").exists()

    def test_other_settings_are_refused_by_name(self, videos, whole, tmp_path):
        settings = PrepareSettings(filters=QualityThresholds(min_face_pixels=50), sync=False)
        with pytest.raises(SuperFaceError, match=r"filters: min_face_pixels: 40\.0, now 50"):
            run(videos, tmp_path / "whole", settings)


class TestSources:
    def test_people_are_folders_and_stay_in_one_split(self, raw):
        for person in ("id1", "id2"):
            for number in range(2):
                path = raw / person / "talk" / f"{number}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        videos = list(videos_of(str(raw), None, 0.5, "train", None, None))
        assert [video.person for video in videos] == ["id1", "id1", "id2", "id2"]
        assert videos[0].name == "id1__talk__0"
        assert all(video.split == split_of(video.person, 0.5) for video in videos)
        shares = [split_of(f"person {number}", 0.05) for number in range(2000)]
        assert 0.03 < shares.count("val") / 2000 < 0.07

    def test_a_table_tells_split_person_and_origin(self, raw, tmp_path):
        for name in ("a.mp4", "b.mp4", "b.webm", "c.mp4"):
            (raw / name).touch()
        table = tmp_path / "clips.csv"
        with open(table, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["clip", "split", "repo", "path", "person", "licence"])
            rows.writerow(["a.mp4", "val", "here/code", "samples/x/1.mp4", "", "MIT"])
            rows.writerow(["c", "train", "", "", "somebody", ""])
        a, b, b2, c = videos_of(str(raw), table, 0.0, "train", None, None)
        assert (a.split, a.person, a.repo, a.path, a.licence) == (
            "val", "here/code/samples/x", "here/code", "samples/x/1.mp4", "MIT"
        )  # fmt: skip
        assert (c.person, c.split, b.person) == ("somebody", "train", "b")
        assert {b.name, b2.name} == {"b_mp4", "b_webm"}

    def test_wrong_tables_and_folders_are_refused(self, raw, tmp_path):
        with pytest.raises(SuperFaceError, match="no video in"):
            list(videos_of(str(raw), None, 0.05, "train", None, None))
        table = tmp_path / "clips.csv"
        for text, says in (("name\na.mp4\n", "column `clip`"), ("clip,split\na.mp4,test\n", "'test'")):
            table.write_text(text)
            with pytest.raises(SuperFaceError, match=says):
                list(videos_of(str(raw), table, 0.05, "train", None, None))
        with pytest.raises(SuperFaceError, match="neither a folder nor a dataset"):
            list(videos_of(str(tmp_path / "none"), None, 0.05, "train", None, None))

    def test_videos_of_a_parquet_dataset(self, raw, tmp_path, labeller):
        rows = []
        for number in range(2):
            write_mp4(raw / "a.mp4", scene(seed=number), FPS)
            rows.append(
                {"video": {"bytes": (raw / "a.mp4").read_bytes(), "path": None}, "speaker": f"s{number}", "id": 1}
            )
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
        videos = list(videos_of(str(tmp_path / "data.parquet"), None, 0.0, "train", None, "speaker"))
        assert [(video.key, video.person) for video in videos] == [("00000000", "s0"), ("00000001", "s1")]
        prepare(tmp_path / "out", videos, SETTINGS, LabelSource())
        assert [clip.person for clip in everything_of(tmp_path / "out")] == ["s0", "s1"]
        with pytest.raises(SuperFaceError, match="no column film, but"):
            list(videos_of(str(tmp_path / "data.parquet"), None, 0.0, "train", "film", None))

    def test_videos_of_webdataset_tars(self, raw, tmp_path):
        write_mp4(raw / "a.mp4", scene(), FPS)
        data = (raw / "a.mp4").read_bytes()
        with tarfile.open(tmp_path / "shard.tar", "w") as tar:
            for key in ("one", "two"):
                for suffix, content in (("mp4", data), ("json", b'{"speaker": "x"}')):
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        videos = list(videos_of(str(tmp_path / "shard.tar"), None, 0.0, "train", None, None))
        assert [(video.key, video.open() == data) for video in videos] == [("one", True), ("two", True)]


class TestPortraits:
    def test_every_picture_keeps_its_number(self, labeller, tmp_path):
        pictures = [scene(60, frames=1)[0], scene(0, frames=1)[0], scene(90, frames=1)[0]]
        rows = [{"image": {"bytes": png(picture), "path": None}} for picture in pictures]
        rows.insert(1, {"image": {"bytes": b"broken", "path": None}})
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "large.parquet")
        manifest = prepare(tmp_path / "out", picture_chunks(tmp_path / "large.parquet"), SETTINGS, LabelSource())
        portraits = load_portraits(tmp_path / "out", "large")
        assert len(portraits.jpegs) == 4
        assert portraits.picture_of.tolist() == [0, 3]
        assert portraits.landmarks[1, :, 0].mean() == pytest.approx(100, abs=3)
        assert manifest["counts"]["pictures"] == 4

    def test_a_source_without_pictures_is_refused(self, tmp_path):
        with pytest.raises(SuperFaceError, match="no portraits in"):
            list(picture_chunks(tmp_path))


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_crop_stays_inside_the_picture_and_holds_a_wandering_face(face_points):
    track = np.stack([face_points(40 + 10 * index, 60, 30) for index in range(20)])
    square = crop_square(track, HEIGHT, WIDTH)
    assert 0 <= square.left <= square.left + square.side <= WIDTH
    assert 0 <= square.top <= square.top + square.side <= HEIGHT
    corner = crop_square(np.stack([face_points(20, 20, 30)] * 4), HEIGHT, WIDTH)
    assert (corner.left, corner.top) == (0, 0)


def test_mediapipe_without_its_model_says_what_to_do():
    with pytest.raises(SuperFaceError, match="--landmarker"):
        LabelSource("mediapipe")


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert cli.main(["prepare", "-o", str(tmp_path / "out")]) == 1
    assert "nothing to prepare" in capsys.readouterr().err
    assert cli.main(["prepare", str(tmp_path), "-o", str(tmp_path / "out"), "--set", "filters.sharp=3"]) == 1
    assert "filters.sharp" in capsys.readouterr().err


def test_the_command_shows_its_settings(tmp_path, capsys):
    assert cli.main(["prepare", "-o", str(tmp_path), "--show-settings", "--set", "filters.min_sharpness=33"]) == 0
    assert "min_sharpness: 33" in capsys.readouterr().out


@pytest.mark.e2e
def test_real_faces_are_prepared_by_several_processes(raw, tmp_path, capsys):
    """A photograph under a moving camera, with the embedded tracker."""
    photo = Image.fromarray(load_picture(PORTRAIT)).resize((400, 400))
    for number in range(2):
        steps = [(6 + step + 7 * number, 10 + step // 2) for step in range(26)]
        frames = np.stack([np.asarray(photo.crop((x, y, x + 320, y + 320))) for x, y in steps])
        write_mp4(raw / f"{number}.mp4", frames, FPS)
    limits = ("min_turn_range=0", "min_face_pixels=30", "max_duplicate=1")
    options = ["--workers", "2", *(word for limit in limits for word in ("--set", f"filters.{limit}"))]
    assert cli.main(["prepare", str(raw), "-o", str(tmp_path / "out"), *options]) == 0
    clips = everything_of(tmp_path / "out")
    assert [clip.name for clip in sorted(clips, key=lambda clip: clip.name)] == ["0", "1"]
    assert all(clip.found.all() and clip.quality["face_pixels"] > 40 for clip in clips)
    assert "2 videos" in capsys.readouterr().out
