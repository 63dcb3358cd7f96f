"""Hold what the rules need of one split: its pairs, their statistics, and the problems of its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yolofuse.check.pair_stats import PairStats
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.problems import Problem
from yolofuse.types import PairRecord


@dataclass(frozen=True, slots=True)
class Split:
    """One split.

    Attributes:
        name: Its name in the descriptor.
        pairs: The pairs whose files can be read.
        stats: One per pair; None where a file could not be read a second time.
        problems: Problems with which training refuses to start.
        warnings: Problems that training only logs.
    """

    name: str
    pairs: PairSet
    stats: Sequence[PairStats | None]
    problems: Sequence[Problem]
    warnings: Sequence[Problem]

    def measured(self) -> Iterator[tuple[PairRecord, PairStats]]:
        """Iterate over the pairs that have statistics."""
        for record, stats in zip(self.pairs.records, self.stats, strict=True):
            if stats is not None:
                yield record, stats
