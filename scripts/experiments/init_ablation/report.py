"""Report the ablation: a CSV row per run, and a Markdown table per block with the differences it supports."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.experiments.stats import Interval, format_mean_std, paired_interval
from yolofuse.files import save_text
from yolofuse.tables import csv_text, markdown_table

Curve = list[tuple[int, float]]
"""Pairs of step and loss."""

BLOCKS = {"scratch": "From scratch", "pretrained": "From pretrained weights", "norm-free": "Without BatchNorm"}
BASELINE = "kaiming"

_LOSS_STEPS = (10, 30, 100)
"""Steps whose loss is reported."""
_HALF_WINDOW = 2
"""Steps on either side that are averaged with it."""
_ORIGIN = ("commit", "torch", "device", "data_hash", "pretrained")


@dataclass(frozen=True)
class Result:
    """Result of one run; its fields are the keys of cell.json.

    Attributes:
        block: Key of ``BLOCKS``.
        policy: Name of the policy.
        seed: Of data order and initial values.
        nan_step: First step whose loss was not finite; None if all were finite.
        seconds: Of training and evaluation, in the process that finished the run.
        figures: AP, AP50 and AP75 on val; zeros if the loss became non-finite.
        first: Loss terms of the first step.
        curve: Total loss of each step while it was finite.
        origin: Data hash, pretrained weights, commit, date, torch, device.
    """

    block: str
    policy: str
    seed: int
    nan_step: int | None
    seconds: float
    figures: dict[str, float]
    first: dict[str, float]
    curve: Curve
    origin: dict[str, str]

    def loss_at(self, step: int | None) -> float | None:
        """Return the mean loss around a step, or of the last steps for None; None if the run did not get there."""
        if step is None:
            totals = [total for _, total in self.curve[-2 * _HALF_WINDOW - 1 :]] if self.nan_step is None else []
        elif not self.curve or self.curve[-1][0] < step + _HALF_WINDOW:
            totals = []
        else:
            totals = [total for at, total in self.curve if abs(at - step) <= _HALF_WINDOW]
        return statistics.fmean(totals) if totals else None


def write_report(
    out: Path, name: str, budget: Mapping[str, str], results: Sequence[Result], policies: Mapping[str, Sequence[str]]
) -> str:
    """Write NAME.csv and NAME.md, which shows NAME.png, to ``out``; return the Markdown.

    Args:
        out: Folder; created if needed.
        name: Of the files.
        budget: Columns that all runs share.
        results: The runs, in the order of the report.
        policies: Overrides of each policy.
    """
    text = format_report(name, budget, results, policies)
    save_text(out / f"{name}.csv", format_csv(budget, results, policies))
    save_text(out / f"{name}.md", text)
    return text


def format_csv(budget: Mapping[str, str], results: Sequence[Result], policies: Mapping[str, Sequence[str]]) -> str:
    """Format a row per run; cells without a value are blank."""
    terms = list(dict.fromkeys(f"first_{term}" for result in results for term in result.first))
    rows = []
    for result in results:
        losses = {f"loss_{step or 'last'}": result.loss_at(step) for step in (*_LOSS_STEPS, None)}
        values: dict[str, float | None] = {**result.figures, **dict.fromkeys(terms), **losses}
        values |= {f"first_{term}": value for term, value in result.first.items()}
        rows.append(
            {
                "block": result.block,
                "policy": result.policy,
                "seed": str(result.seed),
                "nan": str(int(result.nan_step is not None)),
                "nan_step": "" if result.nan_step is None else str(result.nan_step),
                **{key: "" if value is None else f"{value:.6g}" for key, value in values.items()},
                "seconds": f"{result.seconds:.0f}",
                **budget,
                "policy_words": " ".join(policies[result.policy]),
                **result.origin,
            }
        )
    return csv_text(rows)


def format_report(
    name: str, budget: Mapping[str, str], results: Sequence[Result], policies: Mapping[str, Sequence[str]]
) -> str:
    """Format the page: budget, a table and a verdict per block, notes."""
    head = ", ".join(
        [
            f"{budget['epochs']} epochs ({budget['steps']} steps) at {budget['imgsz']} px",
            f"batch {budget['batch']}",
            budget["model"],
            f"data {budget['data']} ({budget['pairs']} pairs)",
            *([f"`{budget['words']}`"] if budget["words"] else []),
        ]
    )
    lines = [f"# Initialisation, {name}: {head}", "", f"![losses and AP50]({name}.png)", ""]
    for block, title in BLOCKS.items():
        runs = [result for result in results if result.block == block]
        if runs:
            lines += [f"## {title}", "", *format_block(runs), ""]
    shown = dict.fromkeys(result.policy for result in results)
    origin = {key: ", ".join(dict.fromkeys(r.origin[key] for r in results if r.origin[key])) for key in _ORIGIN}
    lines += [
        "## Notes",
        "",
        "- Mean ± standard deviation over seeds; a single run has none. AP and AP50 are cocoapi's on val, of the "
        "EMA weights after the last epoch; nothing was chosen by looking at val.",
        f"- Loss at a step: mean over {_HALF_WINDOW} steps on either side; last: over the last {2 * _HALF_WINDOW + 1}. "
        "First loss: of the very first step, and below it by term.",
        "- NaN: runs whose loss became non-finite. Their AP counts as 0 in means and differences; their losses count "
        "up to that step.",
        f"- Difference: AP less that of {BASELINE} with the same seed, which has the same order of the data. Its 95 % "
        "interval is Student's t over these differences, for each row separately: of twenty rows without a true "
        "difference, one is expected to exclude 0.",
        "- Declared initial values (head outputs N(0, 0.01), priors, fusion, DFL) are the same under every policy, "
        "except: zeros and constant also fill the head's last convolutions, to test the pure scheme; article and "
        "kaiming@naive overwrite everything.",
        *(f"- {policy}: `{' '.join(policies[policy])}`" for policy in shown),
        *([f"- Pretrained weights: {origin['pretrained']}."] if origin["pretrained"] else []),
        f"- {len(results)} runs, a row each in {name}.csv. Commit {origin['commit']}; torch {origin['torch']}; device "
        f"{origin['device']}; data hash {origin['data_hash']}. Made by `python -m scripts.experiments.init_ablation`.",
    ]
    return "\n".join(lines) + "\n"


def format_block(results: Sequence[Result]) -> list[str]:
    """Format the table of one block, and the verdict below it, as lines."""
    steps = [step for step in _LOSS_STEPS if any(result.loss_at(step) is not None for result in results)]
    columns = ["policy", "n", "first loss", *(f"loss at {step}" for step in steps), "last loss", "AP50", "AP", "NaN"]
    table = [[*columns, f"AP - {BASELINE}", "95 % interval"]]
    intervals: dict[str, Interval | None] = {}
    grouped = group_by_policy(results)
    baseline = {result.seed: result.figures["AP"] for result in grouped.get(BASELINE, [])}
    for policy, runs in grouped.items():
        cells = [policy, str(len(runs)), _format_first_loss(runs)]
        cells += [format_mean_std([run.loss_at(step) for run in runs], 2) for step in (*steps, None)]
        cells += [format_mean_std([run.figures[key] for run in runs]) for key in ("AP50", "AP")]
        cells.append(str(sum(run.nan_step is not None for run in runs)))
        interval = None
        if policy != BASELINE:
            interval = paired_interval({run.seed: run.figures["AP"] for run in runs}, baseline)
            intervals[policy] = interval
        cells += ["", ""] if interval is None else [f"{interval.mean:+.3f}", _format_bounds(interval)]
        table.append(cells)
    return [*markdown_table(table).splitlines(), "", verdict(intervals, num_baseline=len(baseline))]


def verdict(intervals: Mapping[str, Interval | None], *, num_baseline: int) -> str:
    """State which differences in AP to the baseline the intervals support."""
    if not num_baseline:
        return f"{BASELINE} was not run here, so nothing is compared."
    if not intervals:
        return f"Only {BASELINE} was run here, so nothing is compared."
    higher: list[str] = []
    lower: list[str] = []
    undecided: list[str] = []
    none: list[str] = []
    for policy, interval in intervals.items():
        if interval is None or interval.low is None:
            none.append(policy)
        elif interval.excludes_zero:
            (higher if interval.mean > 0 else lower).append(
                f"{policy} ({_format_bounds(interval)}, n = {interval.num})"
            )
        else:
            undecided.append(f"{policy} ({_format_bounds(interval)}, n = {interval.num})")
    parts = [
        (f"AP is higher than {BASELINE}'s for", higher),
        (f"AP is lower than {BASELINE}'s for", lower),
        (f"undecided against {BASELINE}, because the interval includes 0:", undecided),
        (f"no interval, because fewer than two seeds are shared with {BASELINE}:", none),
    ]
    text = "; ".join(f"{what} {', '.join(which)}" for what, which in parts if which)
    return f"At this budget, by 95 % intervals of the paired difference: {text}."


def group_by_policy(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the runs of each policy, in the given order."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.policy, []).append(result)
    return groups


def _format_bounds(interval: Interval) -> str:
    return "" if interval.low is None else f"{interval.low:+.3f} to {interval.high:+.3f}"


def _format_first_loss(runs: Sequence[Result]) -> str:
    """Format the first loss, and its terms in the order of the file."""
    terms = list(dict.fromkeys(term for run in runs for term in run.first if term != "total"))
    means = [format_mean_std([run.first.get(term) for run in runs], 2, with_std=False) for term in terms]
    parts = ", ".join(f"{term} {mean}" for term, mean in zip(terms, means, strict=True))
    return format_mean_std([run.first.get("total") for run in runs], 2) + (f"<br>{parts}" if parts else "")
