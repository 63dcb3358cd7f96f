from __future__ import annotations

import pytest
import torch

from yolofuse.engine.nan_guard import NanGuard, NotFinite


def test_nan_guard__names_the_steps() -> None:
    guard = NanGuard()
    guard.record(torch.tensor(False), range(2))
    guard.check()
    with pytest.raises(NotFinite) as caught:
        guard.record(torch.tensor(True), range(4, 6))
    assert caught.value.steps == range(4, 6)
