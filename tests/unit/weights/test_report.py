"""The report of a model's weights: table, JSON, warnings, and the share that must be loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.weights import CLASSES, config_of, initialised, saved, single_stream_state
from yolofuse.errors import WeightsError
from yolofuse.weights import WeightsReport, policy_of
from yolofuse.weights.report import build_report
from yolofuse.weights.sources import Source
from yolofuse.weights.tensor_log import TensorLog, TensorRecord


def _record(name: str, *, loaded: bool = False, head: bool = False, frozen: bool = False) -> TensorRecord:
    return TensorRecord(
        name=name,
        part=name.split(".")[0],
        module=name.rpartition(".")[0],
        shape=(2, 5),
        trainable=True,
        head=head,
        status="loaded" if loaded else "initialised",
        frozen=frozen,
    )


def _report(*records: TensorRecord, sources: tuple[str, ...] = ()) -> WeightsReport:
    log = TensorLog(torch.nn.Module(), fixed=frozenset(), heads=())
    log.records = {record.name: record for record in records}
    source = Source(Path("w.pt"), {}, None, None, None, "0")
    return build_report(log, dict.fromkeys(sources, source), policy_of(config_of()), ["an earlier one"])


@pytest.fixture(scope="module")
def report(pretrained: Path) -> WeightsReport:
    """Report of a model with a loaded, frozen RGB stream."""
    return initialised(f"weights.rgb={pretrained}", "train.freeze=[rgb.*]")[1]


def test_plain__has_the_keys_of_weights_report_json(report: WeightsReport) -> None:
    plain = report.plain()
    assert list(plain) == ["policy", "seed", "share_loaded", "sources", "warnings", "classes", "parts", "tensors"]
    assert list(plain["sources"]["rgb"]) == ["file", "sha256", "base", "names"]
    assert plain["sources"]["rgb"]["names"] == list(CLASSES)
    tensors = {tensor["name"]: tensor for tensor in plain["tensors"]}
    assert list(tensors["rgb.layers.0.conv.weight"]) == ["name", "shape", "fate", "frozen", "source"]
    drawn = tensors["ir.layers.1.conv.weight"]
    assert list(drawn) == ["name", "shape", "fate", "frozen", "rule", "expected_std", "measured_std"]
    partial = replace(_record("trunk.layers.9.w"), status="partial", rows=torch.tensor([False, True]))
    assert _report(partial).plain()["tensors"][0]["rows_loaded"] == [1]


def test_plain__counts_and_deviations_agree(report: WeightsReport) -> None:
    plain = report.plain()
    assert sum(sum(counts.values()) for counts in plain["parts"].values()) == len(plain["tensors"])
    drawn = [tensor for tensor in plain["tensors"] if tensor.get("expected_std")]
    assert drawn
    assert all(tensor["measured_std"] == pytest.approx(tensor["expected_std"], rel=0.5) for tensor in drawn)


def test_format__a_row_for_each_part_or_layer(report: WeightsReport) -> None:
    table = report.format()
    assert str(report.count("trunk")["loaded"]) in next(row for row in table.splitlines() if row.startswith("trunk"))
    layers = report.format(modules=True)
    assert "rgb.layers.0 " in layers
    assert "average of both streams" in layers
    assert "std 0." in layers
    assert table.splitlines()[0].startswith("weights from ")


def test_share_loaded__of_backbone_and_neck_alone() -> None:
    report = _report(
        _record("rgb.layers.0.w", loaded=True),
        _record("trunk.layers.1.w", loaded=True),
        _record("trunk.layers.2.w"),
        _record("trunk.layers.3.w", head=True),
        _record("fusion.1.w"),
    )
    assert report.share_loaded() == pytest.approx(2 / 3)
    assert (report.share_loaded("rgb"), report.share_loaded("trunk")) == (1.0, 0.5)


def test_require__stops_a_run_that_loaded_less() -> None:
    report = _report(_record("rgb.layers.0.w", loaded=True), _record("trunk.layers.1.w"))
    report.require(0.5)
    with pytest.raises(WeightsError, match=r"(?s)weights\.require: 95\.0% .*50\.0% was.*no pretrained weights"):
        report.require(0.95)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([_record("rgb.layers.0.w", loaded=True), _record("ir.layers.0.w")], "ir: has no pretrained weights"),
        ([_record("rgb.layers.0.w")], "rgb: nothing was loaded from w.pt"),
        ([_record("rgb.layers.0.w", loaded=True), *(_record(f"rgb.layers.{i}.w") for i in (1, 2))], "rgb: only 33% of"),
        ([_record("rgb.layers.0.w", loaded=True), _record("rgb.layers.1.w", head=True)], None),
        ([_record("rgb.layers.0.w", head=True)], None),  # a head alone, after a late cut, may be of other classes
        ([_record("rgb.layers.0.w", loaded=True), _record("rgb.layers.1.w", frozen=True)],
         "train.freeze: rgb.layers.1.w and 0 more are frozen, but were never loaded"),
    ],
    ids=["part-without", "nothing", "little", "enough", "head-alone", "frozen"],
)  # fmt: skip
def test_warnings(records: list[TensorRecord], expected: str | None) -> None:
    first, *found = _report(*records, sources=("rgb",)).warnings
    assert first == "an earlier one"
    assert len(found) == (expected is not None)
    assert expected is None or found[0].startswith(expected)


def test_warnings__of_a_file_with_a_few_layers(tmp_path: Path, pretrained: Path) -> None:
    few = {key: value for key, value in single_stream_state().items() if key.split(".")[1] in {"0", "1", "2"}}
    part = saved(tmp_path / "part.pt", {"state_dict": few, "names": list(CLASSES)})
    _, report = initialised(f"weights.rgb={pretrained}", f"weights.ir={part}")
    assert any(warning.startswith("ir: only ") for warning in report.warnings)
