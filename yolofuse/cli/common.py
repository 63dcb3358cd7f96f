"""Run a command: set up logging, print errors and return exit codes; shared by all commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from yolofuse.errors import RunStopped, YolofuseError, listing
from yolofuse.log import printed_log

USER_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: a temporary failure, try again. torchrun turns it into 1."""


def run_command(command: Callable[[], int | None], on_interrupt: str = "") -> int:
    """Run a command; return its exit code.

    That is the command's own, 2 for what the user can fix (printed to stderr), 130 for Ctrl-C, or 75 if a signal of a
    scheduler stopped a run, which can be resumed.

    Args:
        command: The command; it returns an exit code or None for 0.
        on_interrupt: Added to the message when a run is stopped; "" for how it is resumed.
    """
    try:
        with printed_log():
            return command() or 0
    except YolofuseError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except RunStopped as stopped:
        advice = f"resume with --resume {stopped.run}" if stopped.run else "nothing was begun; give the command again"
        print(f"{stopped}{on_interrupt or f'; {advice}'}", file=sys.stderr)
        return INTERRUPTED if stopped.signal == "SIGINT" else STOPPED
    except BrokenPipeError:  # what reads the output has ended, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python's exit fails at flushing
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print(f"interrupted{on_interrupt}", file=sys.stderr)
        return INTERRUPTED


def run_as_module(main: Callable[[], int]) -> int:
    """Run a command that was called as ``python -m yolofuse.cli.NAME``, and say what it is called now."""
    print(
        "note: it is 'yolofuse COMMAND' now; see 'yolofuse --help'. This form goes with the next version.",
        file=sys.stderr,
    )
    return main()


class Parser(argparse.ArgumentParser):
    """An argument parser that leaves ``section.key=value`` overrides."""

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
