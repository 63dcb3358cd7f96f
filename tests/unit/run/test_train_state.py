"""The state of a run between two steps, and the running means of its loss terms."""

from __future__ import annotations

import pytest
import torch

from yolofuse.run.train_state import LossMeter, TrainState, mean_sums


def test_train_state__keeps_the_best_epoch_and_is_stale_after_patience() -> None:
    state = TrainState(epoch_step=5, loss_sums=[{"box": 1.0}])
    for ap in (0.2, None, 0.3, 0.3, 0.1):
        state.finish_epoch({"val/AP": ap}, ap)
    assert (state.epoch, state.epoch_step, state.loss_sums, len(state.history)) == (5, 0, [], 5)
    assert (state.best_ap, state.best_epoch) == (0.3, 4)  # the newest of equals, but AP rose last in epoch 3
    assert [state.is_stale(patience) for patience in (0, 2, 3)] == [False, True, False]


def test_is_stale__waits_for_an_evaluation() -> None:
    """With ``val_every: 0`` a run of 60 epochs that has a start to beat goes on to its last epoch."""
    state = TrainState()
    state.begin({"val/AP": 0.2}, 0.2)
    for _ in range(59):
        state.finish_epoch({"val/AP": None}, None)
        assert not state.is_stale(50)
    state.finish_epoch({"val/AP": 0.1}, 0.1)
    assert state.is_stale(50)


def test_train_state__an_ap_of_zero_is_better_than_none() -> None:
    state = TrainState()
    state.finish_epoch({}, 0.0)
    assert (state.best_ap, state.best_epoch) == (0.0, 1)


def test_train_state__an_undefined_ap_is_no_score() -> None:
    """Neither -1, as yolofuse 0.1.0 wrote it, nor None ends a run, hides a score or counts for patience."""
    state = TrainState()
    state.begin({"val/AP": None}, None)
    for _ in range(9):
        state.finish_epoch({"val/AP": None}, None)
        assert not state.is_stale(1)
    assert (state.best_ap, state.best_epoch) == (-1.0, 0)
    old = TrainState(epoch=9, history=[{"val/AP": -1.0}] * 9)
    assert not old.is_stale(1)
    old.finish_epoch({"val/AP": 0.0}, 0.0)
    assert (old.best_ap, old.best_epoch, old.is_stale(1)) == (0.0, 10, False)


def test_sums_of__are_the_mean_if_the_number_of_ranks_changed() -> None:
    state = TrainState(loss_sums=[{"box": 1.0, "num": 2.0}, {"box": 3.0, "num": 2.0}])
    assert state.sums_of(1, world=2) == {"box": 3.0, "num": 2.0}
    assert state.sums_of(3, world=4) == {"box": 2.0, "num": 2.0}
    assert mean_sums([]) == {}


def test_loss_meter__resumes_from_its_sums() -> None:
    batches = [{"box": torch.tensor(value), "cls": torch.tensor(2 * value)} for value in (1.0, 2.0, 6.0)]
    whole, first = (LossMeter({}, torch.device("cpu")) for _ in range(2))
    for terms in batches:
        whole.add(terms)
    first.add(batches[0])
    second = LossMeter(first.plain(), torch.device("cpu"))
    for terms in batches[1:]:
        second.add(terms)
    assert whole.means() == second.means() == {"box": pytest.approx(3.0), "cls": pytest.approx(6.0)}
    assert second.plain() == whole.plain() == {"box": 9.0, "cls": 18.0, "num": 3.0}
