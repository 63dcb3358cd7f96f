"""Turn SIGTERM, SIGUSR1 (sent by schedulers) and Ctrl-C into requests to stop at the next step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PREEMPTION = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether this process was asked to stop, and by which signal.

    Attributes:
        name: The signal's name; None if there was none.
    """

    def __init__(self) -> None:
        self.name: str | None = None

    def __bool__(self) -> bool:
        return self.name is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Record a signal. A second Ctrl-C ends the process at once."""
        del frame
        if number == signal.SIGINT and self.name == "SIGINT":
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Handle SIGTERM, SIGUSR1 and Ctrl-C as requests to stop, as long as the block lasts."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may set signal handlers
        return
    before = {number: signal.signal(number, request.handle) for number in (*_PREEMPTION, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
