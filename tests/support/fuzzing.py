"""Damage files, draw unexpected values, and check limits that hold for any input, for fuzz tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.convert_trees import tree
from yolofuse.errors import YolofuseError

SECONDS = 5
"""Far more than any example takes; one that takes longer hangs."""

_MAX_MESSAGE = 40_000  # characters: 20 problems of a few long paths each

Edit = tuple[str, float, bytes]  # kind, position (share of the length), bytes

FUZZ = settings(
    max_examples=60,
    deadline=None,  # SECONDS is the limit: a deadline would also count other load of the machine
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

NASTY_WORDS = st.sampled_from(
    [
        *("", " ", "\0", "\n", "\r\n", "a\0b", "a\nb", "..", "/", "../..", "\\", "C:\\data\\a.png", "~", "."),
        *("nan", "-inf", "1e400", "1e-320", "-0", "9" * 30, "9" * 400, "-1", "0x10", "1_0", "٣", "½", "true", "null"),
        *("\ud800", "\udcff", "\ufeff", "\u2028", "é" * 300, "a" * 5000, "<a>", "&x;", "%s", "{}", "%", "train_000"),
    ]
)
NASTY_NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 10**9, 10**30, 10**400, -(10**400), 1e308, -1e308, 5e-324, 1e400, -1e400, float("nan"), 0.5, True]
)
NASTY_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NASTY_NUMBERS, NASTY_WORDS, st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NASTY_WORDS, inner, max_size=3),
    max_leaves=6,
)

_NASTY_BYTES = [b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\r\n", b'"', b"[" * 3000, b"nan", b"1e400"]
EDITS: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "put", "insert", "remove"]),
        st.floats(0, 1),
        st.sampled_from([*_NASTY_BYTES, b"-1", b"9" * 400, b"{}", b"<", b"&a;"]) | st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, edits: list[Edit]) -> bytes:
    """Apply edits to content: cut off, flip a bit, overwrite, insert or remove bytes."""
    for kind, share, given in edits:
        at = int(share * len(content))
        if kind == "cut":
            content = content[:at]
        elif kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << (len(given) % 8))]) + content[at + 1 :]
        elif kind == "put":
            content = content[:at] + given + content[at + len(given) :]
        elif kind == "insert":
            content = content[:at] + given + content[at:]
        elif kind == "remove":
            content = content[:at] + content[at + len(given) :]
    return content


@contextmanager
def within_limits(*expected: str, seconds: int = SECONDS) -> Iterator[None]:
    """Check that a block raises at most a ``YolofuseError``, in time, short and with one of ``expected`` in it."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        pytest.fail(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    except YolofuseError as error:
        text = str(error)
        assert len(text) < _MAX_MESSAGE
        assert any(part in text for part in expected), text
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def nothing_written(folder: Path, *but_in: str) -> Iterator[None]:
    """Check that a block leaves the files below ``folder`` as they are, except in its entries ``but_in``."""
    before = _others(folder, but_in)
    yield
    assert _others(folder, but_in) == before


def _others(folder: Path, but_in: tuple[str, ...]) -> dict[str, str]:
    return {name: content for name, content in tree(folder).items() if name.split("/")[0] not in but_in}
