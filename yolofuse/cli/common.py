"""Run a command: set up logging, print errors and return exit codes; shared by all commands."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from yolofuse.errors import RunStopped, YolofuseError, describe_os_error, listing, printable_lines
from yolofuse.log import printed_log

USER_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
_KEPT = 120  # letters at each end of a word that is cut short
_LONG_WORD = re.compile(r"\S{500,}")
STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: a temporary failure, try again. torchrun turns it into 1."""


def run_command(command: Callable[[], int | None], on_interrupt: str = "") -> int:
    """Run a command; return its exit code.

    That is the command's own, 2 for what the user can fix and for an error of the system (one line on stderr, no
    traceback), 130 for Ctrl-C, 141 if what read the output has ended, or 75 if a signal of a scheduler stopped a run,
    which can be resumed. Any other exception is an error of the program and is raised.

    Args:
        command: The command; it returns an exit code or None for 0.
        on_interrupt: Added to the message when a run is stopped; "" for how it is resumed.
    """
    _prepare_streams()
    try:
        with printed_log():
            return _finish(command() or 0)
    except YolofuseError as error:
        return _finish(USER_ERROR, f"error: {error}")
    except RunStopped as stopped:
        advice = f"resume with --resume {stopped.run}" if stopped.run else "nothing was begun; give the command again"
        message = f"{stopped}{on_interrupt or f'; {advice}'}"
        return _finish(INTERRUPTED if stopped.signal == "SIGINT" else STOPPED, message)
    except BrokenPipeError:  # what reads the output has ended, such as head
        return _finish(BROKEN_PIPE)
    except OSError as error:
        return _finish(USER_ERROR, f"error: {describe_os_error(error)}")
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # of torch, on the CPU
            raise
        return _finish(USER_ERROR, f"error: too little memory ({error}); use a lower batch or imgsz")
    except MemoryError as error:
        return _finish(USER_ERROR, f"error: too little memory{f' ({error})' if str(error) else ''}")
    except KeyboardInterrupt:
        return _finish(INTERRUPTED, f"interrupted{on_interrupt}")


def _prepare_streams() -> None:
    """Make the standard streams safe to write to: closed ones discard, and a terminal's missing letters are escaped."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened, a checkpoint for instance, would be this stream
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115 - for good
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr


def _finish(code: int, message: str = "") -> int:
    """Write what is left of the output, then a message to stderr; return the exit code.

    Python itself would flush after its last handler, and fail with a traceback.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python's own flush fails again
        broken = isinstance(error, BrokenPipeError)
        code = code or (BROKEN_PIPE if broken else USER_ERROR)
        message = message or ("" if broken else f"error: {describe_os_error(error, 'standard output')}")
    if message:
        try:
            print(_plain(message), file=sys.stderr)
        except OSError:  # nobody can be told; the exit code remains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return code


def _plain(message: str) -> str:
    """Return a message without what controls a terminal, and with words of thousands of letters cut short."""
    short = _LONG_WORD.sub(lambda word: f"{word[0][:_KEPT]}...{word[0][-_KEPT:]}", message)
    return printable_lines(short)


def run_as_module(main: Callable[[], int]) -> int:
    """Run a command that was called as ``python -m yolofuse.cli.NAME``, and say what it is called now."""
    print(
        "note: it is 'yolofuse COMMAND' now; see 'yolofuse --help'. This form goes with the next version.",
        file=sys.stderr,
    )
    return main()


class Parser(argparse.ArgumentParser):
    """An argument parser that leaves ``section.key=value`` overrides."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _prepare_streams()  # before help is printed

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit as :func:`run_command` does: help is output too, and may not be writable."""
        sys.exit(_finish(status, (message or "").rstrip("\n")))

    def parse_with_overrides(self, argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parse the options; return them and the overrides.

        Raises:
            SystemExit: With code 2, for an unknown option.
        """
        args, rest = self.parse_known_args(argv)
        options = [word for word in rest if word.startswith("-")]
        files = [word for word in rest if word.endswith((".yaml", ".yml")) and "=" not in word]
        if files:
            self.error(f"{files[0]} is not section.key=value; did you mean --cfg {files[0]}?")
        if options:
            self.error(listing("command line", [f"unknown option {word}" for word in options]))
        return args, rest
