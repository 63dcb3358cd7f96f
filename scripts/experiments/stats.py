"""Compare runs over seeds: mean and standard deviation, and paired Student t intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Mean of paired differences and its 95 % interval; a single pair has no interval."""

    mean: float
    low: float | None
    high: float | None
    num: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def format_mean_std(values: Sequence[float | None], digits: int = 3, *, with_std: bool = True) -> str:
    """Format mean and standard deviation over the values that are not None; if some are, with their number.

    Args:
        values: One per seed.
        digits: Decimal places.
        with_std: Whether to give the standard deviation; a single value has none.
    """
    present = [value for value in values if value is not None]
    if not present:
        return "-"
    mean = statistics.fmean(present)
    style = f".{digits}f" if mean < 1e5 else ".2e"
    text = f"{mean:{style}}"
    if with_std and len(present) > 1:
        text += f" ± {statistics.stdev(present):{style}}"
    return text if len(present) == len(values) else f"{text} ({len(present)} of {len(values)})"


def student_coverage(t: float, df: int) -> float:
    """Return the probability that a Student t variable of ``df`` degrees of freedom lies within ``-t`` and ``t``.

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
    """Return the ``t`` whose ``student_coverage`` is ``coverage``, by bisection."""
    low, high = 0.0, 1.0
    while student_coverage(high, df) < coverage:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_coverage(middle, df) < coverage else (low, middle)
    return high


def paired_interval(values: Mapping[int, float], baseline: Mapping[int, float]) -> Interval | None:
    """Return the mean of ``values - baseline`` over common seeds and its 95 % interval; None without such seeds."""
    gaps = [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]
    if not gaps:
        return None
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        return Interval(mean, None, None, len(gaps))
    half = student_quantile(0.95, len(gaps) - 1) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return Interval(mean, mean - half, mean + half, len(gaps))
