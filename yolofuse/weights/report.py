"""Report the status of every tensor of a model, as a table, as JSON, and as warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from yolofuse.errors import WeightsError
from yolofuse.weights.class_names import ClassMatch
from yolofuse.weights.init.policy import Policy
from yolofuse.weights.sources import Source
from yolofuse.weights.tensor_log import TensorLog, TensorRecord, TensorStatus

_COLUMNS: tuple[TensorStatus, ...] = ("loaded", "inflated", "partial", "initialised", "constructor", "fixed")
_TITLES = {"partial": "partly", "constructor": "as built"}
_WARN_BELOW = 0.5  # share of a part's backbone and neck


@dataclass(frozen=True)
class WeightsReport:
    """Final status of every parameter and BatchNorm statistic of a model.

    Attributes:
        records: One per tensor; counters are left out.
        sources: The source of each part that has one.
        policy: Name of the preset.
        seed: Of the draws.
        warnings: What the user should check.
        classes: For each class of the data set, and each kept one, the class of the weights that it starts from; empty
            where the weights have no head for this model, or do not name their classes.
        knows_classes: Whether rows of the head for a class of the data set were loaded.
        num_kept: How many of the classes are kept ones, the last.
    """

    records: tuple[TensorRecord, ...]
    sources: dict[str, Source]
    policy: str
    seed: int
    warnings: tuple[str, ...]
    classes: tuple[ClassMatch, ...] = ()
    knows_classes: bool = False
    num_kept: int = 0

    @property
    def statuses(self) -> dict[str, TensorStatus]:
        """Status of each tensor, by its name."""
        return {record.name: record.status for record in self.records}

    def count(self, part: str) -> Counter[TensorStatus]:
        """Count the tensors of a part by status."""
        return Counter(record.status for record in self.records if record.part == part)

    def share_loaded(self, part: str | None = None) -> float:
        """Return the share of backbone and neck (of one part, or all) that came from a file, by elements."""
        selected = [r for r in self.records if r.part == part or (part is None and r.part != "fusion")]
        body = [record for record in selected if record.trainable and not record.head]
        total = sum(record.num_elements for record in body)
        return sum(record.num_loaded for record in body) / total if total else 0.0

    def format(self, *, modules: bool = False) -> str:
        """Format the counts of tensors as a table with a row per part.

        With ``modules`` a row per layer or fusion block, with rules and standard deviations of its drawn tensors.
        """
        files = dict.fromkeys(source.path for source in self.sources.values())
        lines = [f"weights from {path}" for path in files] or ["no pretrained weights"]
        groups: dict[str, list[TensorRecord]] = {}
        for record in self.records:
            groups.setdefault(_layer_of(record) if modules else record.part, []).append(record)
        width = max(map(len, groups)) + 2
        columns = [status for status in _COLUMNS if any(record.status == status for record in self.records)]
        head = "".join(f"{_TITLES.get(status, status):>13}" for status in columns)
        lines.append(f"{'layer' if modules else 'part':<{width}}{head}{'frozen':>8}" + "  drawn by" * modules)
        for name, records in groups.items():
            counts = Counter(record.status for record in records)
            row = "".join(f"{counts[status]:>13}" for status in columns) + f"{sum(r.frozen for r in records):>8}"
            lines.append(f"{name:<{width}}{row}" + (f"  {_format_rules(records)}" if modules else ""))
        lines.append(f"{self.share_loaded():.1%} of backbone and neck loaded; the rest by policy {self.policy}")
        if self.classes:
            shown = self.classes[: len(self.classes) - self.num_kept]
            kept = f"; {self.num_kept} more are kept outside the loss" if self.num_kept else ""
            lines.append(f"classes: {', '.join(map(_format_class, shown))}{kept}")
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """Return the report as plain data for JSON."""
        parts = list(dict.fromkeys(record.part for record in self.records))
        return {
            "policy": self.policy,
            "seed": self.seed,
            "share_loaded": round(self.share_loaded(), 6),
            "sources": {
                part: {"file": str(s.path), "sha256": s.sha256, "base": s.base, "names": list(s.names or ()) or None}
                for part, s in self.sources.items()
            },
            "warnings": list(self.warnings),
            "classes": {
                match.name: {"from": match.source, "by": match.kind, "row": match.row} for match in self.classes
            },
            "parts": {part: dict(self.count(part)) for part in parts},
            "tensors": [_plain_record(record) for record in self.records],
        }

    def require(self, share: float) -> None:
        """Stop a run that loaded too little.

        Raises:
            WeightsError: If less than ``share`` of backbone and neck came from a file.
        """
        if self.share_loaded() < share:
            raise WeightsError(
                f"weights.require: {share:.1%} of backbone and neck must be loaded, but {self.share_loaded():.1%} was; "
                f"give weights of the model's own base, or lower weights.require\n{self.format()}"
            )


def build_report(
    tensor_log: TensorLog,
    sources: dict[str, Source],
    policy: Policy,
    warnings: Sequence[str],
    classes: Mapping[str, Sequence[ClassMatch]] = MappingProxyType({}),
    head_rows: Collection[str] = (),
    num_kept: int = 0,
) -> WeightsReport:
    """Build the report of a completed log; adds the warnings that follow from the counts.

    Args:
        tensor_log: The log.
        sources: The source of each part that has one.
        policy: Of the initialisation.
        warnings: Of loading and initialising.
        classes: For each part with named classes: where the rows of the model's classes are.
        head_rows: Tensors with rows for classes.
        num_kept: How many of the model's classes, the last, the data set does not have.
    """
    loaded = {record.part: record for record in tensor_log if record.name in head_rows and record.num_loaded}
    matched = next((tuple(matches) for part, matches in classes.items() if part in loaded), ())
    by_order = any(record.rows is None for part, record in loaded.items() if part not in classes)
    known = by_order or any(match.row is not None for match in matched[: len(matched) - num_kept])
    name, seed = policy.config.preset, policy.seed
    report = WeightsReport(tuple(tensor_log), sources, name, seed, (), matched, known, num_kept)
    own = () if policy.preset.overwrites_all else _find_warnings(report)  # that preset has a warning of its own
    return replace(report, warnings=(*warnings, *own))


def _find_warnings(report: WeightsReport) -> Iterable[str]:
    parts = list(dict.fromkeys(record.part for record in report.records))
    if report.classes and not report.knows_classes:
        example = f"weights.class_map={{{report.classes[0].name}: ONE OF THE WEIGHTS}}"
        yield f"the head of the weights knows no class of the data by name; {example} uses its rows"
    for part in parts:
        source = report.sources.get(part)
        if source is None or part == "fusion":
            if report.sources and part != "fusion":
                yield f"{part}: has no pretrained weights, other parts have"
            continue
        of_part = [record for record in report.records if record.part == part]
        if all(record.head for record in of_part):  # after a late cut; its head may be of other classes
            continue
        share = report.share_loaded(part)
        if not any(record.num_loaded for record in of_part):
            yield f"{part}: nothing was loaded from {source.path}"
        elif share < _WARN_BELOW:
            yield f"{part}: only {share:.0%} of its backbone and neck was loaded from {source.path}"
    fresh = [r for r in report.records if r.status in {"initialised", "constructor"}]
    frozen = [r for r in fresh if r.frozen and len(r.shape) > 1]
    if frozen:
        yield f"train.freeze: {frozen[0].name} and {len(frozen) - 1} more are frozen, but were never loaded"


def _format_class(match: ClassMatch) -> str:
    if match.row is None:
        return f"{match.name} (new)"
    return match.name if match.kind == "name" else f"{match.name} (from {match.source}, by {match.kind})"


def _layer_of(record: TensorRecord) -> str:
    """Return ``rgb.layers.4`` of ``rgb.layers.4.cv1.conv.weight``, ``fusion.4`` of ``fusion.4.conv.weight``."""
    segments = record.name.split(".")
    return ".".join(segments[: 3 if segments[1] == "layers" else 2])


def _format_rules(records: Sequence[TensorRecord]) -> str:
    """Format a layer's rules: how many tensors each filled, and the range of expected and measured deviations."""
    texts = []
    by_rule: dict[str, list[TensorRecord]] = {}
    for record in records:
        if record.rule is not None:
            by_rule.setdefault(record.rule, []).append(record)
    for rule, drawn in by_rule.items():
        expected = [record.expected_std for record in drawn if record.expected_std is not None]
        measured = [record.measured_std for record in drawn if record.measured_std is not None]
        text = f"{len(drawn)} x {rule}"
        if expected:
            text += f" std {_format_range(expected)} (measured {_format_range(measured)})"
        texts.append(text)
    return "; ".join(texts)


def _format_range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4f}", f"{max(values):.4f}"
    return low if low == high else f"{low}..{high}"


def _plain_record(record: TensorRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": record.name, "shape": list(record.shape), "fate": record.status, "frozen": record.frozen
    }  # fmt: skip
    for key in ("source", "rule", "expected_std", "measured_std"):
        value = getattr(record, key)
        if value is not None:
            row[key] = value
    if record.rows is not None:
        row["rows_loaded"] = [i for i, loaded in enumerate(record.rows.tolist()) if loaded]
    return row
