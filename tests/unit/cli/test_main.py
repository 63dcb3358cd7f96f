"""The command ``yolofuse``: each word leads to its command, and what is written to start from can be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from yolofuse.cli import main as cli
from yolofuse.config import load_config


def test_help__names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_command__answers_under_its_own_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: yolofuse {name}")


def test_unknown_command__is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_file__without_its_option_is_told_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "my.yaml"])
    assert ended.value.code == 2
    assert "did you mean --cfg my.yaml?" in capsys.readouterr().err


def test_output__that_nobody_reads_ends_a_command_without_a_traceback() -> None:
    code = "from yolofuse.cli.common import run_command; run_command(lambda: print('x' * 10_000_000))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0  # the code of the script, which ignores run_command's


def test_exit_code__is_the_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["check", "--data", str(tmp_path / "no.yaml")]) == 2
    assert cli.main(["status", str(tmp_path)]) == 2
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("yolofuse 0.")


def test_init__writes_configs_that_load_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init"]) == 0
    for file in ("demo.yaml", "custom.yaml", "llvip/mid.yaml"):
        assert load_config(Path("configs", file)).data.descriptor.startswith(str(tmp_path))
    own = Path("configs/custom.yaml")
    own.write_text("mine")
    assert cli.main(["init", "."]) == 2
    assert "configs/custom.yaml" in capsys.readouterr().err
    assert own.read_text() == "mine"
    own.unlink()
    own.symlink_to("elsewhere")  # leads nowhere yet, and must not be written through
    assert cli.main(["init", "."]) == 2
    assert not Path("configs/elsewhere").exists()
