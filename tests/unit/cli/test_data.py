"""The command ``synth``: it draws the demo data, and a mistake gives exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolofuse.cli.data import main


def test_synth__draws_and_prints_the_descriptor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["synth", "--out", str(out), "--train", "1", "--val", "1", "--size", "128x96"]) == 0
    assert capsys.readouterr().out.strip() == str(out / "data.yaml")


def test_synth__a_wrong_folder_gives_code_2_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("mine", encoding="ascii")
    assert main(["synth", "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message
