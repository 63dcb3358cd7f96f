"""What became of every tensor of a model, as a table, as JSON, and as warnings where something smells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from yolofuse.errors import WeightsError
from yolofuse.weights.init.policy import Policy
from yolofuse.weights.sources import Source
from yolofuse.weights.tensor_log import Entry, TensorLog, TensorStatus

_COLUMNS: tuple[TensorStatus, ...] = ("loaded", "inflated", "partial", "initialised", "constructor", "fixed")
_SMELLS_BELOW = 0.5  # share of a backbone


@dataclass(frozen=True)
class WeightsReport:
    """The closed ledger of a model.

    Attributes:
        entries: One per tensor: parameters and BatchNorm statistics; counters are left out.
        sources: The source of each part that has one.
        policy: Name of the preset.
        seed: Of the draws.
        warnings: What smells.
    """

    entries: tuple[Entry, ...]
    sources: dict[str, Source]
    policy: str
    seed: int
    warnings: tuple[str, ...]

    @property
    def statuses(self) -> dict[str, TensorStatus]:
        """What became of each tensor, by its name."""
        return {entry.name: entry.fate for entry in self.entries}

    def count(self, part: str) -> Counter[TensorStatus]:
        """How many tensors of a part met which fate."""
        return Counter(entry.fate for entry in self.entries if entry.part == part)

    def share_loaded(self, part: str | None = None) -> float:
        """Share of the elements of backbone and neck (heads and fusion blocks are left out) that came from a file.

        Args:
            part: One part alone; None for all.
        """
        asked = [e for e in self.entries if e.part == part or (part is None and e.part != "fusion")]
        body = [entry for entry in asked if entry.trainable and not entry.head]
        total = sum(entry.num_elements for entry in body)
        return sum(entry.num_loaded for entry in body) / total if total else 0.0

    def format(self, *, modules: bool = False) -> str:
        """The counts of tensors as a table.

        Args:
            modules: A row for each layer or fusion block, with the rules and spreads of what was drawn, instead of one
                for each part.
        """
        files = dict.fromkeys(source.path for source in self.sources.values())
        lines = [f"weights from {path}" for path in files] or ["no pretrained weights"]
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries:
            groups.setdefault(_layer(entry) if modules else entry.part, []).append(entry)
        width = max(map(len, groups)) + 2
        titles = {"partial": "partly", "constructor": "as built"}
        shown = [fate for fate in _COLUMNS if any(entry.fate == fate for entry in self.entries)]
        head = "".join(f"{titles.get(fate, fate):>13}" for fate in shown)
        lines.append(f"{'layer' if modules else 'part':<{width}}{head}{'frozen':>8}" + "  drawn by" * modules)
        for name, entries in groups.items():
            counts = Counter(entry.fate for entry in entries)
            row = "".join(f"{counts[fate]:>13}" for fate in shown) + f"{sum(e.frozen for e in entries):>8}"
            lines.append(f"{name:<{width}}{row}" + (f"  {_drawn(entries)}" if modules else ""))
        lines.append(f"{self.share_loaded():.1%} of backbone and neck loaded; the rest by policy {self.policy}")
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """Everything, for JSON."""
        parts = list(dict.fromkeys(entry.part for entry in self.entries))
        return {
            "policy": self.policy,
            "seed": self.seed,
            "share_loaded": round(self.share_loaded(), 6),
            "sources": {
                part: {"file": str(s.path), "sha256": s.sha256, "base": s.base, "names": list(s.names or ()) or None}
                for part, s in self.sources.items()
            },
            "warnings": list(self.warnings),
            "parts": {part: dict(self.count(part)) for part in parts},
            "tensors": [_plain(entry) for entry in self.entries],
        }

    def require(self, share: float) -> None:
        """Stop a run that loaded too little.

        Raises:
            WeightsError: If less than ``share`` of backbone and neck came from a file.
        """
        if self.share_loaded() < share:
            raise WeightsError(
                f"weights.require: {share:.1%} of backbone and neck must be loaded, but {self.share_loaded():.1%} was; "
                f"give weights of the model's own base, or ask for less\n{self.format()}"
            )


def close(ledger: TensorLog, sources: dict[str, Source], policy: Policy, warnings: Sequence[str]) -> WeightsReport:
    """The report of a ledger that nothing will be written to any more; adds the warnings that the counts give."""
    report = WeightsReport(tuple(ledger), sources, policy.config.preset, policy.seed, ())
    smells = () if policy.preset.naive else _smells(report)  # that one's own warning says it all
    return replace(report, warnings=(*warnings, *smells))


def _smells(report: WeightsReport) -> Iterable[str]:
    parts = list(dict.fromkeys(entry.part for entry in report.entries))
    for part in parts:
        source = report.sources.get(part)
        if source is None or part == "fusion":
            if report.sources and part != "fusion":
                yield f"{part}: has no pretrained weights, other parts have"
            continue
        mine = [entry for entry in report.entries if entry.part == part]
        share = report.share_loaded(part)
        if not any(entry.num_loaded for entry in mine):
            if not all(entry.head for entry in mine):  # a head alone, after a late cut, may be another's
                yield f"{part}: nothing was loaded from {source.path}"
        elif share < _SMELLS_BELOW and not all(entry.head for entry in mine):
            yield f"{part}: only {share:.0%} of its backbone and neck was loaded from {source.path}"
    never = [e for e in report.entries if e.frozen and e.fate in {"initialised", "constructor"} and len(e.shape) > 1]
    if never:
        yield f"train.freeze: {never[0].name} and {len(never) - 1} more are frozen, but were never loaded"


def _layer(entry: Entry) -> str:
    """``rgb.layers.4`` of ``rgb.layers.4.cv1.conv.weight``; ``fusion.4`` of ``fusion.4.conv.weight``."""
    words = entry.name.split(".")
    return ".".join(words[: 3 if words[1] == "layers" else 2])


def _drawn(entries: Sequence[Entry]) -> str:
    """The layer's rules, with how many tensors each filled and the range of its spreads, expected and measured."""
    texts = []
    by_rule: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.rule is not None:
            by_rule.setdefault(entry.rule, []).append(entry)
    for rule, drawn in by_rule.items():
        expected = [entry.expected_std for entry in drawn if entry.expected_std is not None]
        measured = [entry.measured_std for entry in drawn if entry.measured_std is not None]
        text = f"{len(drawn)} x {rule}"
        if expected:
            text += f" std {_range(expected)} (measured {_range(measured)})"
        texts.append(text)
    return "; ".join(texts)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4f}", f"{max(values):.4f}"
    return low if low == high else f"{low}..{high}"


def _plain(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"name": entry.name, "shape": list(entry.shape), "fate": entry.fate, "frozen": entry.frozen}
    for key in ("source", "rule", "expected_std", "measured_std"):
        value = getattr(entry, key)
        if value is not None:
            row[key] = value
    if entry.rows is not None:
        row["rows_loaded"] = [i for i, loaded in enumerate(entry.rows.tolist()) if loaded]
    return row
