"""Turn SIGTERM, SIGUSR1 (sent by schedulers), SIGHUP and Ctrl-C into requests to stop at the next step.

A process that waits has no next step, so a request also limits how long it waits.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from yolofuse.errors import RunStopped

_PREEMPTION = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
AT_ONCE = 1e-3  # seconds; 0 would mean no limit


class StopRequest:
    """Whether this process was asked to stop, and by which signal.

    Attributes:
        name: The signal's name; None if there was none.
        run: Folder of the run that can be resumed; None before there is one.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.run: Path | None = None
        self._num_interrupts = 0
        self._limit: tuple[float, str] | None = None

    def __bool__(self) -> bool:
        return self.name is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Record a signal. A second Ctrl-C ends the process at once."""
        del frame
        if number == signal.SIGINT:
            self._num_interrupts += 1
            if self._num_interrupts > 1:
                raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name
        self._set_timer()

    @contextmanager
    def limited(self, seconds: float, when: str) -> Iterator[None]:
        """End a block that waits, ``seconds`` after it was entered or after the request, whichever is later.

        Waiting in C code that does not return, such as a collective, is not ended.

        Raises:
            RunStopped: Then, with ``when`` in its message: "while it waited for ...".
        """
        outer, self._limit = self._limit, (seconds, when)
        self._set_timer()
        try:
            yield
        finally:
            self._limit = outer
            self._set_timer()

    def _set_timer(self) -> None:
        """Start the timer of the current limit if there is a request, or stop it where there is no limit."""
        if self.name is not None:
            signal.setitimer(signal.ITIMER_REAL, self._limit[0] if self._limit else 0.0)

    def end_wait(self, number: int, frame: FrameType | None) -> None:
        """Handle the timer's signal."""
        del number, frame
        if self._limit is not None and self.name is not None:
            _, when = self._limit
            self._limit = None  # what cleans up is not ended
            raise RunStopped(self.name, f"stopped by {self.name} {when}", self.run)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Handle SIGTERM, SIGUSR1, SIGHUP and Ctrl-C as requests to stop, as long as the block lasts.

    SIGHUP and Ctrl-C stay ignored where they are, as under nohup and in the background of a script. The timer of
    :meth:`StopRequest.limited` is SIGALRM's.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may set signal handlers
        return
    handlers = dict.fromkeys((*_PREEMPTION, signal.SIGINT), request.handle) | {signal.SIGALRM: request.end_wait}
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            del handlers[number]
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield request
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)
