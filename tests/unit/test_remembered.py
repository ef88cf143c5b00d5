"""The cache of what was used last, and the pipeline's: a picture that comes again is not searched again."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from superface_hf import NoFaceError, SuperFaceError
from superface_hf.utils.remembered import Remembered


def test_what_is_remembered_is_bounded():
    remembered: Remembered[int] = Remembered(2)
    assert [remembered.get(key, lambda key=key: key) for key in (1, 2, 1, 3)] == [1, 2, 1, 3]
    assert len(remembered) == 2
    assert remembered.get(1, lambda: 99) == 1  # used later than 2


def test_what_two_visitors_want_at_once_is_made_once():
    remembered: Remembered[int] = Remembered(2)
    makes: list[int] = []

    def slow() -> int:
        time.sleep(0.2)
        makes.append(1)
        return len(makes)

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(remembered.get("key", slow))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1]


def test_what_could_not_be_made_is_tried_again():
    remembered: Remembered[int] = Remembered(2)

    def fails() -> int:
        raise SuperFaceError("not today")

    with pytest.raises(SuperFaceError):
        remembered.get("key", fails)
    assert remembered.get("key", lambda: 7) == 7


class TestPipeline:
    @pytest.fixture
    def searched(self, quick_pipe, tracker, monkeypatch) -> list[tuple[int, ...]]:
        """The shapes of the pictures in which a face was searched."""
        searched: list[tuple[int, ...]] = []
        find = tracker.find_faces

        def counted(picture):
            searched.append(picture.shape)
            return find(picture)

        monkeypatch.setattr(tracker, "find_faces", counted)
        return searched

    def test_a_picture_that_comes_again_is_neither_searched_nor_split_again(self, quick_pipe, searched, scene):
        first = quick_pipe.preprocess(scene)
        assert quick_pipe.preprocess(scene.copy()) is first
        assert quick_pipe.layers(first) is quick_pipe.layers(first)
        assert len(searched) == 1

    def test_another_picture_and_another_face_are(self, quick_pipe, searched, scene):
        first = quick_pipe.preprocess(scene)
        darker = scene // 2
        assert np.array_equal(quick_pipe.preprocess(darker).picture, darker)
        assert quick_pipe.preprocess(scene, face="only") is not first
        assert len(searched) == 3
        assert np.array_equal(quick_pipe.layers(first).picture, scene)

    def test_an_array_may_change_after_the_call(self, quick_pipe, searched, scene):
        given = scene.copy()
        first = quick_pipe.preprocess(given)
        given[:] = 0
        assert quick_pipe.preprocess(scene) is first
        assert np.array_equal(first.picture, scene)

    def test_a_picture_without_a_face_stays_one(self, quick_pipe, searched, tracker, scene):
        tracker.faces = []
        for _ in range(2):
            with pytest.raises(NoFaceError):
                quick_pipe.preprocess(scene)
        assert len(searched) == 2
