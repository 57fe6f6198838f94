from __future__ import annotations

import argparse
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from load.bench import compare, report
from load.bench.measure import Sample
from tests.bench.samples import sample


def test_a_ratio_is_the_other_server_s_cpu_time_over_ours_in_the_same_round() -> None:
    samples = [
        *(sample("strongroom", 200, 0), sample("floor", 160, 0)),
        *(sample("strongroom", 400, 1), sample("floor", 300, 1)),
        *(sample("strongroom", 100, 2), sample("floor", 90, 2)),
    ]
    spread = report.ratios(samples)["read_metadata"]["floor"]
    assert (spread.min, spread.median, spread.max) == pytest.approx((0.75, 0.80, 0.90))


@pytest.mark.parametrize(
    "spoilt",
    [
        sample("floor", 1, 1, errors=1),
        sample("floor", 1, 1, seconds=0.0011),
        sample("floor", 1, 1, requests=0),
    ],
)
def test_what_is_not_valid_has_no_ratio_and_is_told(spoilt: Sample) -> None:
    samples = [
        *(sample("strongroom", 200, 0), sample("floor", 160, 0)),
        *(sample("strongroom", 200, 1), spoilt),
    ]
    assert report.ratios(samples)["read_metadata"]["floor"].min == pytest.approx(0.8)
    assert len(report.invalid(samples)) == 1


@pytest.mark.parametrize(
    ("waited", "reason"), [(0.0, "the load was too little"), (0.3, "other processes had it")]
)
def test_a_server_that_does_not_fill_its_core_is_not_what_was_measured(
    waited: float, reason: str
) -> None:
    idle = sample("strongroom", 200, seconds=0.2 / 0.7, waited_share=waited)
    assert idle.faults == [f"the server used 70% of its core only: {reason}"]


def test_a_load_that_has_no_core_left_is_told() -> None:
    assert len(sample("floor", 100, responder_share=0.6).faults) == 1
    assert len(sample("floor", 100, responder_share=0.45, generator_share=0.5).faults) == 1


def test_the_gate_is_shut_below_it_and_open_at_it() -> None:
    found = report.ratios([sample("strongroom", 200), sample("floor", 140)])
    assert report.below_gate(found, {"read_metadata": 0.69}) == []
    assert report.below_gate(found, {"read_metadata": 0.71}) == [
        "read_metadata: 0.700 of the floor, wanted 0.71"
    ]


def test_the_gate_looks_at_the_median_round() -> None:
    floors = (100, 130, 190)
    samples = [sample("floor", cpu, turn) for turn, cpu in enumerate(floors)]
    samples += [sample("strongroom", 200, turn) for turn in range(3)]
    found = report.ratios(samples)
    assert report.below_gate(found, {"read_metadata": 0.64}) == []
    assert report.below_gate(found, {"read_metadata": 0.66}) != []


def test_the_gate_is_shut_for_an_operation_that_was_not_measured() -> None:
    found = report.ratios([sample("strongroom", 200), sample("floor", 200)])
    assert len(report.below_gate(found, {"read_metadata": 0.5, "list_50": 0.5})) == 1


def _conclude(
    monkeypatch: pytest.MonkeyPatch, folder: Path, samples: list[Sample], gate: float | None
) -> int:
    monkeypatch.setattr(compare, "RESULTS", folder)
    gates = None if gate is None else {"read_metadata": gate}
    told = argparse.Namespace(gate=gates, operations=["read_metadata"])
    return compare.conclude(samples, told)


@pytest.mark.parametrize(
    ("floor", "gate", "code"),
    [
        (sample("floor", 150), 0.7, 0),
        (sample("floor", 100), 0.7, 1),
        (sample("floor", 100), None, 0),
        (sample("floor", 150, errors=3), None, 1),
        (sample("floor", 150, errors=3), 0.7, 1),
    ],
)
def test_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    floor: Sample,
    gate: float | None,
    code: int,
) -> None:
    assert _conclude(monkeypatch, tmp_path, [sample("strongroom", 200), floor], gate) == code


def test_results_are_written_with_every_sample(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    samples = [sample("strongroom", 200), sample("floor", 150), sample("fastapi_boto3", 1500)]
    _conclude(monkeypatch, tmp_path, samples, None)
    told = json.loads((tmp_path / "bench.json").read_text())
    ratios = told["ratios"]["read_metadata"]
    assert ratios["floor"]["median"] == pytest.approx(0.75)
    assert ratios["fastapi_boto3"]["median"] == pytest.approx(7.5)
    assert [one["cpu_us"] for one in told["samples"]] == pytest.approx([200, 150, 1500])
    drawn = "".join(ElementTree.parse(tmp_path / "bench.svg").getroot().itertext())
    assert "200 µs" in drawn
    assert "7.50" in drawn
