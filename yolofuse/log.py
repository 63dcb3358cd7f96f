"""Print the log of yolofuse while a command or a function of the API runs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def is_main_rank() -> bool:
    """Return whether this process is rank 0 of torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def printed_log() -> Iterator[None]:
    """Print the log to stdout: all of it on rank 0, warnings on the others."""
    log, handler = logging.getLogger("yolofuse"), logging.StreamHandler(sys.stdout)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO if is_main_rank() else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
