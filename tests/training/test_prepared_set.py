"""What a prepared set promises: clips come back as they were written, and a stream goes on exactly where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("datasets")

import datasets

from superface_hf.data.jpeg import encode_jpeg
from superface_hf.data.prepared_set import (
    CLIP_SCHEMA,
    ClipStream,
    Origin,
    Portraits,
    PreparedClip,
    known_scores,
    load_clips,
    load_portraits,
    write_clips,
    write_portraits,
    write_rows,
)
from superface_hf.errors import SuperFaceError


def clip(name: str, split: str = "train", frames: int = 4, scores: bool = True) -> PreparedClip:
    random = np.random.default_rng(sum(name.encode()))
    pictures = [np.full((16, 16, 3), shade, np.uint8) for shade in (10, 200)]
    return PreparedClip(
        name=name,
        split=split,
        fps=23.98,
        size=(16, 16),
        landmarks=random.normal(size=(frames, 478, 3)).astype(np.float32),
        blendshapes=random.random((frames, 52), np.float32) if scores else None,
        found=np.arange(frames) != 1,
        jpeg_index=np.array([0, 3]),
        jpegs=[encode_jpeg(picture, 95) for picture in pictures],
        person=f"{name}'s person",
        origin=Origin(f"{name}.mp4", 1.5, (3.0, 4.0, 16.0), True, "here", f"a/{name}.mp4", "CC-BY"),
        quality={"sharpness": 12.5},
        hashes=random.integers(0, 255, (2, 8), np.uint8),
        movement=random.random((5, 3)).astype(np.float16),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine training clips in three shards, and one to validate on."""
    for number in range(3):
        write_clips(tmp_path, "train", [clip(f"t{index}") for index in range(number, 9, 3)], number)
    write_clips(tmp_path, "val", [clip("v0", "val", scores=False)])
    return tmp_path


def names(stream: ClipStream, count: int) -> list[str]:
    return [item.name for item in islice(stream, count)]


def test_a_clip_comes_back_as_it_was_written(folder):
    (read,) = [item for item in load_clips(folder, "train") if item.name == "t4"]
    wanted = clip("t4")
    for field in ("landmarks", "blendshapes", "found", "jpeg_index", "hashes", "movement"):
        assert np.array_equal(getattr(read, field), getattr(wanted, field))
        assert getattr(read, field).dtype == getattr(wanted, field).dtype
        assert getattr(read, field).flags.writeable
    arrays = {"landmarks", "blendshapes", "found", "jpeg_index", "hashes", "movement"}
    for field in set(PreparedClip.__dataclass_fields__) - arrays:
        assert getattr(read, field) == getattr(wanted, field)
    assert read.picture(1).mean() == pytest.approx(200, abs=1)


def test_clips_come_in_name_order_whatever_their_shards(folder):
    assert [item.name for item in load_clips(folder, "train")] == [f"t{index}" for index in range(9)]
    assert [item.name for item in load_clips(folder, "val")] == ["v0"]


def test_without_pictures_everything_else_is_there(folder):
    (read,) = load_clips(folder, "val", pictures=False)
    assert read.jpegs == []
    assert read.landmarks.shape == (4, 478, 3)


def test_a_set_without_blendshapes_says_how_to_get_them(folder):
    (read,) = load_clips(folder, "val")
    with pytest.raises(SuperFaceError, match="--labels mediapipe"):
        known_scores(read.blendshapes)


def test_datasets_opens_a_set(folder):
    rows = datasets.load_dataset("parquet", data_files=str(folder / "train-*.parquet"), split="train", streaming=True)
    first = next(iter(rows))
    assert set(first) == set(CLIP_SCHEMA.names)
    assert PreparedClip.from_row(first).landmarks.shape == (4, 478, 3)


def test_a_folder_that_is_no_set_is_refused(tmp_path):
    for read in (
        lambda: list(load_clips(tmp_path, "train")),
        lambda: ClipStream(tmp_path),
        lambda: load_portraits(tmp_path),
    ):
        with pytest.raises(SuperFaceError, match="superface prepare"):
            read()


def test_a_shard_appears_complete_or_not_at_all(tmp_path):
    def broken():
        yield clip("t0").to_row()
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError):
        write_rows(tmp_path / "train-00000.parquet", CLIP_SCHEMA, broken())
    assert list(tmp_path.iterdir()) == []


def test_portraits_keep_their_numbers_and_faces(tmp_path):
    jpegs = [encode_jpeg(np.full((20, 30, 3), 40 * number, np.uint8), 95) for number in range(4)]
    faces = np.arange(3 * 478 * 3, dtype=np.float32).reshape(3, 478, 3)
    write_portraits(tmp_path, "large", Portraits(jpegs, np.array([0, 2, 2]), faces, np.ones((3, 52), np.float32)))
    write_portraits(tmp_path, "small", Portraits(jpegs[:1], np.array([0]), faces[:1], None), number=1)
    large = load_portraits(tmp_path, "large")
    assert large.jpegs == jpegs
    assert large.picture_of.tolist() == [0, 2, 2]
    assert np.array_equal(large.landmarks, faces)
    assert large.blendshapes.shape == (3, 52)
    assert load_portraits(tmp_path, "small").blendshapes is None
    assert load_portraits(tmp_path).picture_of.tolist() == [0, 2, 2, 4]
    with pytest.raises(SuperFaceError, match="no portraits called medium"):
        load_portraits(tmp_path, "medium")


class TestClipStream:
    def test_every_pass_shows_every_clip_once_in_another_order(self, folder):
        shown = names(ClipStream(folder, "train", seed=1, buffer=4), 27)
        passes = [shown[start : start + 9] for start in (0, 9, 18)]
        assert all(sorted(one) == [f"t{index}" for index in range(9)] for one in passes)
        assert passes[0] != passes[1] != passes[2]

    def test_seeds_make_other_orders_and_one_seed_the_same(self, folder):
        assert names(ClipStream(folder, seed=1), 9) == names(ClipStream(folder, seed=1), 9)
        assert names(ClipStream(folder, seed=1), 9) != names(ClipStream(folder, seed=2), 9)

    @pytest.mark.parametrize("buffer", [1, 4, 64])
    def test_a_resumed_stream_goes_on_with_the_same_clips(self, folder, buffer):
        whole = names(ClipStream(folder, seed=3, buffer=buffer), 24)
        for stop in range(0, 20, 3):
            stopped = ClipStream(folder, seed=3, buffer=buffer)
            assert names(stopped, stop) == whole[:stop]
            state = json.loads(json.dumps(stopped.state_dict()))
            resumed = ClipStream(folder, seed=3, buffer=buffer)
            resumed.load_state_dict(state)
            assert names(resumed, 24 - stop) == whole[stop:]

    def test_iterating_again_goes_on(self, folder):
        stream = ClipStream(folder, seed=5, buffer=4)
        assert names(stream, 7) + names(stream, 7) == names(ClipStream(folder, seed=5, buffer=4), 14)

    def test_a_state_of_another_stream_is_refused(self, folder):
        state = ClipStream(folder, seed=3).state_dict()
        with pytest.raises(SuperFaceError, match="seed was 3, but is 4"):
            ClipStream(folder, seed=4).load_state_dict(state)
        write_clips(folder, "train", [replace(clip("t9"))], 3)
        with pytest.raises(SuperFaceError, match="shards was 3, but is 4"):
            ClipStream(folder, seed=3).load_state_dict(state)

    def test_an_empty_split_is_refused_instead_of_waited_for(self, folder, tmp_path):
        write_clips(folder, "val", [])
        with pytest.raises(SuperFaceError, match="no clips of the split val"):
            next(iter(ClipStream(folder, "val")))
