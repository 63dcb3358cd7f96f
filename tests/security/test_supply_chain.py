"""Test requirements.lock: current, versions inside pyproject's ranges, each file with its SHA-256."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.runs import REPO

_SCRIPT = REPO / "scripts" / "lock_requirements.py"
_LOCK = REPO / "requirements.lock"
_NAMES = runpy.run_path(str(_SCRIPT))
requirements: Callable[[str], list[str]] = _NAMES["requirements"]
check: Callable[[list[str], str], list[str]] = _NAMES["check"]


def _required_and_lock() -> tuple[list[str], str]:
    return requirements((REPO / "pyproject.toml").read_text()), _LOCK.read_text()


def test_lock__is_current() -> None:
    """``scripts/lock_requirements.py --check`` needs no network."""
    done = subprocess.run([sys.executable, str(_SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_lock__has_hashes_and_no_index_or_link() -> None:
    text = _LOCK.read_text()
    assert text.count("--hash=sha256:") > text.count("==")
    assert "://" not in text  # no index but the default one
    assert not re.search(r"^-|^\S+ @ ", text, re.MULTILINE)  # no options, no direct links


_CHANGES: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "newer-range": (lambda required: [line.replace("ultralytics>=8.4.190,<8.5", "ultralytics>=9") for line in required],
                    "ultralytics>=9: pinned for Python 3.11 is 8.4"),
    "one-more": (lambda required: [*required, "left-pad>=1"], "left-pad>=1: pinned for Python 3.10 is nothing"),
    "one-less": (lambda required: required[:-1], "made from other requirements"),
    "python": (lambda required: ["# python >=3.14", *required[1:]], "made from other requirements"),
}  # fmt: skip


@pytest.mark.parametrize("change", _CHANGES)
def test_check__other_requirements_are_reported(change: str) -> None:
    required, text = _required_and_lock()
    edit, expected = _CHANGES[change]
    assert any(expected in problem for problem in check(edit(required), text))


_EDITS = {
    "no-hash": (r"(?s)(\nnumpy==\S+ ; [^\n]*) \\\n.*?(?=\n\w)", r"\1", "numpy==.*: no hash"),
    "other-version": (r"\nultralytics==\S+", "\nultralytics==8.3.41", "ultralytics.*is 8.3.41"),
    "a-link": (r"\nultralytics==\S+ \\", "\nultralytics @ https://x.invalid/u.whl", "not a pin and not a hash"),
    "an-index": (r"\nnumpy==", "\n--extra-index-url https://x.invalid\nnumpy==", "not a pin and not a hash"),
    "weak-hash": (r"--hash=sha256:\w+", "--hash=md5:00", "not a pin and not a hash"),
    "empty": (r"(?s)\n.*", "\n", "ultralytics.*is nothing"),
}


@pytest.mark.parametrize("edit", _EDITS)
def test_check__an_edited_lock_is_reported(edit: str) -> None:
    required, text = _required_and_lock()
    pattern, replacement, expected = _EDITS[edit]
    edited = re.sub(pattern, replacement, text, count=1)
    assert edited != text
    assert any(re.search(expected, problem) for problem in check(required, edited))


def test_ranges__exclude_compromised_versions() -> None:
    """ultralytics 8.3.41 to 8.3.46 contained a miner; torch before 2.10 runs code despite ``weights_only``."""
    required = {re.split(r"[<>=]", line)[0]: line for line in _required_and_lock()[0]}
    assert required["torch"] == "torch>=2.10"
    assert required["ultralytics"].startswith("ultralytics>=8.4.")
    assert "<8.5" in required["ultralytics"]
