"""What all commands share: how mistakes and interruptions end, and what is printed."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable

from yolofuse.errors import RunStopped, YolofuseError, listing

USER_ERROR = 2
INTERRUPTED = 130
STOPPED = 75
"""As sysexits.h has it: a temporary failure, try again. torchrun makes a 1 of it."""


def run_command(command: Callable[[], int | None], on_interrupt: str = "") -> int:
    """Run a command; returns its exit code.

    That is the command's own, 2 for what the user can fix (told on stderr), 130 for Ctrl-C, or 75 if a scheduler's
    signal ended a run that can be gone on with.
    """
    speaks = os.environ.get("RANK", "0") == "0"
    handler = logging.StreamHandler(sys.stdout)
    log = logging.getLogger("yolofuse")
    log.addHandler(handler)
    log.setLevel(logging.INFO if speaks else logging.WARNING)
    try:
        return command() or 0
    except YolofuseError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except RunStopped as stopped:
        print(f"{stopped}{on_interrupt}", file=sys.stderr)
        return INTERRUPTED if stopped.signal == "SIGINT" else STOPPED
    except KeyboardInterrupt:
        print(f"interrupted{on_interrupt}", file=sys.stderr)
        return INTERRUPTED
    finally:
        log.removeHandler(handler)


class Parser(argparse.ArgumentParser):
    """An argument parser whose rest is ``section.key=value`` words."""

    def parse_with_overrides(self, argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
        """The options and the override words.

        Raises:
            SystemExit: With code 2, for an unknown option.
        """
        args, rest = self.parse_known_args(argv)
        options = [word for word in rest if word.startswith("-")]
        if options:
            self.error(listing("command line", [f"unknown option {word}" for word in options]))
        return args, rest
