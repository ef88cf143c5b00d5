"""The same promises as in ``test_strangers_files.py``, through portrait, driving, dubbing and preparing."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from canary_server import recipes, serve

from superface_hf.data.prepare import sources as prepare_sources
from superface_hf.data.prepare.portraits import RawPictures, _encoded, _readable
from superface_hf.data.prepare.sources import RawVideo
from superface_hf.errors import MediaError
from superface_hf.media import VideoReader, WorkLimit, write_mp4

SPEECH = {"array": np.zeros(8000, np.float32), "sampling_rate": 16000}


@pytest.fixture
def canary():
    yield from serve("127.0.0.1")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "private" / "secret.mp4"
    write_mp4(path, np.full((5, 48, 64, 3), 90, np.uint8), 25, np.full(4000, 0.1, np.float32), 16000)
    return path


@pytest.fixture
def recipe_files(secret, canary, tmp_path):
    """Each recipe under the name that would serve it best."""
    suffixes = {"play": "m3u8", "conc": "ffconcat", "sess": "sdp", "DASH": "mpd", "SVG": "svg"}
    paths = []
    for number, (name, recipe) in enumerate(recipes(secret, canary).items()):
        path = tmp_path / f"{number}.{suffixes[name[:4]]}"
        path.write_bytes(recipe)
        paths.append(path)
    return paths


def test_no_input_of_the_pipeline_opens_anything_else(quick_pipe, scene, recipe_files, canary, tmp_path):
    for path in recipe_files:
        for given in (path, path.read_bytes()):
            for inputs in (
                {"image": given, "motion": "nod"},
                {"image": scene, "video": given},
                {"image": scene, "audio": given},
                {"video": given, "audio": SPEECH},
            ):
                with pytest.raises(MediaError):
                    quick_pipe(**inputs)
        with pytest.raises(MediaError):
            quick_pipe.write(tmp_path / "out.mp4", scene, video=path, audio=SPEECH)
        with pytest.raises(MediaError):
            list(quick_pipe.stream(scene, video=path))
    assert canary.hits == []
    assert not (tmp_path / "out.mp4").exists()


def test_prepare_opens_nothing_that_a_dataset_names_elsewhere(canary, secret, recipe_files):
    addresses = [
        f"{canary.url}/clip.mp4",
        f"file://{secret}",
        f"local://{secret}",
        f"zip://a.mp4::{canary.url}/a.zip",
        f"zip://a.mp4::file://{secret}",
        f"simplecache::{canary.url}/clip.mp4",
        f"ftp://127.0.0.1{secret}",
        f"filecache::hf://datasets/x::file://{secret}",
    ]
    for address in addresses:
        with pytest.raises(MediaError, match=r"not fetched|private network"):
            RawVideo("k", "n", address, "train", "p").open()
    for path in recipe_files:
        data = RawVideo("k", "n", str(path), "train", "p").open()
        with pytest.raises(MediaError):
            VideoReader(data)
    assert canary.hits == []


def test_a_video_of_the_hub_is_read_through_fsspec_up_to_the_limit(monkeypatch):
    import fsspec

    monkeypatch.setattr(fsspec, "open", lambda address, mode: io.BytesIO(b"x" * 100))
    assert RawVideo("k", "n", "hf://datasets/a/b/c.mp4", "train", "p").open() == b"x" * 100
    assert RawVideo("k", "n", "zip://c.mp4::hf://datasets/a/b/c.zip", "train", "p").open() == b"x" * 100
    monkeypatch.setattr(prepare_sources, "MAX_BYTES", 99)
    with pytest.raises(MediaError, match="larger than"):
        RawVideo("k", "n", "hf://datasets/a/b/c.mp4", "train", "p").open()


def test_portraits_of_a_table_are_opened_as_pictures_only(tmp_path, recipe_files, canary):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
    rows = [{"image": {"bytes": data, "path": None}} for data in (eps, *(path.read_bytes() for path in recipe_files))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "faces.parquet")
    for data in _encoded(RawPictures(tmp_path / "faces.parquet", 0, len(rows))):
        assert (_readable(data) == 127).all()  # grey: not read
    assert canary.hits == []


def test_a_call_ends_when_its_time_is_over(quick_pipe, scene, secret, tmp_path):
    limit = WorkLimit(seconds=1e-6)
    for inputs in (
        {"image": scene, "motion": "nod"},
        {"image": scene, "video": secret},
        {"image": scene, "audio": SPEECH},
        {"video": secret, "audio": SPEECH},
    ):
        with pytest.raises(MediaError, match="longer than the limit"):
            quick_pipe(**inputs, limit=limit)
        with pytest.raises(MediaError, match="longer than the limit"):
            quick_pipe.write(tmp_path / "out" / "clip.mp4", **inputs, limit=limit)
        with pytest.raises(MediaError, match="longer than the limit"):
            list(quick_pipe.stream(**inputs, limit=limit))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_call_stops_at_its_pixels(quick_pipe, scene):
    video = np.full((30, 240, 320, 3), 90, np.uint8)
    limit = WorkLimit(gigapixels=10 * 240 * 320 / 1e9)
    for inputs in ({"image": scene, "video": video}, {"video": video, "audio": SPEECH}):
        with pytest.raises(MediaError, match="too much work"):
            quick_pipe(**inputs, limit=limit)
