from __future__ import annotations

import os
import signal

import pytest

from yolofuse.engine.preemption import stop_requests


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
