"""What every command does about errors of the system, of its streams and of the program."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from yolofuse.cli import main as cli
from yolofuse.cli.common import run_command
from yolofuse.errors import ConfigError

_START = "import logging, sys; from yolofuse.cli.common import run_command; log = logging.getLogger('yolofuse'); "
_IN_A_WORKER = (
    "Caught OSError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\nOSError: [Errno 24] Too many"
)


def _run(code: str, shell: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run code after the import of ``run_command``, with redirections of a shell."""
    command = ["bash", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, _START + code]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | environ
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/d/f"), "/d/f: No space left on device; free some space"),
        (OSError(errno.EROFS, "Read-only file system", "/d/f"), "/d/f: Read-only file system; name a folder"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), "f: Permission denied; check its permissions"),
        (OSError(errno.EIO, "Input/output error", "f"), "f: Input/output error; check the disk"),
        (OSError(errno.EMFILE, "Too many open files"), "the system: Too many open files; raise the limit (ulimit -n)"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000), "...: File name too long; choose a shorter"),
        (OSError(_IN_A_WORKER), "OSError: [Errno 24] Too many"),
        (MemoryError(), "too little memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "use a lower batch or imgsz"),
        (ConfigError(f"no file {'a' * 5000}; check the path"), "aaa; check the path"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else type(value).__name__,
)
def test_run_command__error_of_the_system_is_one_line_and_2(
    error: Exception, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> NoReturn:
        raise error

    assert run_command(fail) == 2
    shown = capsys.readouterr().err
    assert expected in shown
    assert shown.startswith("error: ")
    assert (shown.count("\n"), len(shown) < 400) == (1, True)


def test_run_command__error_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(TypeError):
        run_command(lambda: len(3))  # type: ignore[arg-type]


def test_run_command__message_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> NoReturn:
        raise ConfigError("runs: 1 problem\n  a\x1b[31m\u202eb\tc")

    assert run_command(fail) == 2
    assert capsys.readouterr().err == "error: runs: 1 problem\n  a?[31m?b      c\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--cfg"],
        ["train", "--resume"],
        ["val", "--run"],
        ["val", "--data", "x", "--weights"],
        ["status"],
        ["collect"],
        ["collect", "--under"],
        ["compare", "a" * 5000],
        ["check", "--data"],
        ["init"],
        ["synth", "--train", "1", "--val", "1", "--out"],
        ["probe", "--cfg"],
        ["submit", "--cfg"],
    ],
    ids=lambda words: " ".join(words)[:24],
)
def test_command__name_of_5000_letters_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*arguments, "a" * 5000]) == 2
    shown = capsys.readouterr().err
    assert "File name too long" in shown
    assert len(shown) < 1000


def test_streams__that_are_closed_take_no_file(tmp_path: Path) -> None:
    code = (
        f"file = {str(tmp_path / 'f')!r}\n"
        "def command():\n    stream = open(file, 'w')\n"
        "    print('out'); log.info('log'); print('err', file=sys.stderr)\n"
        "    stream.write(str(stream.fileno()))\n"
        "sys.exit(run_command(command))"
    )
    assert _run(code, "<&- >&- 2>&-").returncode == 0
    assert int((tmp_path / "f").read_text()) > 2


def test_stdout__that_is_full_is_one_line_and_2() -> None:
    ended = _run("sys.exit(run_command(lambda: print('x')))", "> /dev/full")
    assert ended.returncode == 2
    assert ended.stderr == "error: standard output: No space left on device; free some space, or name another disk\n"
    helped = _run("from yolofuse.cli import main; main.main(['status', '--help'])", "> /dev/full")
    assert (helped.returncode, helped.stderr.count("\n")) == (2, 1)


def test_stdout__without_a_reader_is_141() -> None:
    ended = _run("sys.exit(run_command(lambda: print('x' * 10_000_000)))", "| true; exit ${PIPESTATUS[0]}")
    assert (ended.returncode, ended.stderr) == (141, "")


def test_log__that_cannot_be_written_is_one_warning_and_the_command_goes_on() -> None:
    code = "sys.exit(run_command(lambda: [log.info('%d', i) for i in range(9)] and print('end', file=sys.stderr)))"
    ended = _run(code, "> /dev/full")
    assert ended.returncode == 0
    warning, end = ended.stderr.splitlines()
    assert warning.startswith("warning: standard output: No space left on device")
    assert end == "end"


def test_stdout__of_latin_1_escapes_other_letters() -> None:
    ended = _run("sys.exit(run_command(lambda: print('caf\\u00e9 \\u65e5')))", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stdout) == (0, "caf\\xe9 \\u65e5\n")
