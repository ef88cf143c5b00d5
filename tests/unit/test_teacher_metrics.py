"""What ``benchmarks/teacher.py`` tells of a teacher's cost."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "teacher.py"


@pytest.fixture(scope="module")
def cost(small_teacher) -> dict[str, float]:
    spec = importlib.util.spec_from_file_location("teacher_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    return benchmark.measure_cost(small_teacher, seconds=0.05)


def test_the_parts_add_up_to_the_whole(cost):
    for step in ("portrait", "frame"):
        parts = [value for name, value in cost.items() if name.startswith(f"GMACs per {step},")]
        assert sum(parts) == pytest.approx(cost[f"GMACs per {step}"])
        assert min(parts) >= 0


def test_the_portrait_is_encoded_once_and_not_for_each_frame(cost):
    assert cost["GMACs per portrait, appearance_encoder"] > 0
    assert not any("appearance_encoder" in name for name in cost if "per frame" in name)
    assert cost["GMACs per frame, generator"] > 0


def test_speeds_are_measured_in_both_precisions(cost, small_teacher):
    assert cost["frames/s fp32"] > 0
    assert cost["frames/s bf16"] > 0
    assert cost["parameters"] == sum(p.numel() for p in small_teacher.parameters())
