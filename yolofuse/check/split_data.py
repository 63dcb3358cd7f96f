"""One split as the checks see it: its pairs, what was measured of them, and what is wrong with its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yolofuse.check.pair_stats import PairFacts
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.problems import Problem
from yolofuse.types import PairRecord


@dataclass(frozen=True, slots=True)
class Split:
    """One split.

    Attributes:
        name: Its name in the descriptor.
        pairs: Those whose files are whole.
        facts: One per pair; None where a file went away meanwhile.
        problems: What training would refuse.
        warnings: What training would only mention.
    """

    name: str
    pairs: PairSet
    facts: Sequence[PairFacts | None]
    problems: Sequence[Problem]
    warnings: Sequence[Problem]

    def measured(self) -> Iterator[tuple[PairRecord, PairFacts]]:
        """Every pair with its facts."""
        for record, facts in zip(self.pairs.records, self.facts, strict=True):
            if facts is not None:
                yield record, facts


def evenly(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` positions of ``count``, spread evenly and the same every time."""
    if count <= wanted:
        return list(range(count))
    return [position * count // wanted for position in range(wanted)]
