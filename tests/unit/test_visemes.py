"""The viseme error rate."""

from __future__ import annotations

import numpy as np
import pytest

from superface_hf.metrics.visemes import REST, edit_distance, said, viseme_error_rate
from superface_hf.models.lip_reader.configuration_lip_reader import VISEMES
from superface_hf.models.lip_reader.heard_visemes import PHONES, HeardViseme, viseme_track


def slow_distance(one: list[int], other: list[int]) -> int:
    if not one or not other:
        return len(one) + len(other)
    return min(
        slow_distance(one[1:], other) + 1,
        slow_distance(one, other[1:]) + 1,
        slow_distance(one[1:], other[1:]) + (one[0] != other[0]),
    )


def test_the_edit_distance_is_levenshteins():
    rng = np.random.default_rng(0)
    for _ in range(40):
        one, other = (rng.integers(0, 3, rng.integers(0, 6)).tolist() for _ in range(2))
        assert edit_distance(one, other) == slow_distance(one, other)
    assert edit_distance(list(b"kitten"), list(b"sitting")) == 3


def test_what_is_said_counts_once_however_long_it_lasts():
    assert said(np.array([REST, REST, 1, 1, 2, REST, 2, 2, 1])) == [1, 2, 2, 1]
    assert said(np.array([REST, REST])) == []


@pytest.mark.parametrize(
    ("read", "rate"), [([1, 1, 2, 3, REST], 0.0), ([1, 3], 1 / 3), ([REST, REST], 1.0), ([1, 2, 3, 4, 5, 6, 7], 4 / 3)]
)
def test_the_rate_counts_errors_over_what_is_heard(read, rate):
    heard = np.array([1, 2, 2, 2, REST, 3])
    assert viseme_error_rate(np.array(read), heard) == pytest.approx(rate)


def test_where_nothing_is_said_there_is_no_rate():
    assert np.isnan(viseme_error_rate(np.array([1, 2]), np.array([REST])))


def test_a_track_shows_what_is_said_in_each_frame_and_rests_elsewhere():
    heard = [HeardViseme("closed", 0.2, 0.4), HeardViseme("open", 0.4, 0.6)]
    names = [VISEMES[index] for index in viseme_track(heard, 8, 10.0)]
    assert names == ["rest", "rest", "closed", "closed", "open", "open", "rest", "rest"]
    later = [VISEMES[index] for index in viseme_track(heard, 8, 10.0, offset=0.2)]
    assert later == [*names[2:], "rest", "rest"]


def test_every_phone_has_one_viseme():
    phones = " ".join(PHONES.values()).split()
    assert len(phones) == len(set(phones)) == 39  # CMU's, all of them
    assert set(PHONES) == set(VISEMES) - {"rest"}
