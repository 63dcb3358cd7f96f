"""Choose the pairs of val where a source has no such split, by a rule that anybody can repeat."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from yolofuse.convert.source_folder import ImagePair, SourceFolder

VAL_SHARE = 0.1


def choose_groups(sizes: Mapping[str, int], share: float = VAL_SHARE) -> tuple[str, ...]:
    """Return the whole groups (scenes, videos) whose sizes add up to the total nearest to ``share`` of all.

    Among equally near choices the one with the fewest groups wins, then the first in the order of their names. At least
    one group is chosen, and never all; a single group can't be divided.
    """
    names = sorted(name for name, size in sizes.items() if size)
    if len(names) < 2:
        return ()
    target = share * sum(sizes.values())
    best: dict[int, tuple[str, ...]] = {0: ()}
    for name in names:
        for total, chosen in list(best.items()):
            reached, candidate = total + sizes[name], (*chosen, name)
            if chosen and reached > 2 * target:
                continue  # farther off than choosing none
            known = best.get(reached)
            if known is None or (len(candidate), candidate) < (len(known), known):
                best[reached] = candidate
    del best[0]
    full = sum(sizes.values())
    _, _, nearest = min((abs(total - target), len(chosen), chosen) for total, chosen in best.items() if total < full)
    return nearest


def split_by_hash(
    source: SourceFolder, pairs: Sequence[ImagePair], seed: int, share: float
) -> list[tuple[str, list[ImagePair]]]:
    """Divide pairs into train and val by ``choose_by_hash`` of their keys.

    A share outside 0..1 is a problem, and so is a single pair, which can't be divided.
    """
    val = choose_by_hash([pair.key for pair in pairs], seed, share)
    if not 0 < share < 1:
        source.problems.append(f"--val-share: must lie between 0 and 1 (got {share})")
    elif len(pairs) == 1:
        source.problems.append("--val-share: one pair can't be divided into train and val; add pairs")
    return [
        ("train", [pair for pair in pairs if pair.key not in val]),
        ("val", [pair for pair in pairs if pair.key in val]),
    ]


def choose_by_hash(keys: Collection[str], seed: int, share: float) -> frozenset[str]:
    """Return the share of keys whose SHA-256 of ``"<seed>:<key>"`` comes first: at least one, and never all."""
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).hexdigest())
    return frozenset(ranked[: min(max(round(share * len(ranked)), 1), len(ranked) - 1)])
