"""The report of scripts/ablate_init.py: a row per run, and a table per block with what it decides."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.files import save_text

Curve = list[tuple[int, float]]
"""Steps and losses."""

BLOCKS = {"scratch": "From scratch", "pretrained": "From pretrained weights", "norm-free": "Without BatchNorm"}
BASELINE = "kaiming"

_LOOKS = (10, 30, 100)
"""Steps whose loss is told."""
_AROUND = 2
"""Steps on either side that go into it."""
_TOLD = ("commit", "torch", "device", "data_hash", "pretrained")


@dataclass(frozen=True)
class Result:
    """What became of one run.

    Attributes:
        block: Key of ``BLOCKS``.
        policy: Name of the policy.
        seed: Of data order and draws.
        nan_step: Step after which the loss was not finite; None where it always was.
        seconds: Of training and judging, in the session that finished the run.
        figures: AP, AP50 and AP75 on val; zeros where the loss broke.
        first: Loss terms of the first step.
        curve: The whole loss of each step while it was finite.
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
        """Mean loss of the steps around the one asked for, or of the last ones for None; None if it wasn't reached."""
        if step is None:
            totals = [total for _, total in self.curve[-2 * _AROUND - 1 :]] if self.nan_step is None else []
        elif not self.curve or self.curve[-1][0] < step + _AROUND:
            totals = []
        else:
            totals = [total for at, total in self.curve if abs(at - step) <= _AROUND]
        return statistics.fmean(totals) if totals else None


@dataclass(frozen=True)
class Interval:
    """Mean of paired differences with the ends of its 95 % interval, which a single pair does not have."""

    mean: float
    low: float | None
    high: float | None
    num: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def student_coverage(t: float, df: int) -> float:
    """Probability that a Student t of ``df`` degrees of freedom lies within ``-t`` and ``t``.

    Reference:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: a finite sum for whole ``df``.
    """
    angle = math.atan(t / math.sqrt(df))
    odd = df % 2
    term = math.cos(angle) if odd else 1.0
    total = term if df > 1 else 0.0
    for k in range(3 if odd else 2, df - 1, 2):
        term *= (k - 1) / k * math.cos(angle) ** 2
        total += term
    series = math.sin(angle) * total
    return 2 / math.pi * (angle + series) if odd else series


def student_quantile(coverage: float, df: int) -> float:
    """The ``t`` whose ``student_coverage`` is the one asked for, by halving."""
    low, high = 0.0, 1.0
    while student_coverage(high, df) < coverage:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_coverage(middle, df) < coverage else (low, middle)
    return high


def paired_interval(values: Mapping[int, float], baseline: Mapping[int, float]) -> Interval | None:
    """Mean of ``values - baseline`` over the seeds that both have, with its 95 % interval; None without such seeds."""
    gaps = [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]
    if not gaps:
        return None
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        return Interval(mean, None, None, len(gaps))
    half = student_quantile(0.95, len(gaps) - 1) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return Interval(mean, mean - half, mean + half, len(gaps))


def write_report(
    out: Path, name: str, budget: Mapping[str, str], results: Sequence[Result], policies: Mapping[str, Sequence[str]]
) -> str:
    """Write NAME.csv and NAME.md, which shows NAME.png, into ``out``; returns the text of the second.

    Args:
        out: Folder; made if need be.
        name: Of the files.
        budget: What every run had in common.
        results: The runs, in the order in which they are to be told.
        policies: Words of each policy.
    """
    text = format_report(name, budget, results, policies)
    save_text(out / f"{name}.csv", format_csv(budget, results, policies))
    save_text(out / f"{name}.md", text)
    return text


def format_csv(budget: Mapping[str, str], results: Sequence[Result], policies: Mapping[str, Sequence[str]]) -> str:
    """A row per run; blank where there is no value."""
    terms = list(dict.fromkeys(f"first_{term}" for result in results for term in result.first))
    rows = []
    for result in results:
        losses = {f"loss_{step or 'last'}": result.loss_at(step) for step in (*_LOOKS, None)}
        figures: dict[str, float | None] = {**result.figures, **dict.fromkeys(terms), **losses}
        figures |= {f"first_{term}": value for term, value in result.first.items()}
        rows.append(
            {
                "block": result.block,
                "policy": result.policy,
                "seed": str(result.seed),
                "nan": str(int(result.nan_step is not None)),
                "nan_step": "" if result.nan_step is None else str(result.nan_step),
                **{key: "" if value is None else f"{value:.6g}" for key, value in figures.items()},
                "seconds": f"{result.seconds:.0f}",
                **budget,
                "policy_words": " ".join(policies[result.policy]),
                **result.origin,
            }
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def format_report(
    name: str, budget: Mapping[str, str], results: Sequence[Result], policies: Mapping[str, Sequence[str]]
) -> str:
    """The page: budget, a table and a sentence per block, notes."""
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
    origin = {key: ", ".join(dict.fromkeys(r.origin[key] for r in results if r.origin[key])) for key in _TOLD}
    lines += [
        "## Notes",
        "",
        "- Mean ± standard deviation over seeds; a single run has none. AP and AP50 are cocoapi's on val, of the "
        "moving-average weights after the last epoch; nothing was chosen by looking at val.",
        f"- Loss at a step: mean over {_AROUND} steps on either side; last: over the last {2 * _AROUND + 1}. First "
        "loss: of the very first step, and below it by term.",
        "- NaN: runs whose loss stopped being finite. Their AP counts as 0 in means and differences; their losses "
        "count up to there.",
        f"- Difference: AP less that of {BASELINE} with the same seed, which has the same order of the data. Its 95 % "
        "interval is Student's t over these differences, for each row by itself: of twenty rows without any true "
        "difference, one is expected to exclude 0.",
        "- Declared starts (head outputs N(0, 0.01), priors, fusion, DFL) are the same under every policy, except: "
        "zeros and constant fill the head's last convolutions too, for the pure scheme is their point; article and "
        "kaiming@naive overwrite everything.",
        *(f"- {policy}: `{' '.join(policies[policy])}`" for policy in shown),
        *([f"- Pretrained weights: {origin['pretrained']}."] if origin["pretrained"] else []),
        f"- {len(results)} runs, a row each in {name}.csv. Commit {origin['commit']}; torch {origin['torch']}; device "
        f"{origin['device']}; data hash {origin['data_hash']}. Made by scripts/ablate_init.py.",
    ]
    return "\n".join(lines) + "\n"


def format_block(results: Sequence[Result]) -> list[str]:
    """The table of one block, and the sentence that says what it decides."""
    looks = [step for step in _LOOKS if any(result.loss_at(step) is not None for result in results)]
    columns = ["policy", "n", "first loss", *(f"loss at {step}" for step in looks), "last loss", "AP50", "AP", "NaN"]
    columns += [f"AP - {BASELINE}", "95 % interval"]
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    intervals: dict[str, Interval | None] = {}
    grouped = by_policy(results)
    baseline = {result.seed: result.figures["AP"] for result in grouped.get(BASELINE, [])}
    for policy, runs in grouped.items():
        cells = [policy, str(len(runs)), _first(runs)]
        cells += [_spread([run.loss_at(step) for run in runs], 2) for step in (*looks, None)]
        cells += [_spread([run.figures[key] for run in runs], 3) for key in ("AP50", "AP")]
        cells.append(str(sum(run.nan_step is not None for run in runs)))
        if policy == BASELINE:
            cells += ["", ""]
        else:
            interval = paired_interval({run.seed: run.figures["AP"] for run in runs}, baseline)
            intervals[policy] = interval
            cells += ["", ""] if interval is None else [f"{interval.mean:+.3f}", _ends(interval)]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", verdict(intervals, num_baseline=len(baseline))]


def verdict(intervals: Mapping[str, Interval | None], *, num_baseline: int) -> str:
    """What the intervals say of AP against the baseline, and no more."""
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
            (higher if interval.mean > 0 else lower).append(f"{policy} ({_ends(interval)}, n = {interval.num})")
        else:
            undecided.append(f"{policy} ({_ends(interval)}, n = {interval.num})")
    parts = [
        (f"AP is higher than {BASELINE}'s for", higher),
        (f"AP is lower than {BASELINE}'s for", lower),
        (f"not decided against {BASELINE}, for the interval includes 0:", undecided),
        (f"no interval, for fewer than two seeds are shared with {BASELINE}:", none),
    ]
    said = "; ".join(f"{what} {', '.join(which)}" for what, which in parts if which)
    return f"At this budget, by 95 % intervals of the paired difference: {said}."


def by_policy(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The runs of each policy, in the order in which they are given."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.policy, []).append(result)
    return found


def _ends(interval: Interval) -> str:
    return "" if interval.low is None else f"{interval.low:+.3f} to {interval.high:+.3f}"


def _first(runs: Sequence[Result]) -> str:
    """The first loss, and its terms in the order of the file."""
    terms = list(dict.fromkeys(term for run in runs for term in run.first if term != "total"))
    means = [_spread([run.first.get(term) for run in runs], 2, with_sd=False) for term in terms]
    parts = ", ".join(f"{term} {mean}" for term, mean in zip(terms, means, strict=True))
    return _spread([run.first.get("total") for run in runs], 2) + (f"<br>{parts}" if parts else "")


def _spread(values: Sequence[float | None], digits: int, *, with_sd: bool = True) -> str:
    """Mean and standard deviation of what is there, saying how many of how many that is where some are missing."""
    there = [value for value in values if value is not None]
    if not there:
        return "-"
    mean = statistics.fmean(there)
    style = f".{digits}f" if mean < 1e5 else ".2e"
    text = f"{mean:{style}}"
    if with_sd and len(there) > 1:
        text += f" ± {statistics.stdev(there):{style}}"
    return text if len(there) == len(values) else f"{text} ({len(there)} of {len(values)})"
