"""docs/config.md is what the schema says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts import config_docs
from yolofuse.config.field_types import ImageSize, NonNegative, Unit


def test_page__is_current() -> None:
    assert config_docs.main(["--check"]) == 0


def test_check__an_edited_page_fails_until_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "config.md"
    monkeypatch.setattr(config_docs, "OUT", page)
    assert config_docs.main(["--check"]) == 1
    assert config_docs.main([]) == 0
    assert config_docs.main(["--check"]) == 0
    page.write_text(page.read_text(encoding="utf-8").replace("0.937", "0.9"), encoding="utf-8")
    assert config_docs.main(["--check"]) == 1
    assert "not current" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Unit, "number from 0 to 1"),
        (NonNegative | None, "number at least 0 or `null`"),
        (ImageSize, "multiple of 32 from 32 to 8192"),
        (bool | None, "`true`, `false` or `null`"),
        (tuple[str, ...], "list of texts"),
        (dict[str, str] | None, "mapping of text to text or `null`"),
    ],
)
def test_describe__is_in_words(kind: Any, words: str) -> None:
    assert config_docs.describe(kind) == words
