from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from yolofuse.distributed.consensus import RankConsensus


@dataclass
class _OtherRank:
    """Stands for this rank and another one, whose flags are set here."""

    flags: tuple[bool, ...] = (False, False, False)
    messages: list[tuple[bool, ...]] = field(default_factory=list)

    def any_rank(self, *flags: bool) -> tuple[bool, ...]:
        self.messages.append(flags)
        return tuple(own or other for own, other in zip(flags, self.flags, strict=True))


@pytest.mark.parametrize(
    "other", [(False, False, False), (True, False, False), (False, True, False), (False, False, True)]
)
def test_exchange__one_message_tells_what_any_rank_asked_for(other: tuple[bool, ...]) -> None:
    ranks: Any = _OtherRank(other)
    consensus = RankConsensus(ranks)
    assert consensus.exchange() is other[2]
    assert (consensus.stop, consensus.save) == other[:2]
    assert len(ranks.messages) == 1


def test_exchange__sends_what_this_rank_asks_for() -> None:
    ranks: Any = _OtherRank()
    consensus = RankConsensus(ranks)
    consensus.wants_stop = lambda: True
    assert consensus.exchange(out_of_memory=True)
    assert ranks.messages == [(True, False, True)]
    assert consensus.stop
    assert not consensus.save
