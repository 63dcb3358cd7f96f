from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from yolofuse.engine.preemption import StopRequest, stop_requests
from yolofuse.errors import RunStopped


def test_stop_request__keeps_the_first_signal_and_puts_handlers_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with stop_requests() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.name == "SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) == before


def test_stop_request__a_second_ctrl_c_ends_at_once() -> None:
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_stop_request__counts_ctrl_c_by_itself() -> None:
    with stop_requests() as stop:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert stop.name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("action", "name"), [(signal.SIG_DFL, "SIGHUP"), (signal.SIG_IGN, None)])
def test_stop_request__hears_hang_ups_but_not_under_nohup(action: signal.Handlers, name: str | None) -> None:
    before = signal.signal(signal.SIGHUP, action)
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.name == name
    finally:
        signal.signal(signal.SIGHUP, before)


def _wait_to_be_stopped(stop: StopRequest, is_asked_before: bool) -> None:
    with stop.limited(0.05, "while it waited for a lock"):
        if not is_asked_before:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)


@pytest.mark.parametrize("is_asked_before", [True, False])
def test_limited__ends_a_wait_of_a_process_that_is_to_stop(is_asked_before: bool) -> None:
    started = time.monotonic()
    with stop_requests() as stop:
        stop.run = Path("runs/a")
        if is_asked_before:
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(RunStopped, match="stopped by SIGTERM while it waited for a lock") as stopped:
            _wait_to_be_stopped(stop, is_asked_before)
    assert stopped.value.run == Path("runs/a")
    assert 0.05 <= time.monotonic() - started < 20


def test_limited__leaves_others_alone() -> None:
    with stop_requests() as stop:
        with stop.limited(0.01, "while nobody asked"):
            time.sleep(0.03)
        os.kill(os.getpid(), signal.SIGTERM)
        with stop.limited(0.01, "while it is short"):
            pass
        time.sleep(0.03)  # computes
    time.sleep(0.03)  # SIGALRM would end the process


def test_stop_request__leaves_ctrl_c_ignored_where_it_is() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop
    finally:
        signal.signal(signal.SIGINT, before)
