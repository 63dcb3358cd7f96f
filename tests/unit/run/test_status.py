"""What a run says of itself while it goes, and what is read from it."""

from __future__ import annotations

import json
import os
import socket
import timeit
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from yolofuse.cli import status as status_cli
from yolofuse.cli.status import duration
from yolofuse.errors import RunError
from yolofuse.run import status_writer as status_module
from yolofuse.run.lock import run_lock
from yolofuse.run.records import MAX_EVENTS_BYTES, read_events, read_status
from yolofuse.run.status_writer import StatusFile, append_event, describe_last_exit
from yolofuse.run.summary import RunSummary, summarise_run

_HERE = socket.gethostname()
_NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)


@dataclass
class Stand:
    """As much of a run's progress as is told."""

    epoch: int = 0
    epoch_step: int = 0
    step: int = 0
    last_save: int = 0
    best_ap: float = -1.0


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _file(folder: Path, clock: Clock, **changes: Any) -> StatusFile:
    return StatusFile(
        folder, **{"epochs": 4, "steps_per_epoch": 100, "batch": 16, "world": 2, "clock": clock, **changes}
    )


def _told(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return content


def test_status__is_written_where_it_is_due_and_where_the_state_is_new(tmp_path: Path) -> None:
    clock = Clock()
    file = _file(tmp_path, clock)
    file.update("training", Stand())
    assert _told(tmp_path)["step"] == 0
    clock.now += 4.9
    file.update("training", Stand(step=10))
    assert _told(tmp_path)["step"] == 0
    clock.now += 0.2
    file.update("training", Stand(step=11))
    assert _told(tmp_path)["step"] == 11
    file.update("validating", Stand(step=12))
    assert (_told(tmp_path)["state"], _told(tmp_path)["step"]) == ("validating", 12)


def test_status__fields(tmp_path: Path) -> None:
    clock = Clock()
    file = _file(tmp_path, clock)
    file.update("training", Stand())
    assert (_told(tmp_path)["pairs_per_s"], _told(tmp_path)["eta_s"], _told(tmp_path)["best_ap"]) == (None, None, None)
    clock.now += 10
    file.update("training", Stand(epoch=1, epoch_step=20, step=120, last_save=100, best_ap=0.25))
    told = _told(tmp_path)
    assert datetime.now(timezone.utc) - datetime.fromisoformat(told.pop("updated")) < timedelta(seconds=30)
    assert told == {
        "state": "training", "epoch": 1, "epochs": 4, "epoch_step": 20, "steps_per_epoch": 100, "step": 120,
        "pairs_per_s": 192.0, "eta_s": pytest.approx(280 / 12, abs=0.1), "host": _HERE, "pid": os.getpid(),
        "world": 2, "last_save_step": 100, "best_ap": 0.25,
    }  # fmt: skip
    read = read_status(tmp_path)
    assert read is not None
    assert (read.step, read.pairs_per_s, read.best_ap) == (120, 192.0, 0.25)


def test_status__evaluations_count_for_the_time_to_go_but_not_for_the_speed(tmp_path: Path) -> None:
    clock = Clock()
    file = _file(tmp_path, clock)
    for step in range(0, 101, 50):  # 10 steps a second
        file.update("training", Stand(step=step))
        clock.now += 5
    file.update("validating", Stand(step=100))
    clock.now += 60
    file.update("validating", Stand(epoch=1, step=100))
    for step in (100, 150):
        file.update("training", Stand(epoch=1, step=step))
        clock.now += 5
    told = _told(tmp_path)
    assert told["pairs_per_s"] == 160.0
    assert told["eta_s"] == pytest.approx(250 / 10 + 3 * 60, abs=0.5)


def test_status__speed_is_that_of_the_last_minute_and_survives_a_rollback(tmp_path: Path) -> None:
    clock = Clock()
    file = _file(tmp_path, clock, steps_per_epoch=10_000)
    step = 0
    for pace in [5] * 20 + [50] * 12:  # steps per write
        file.update("training", Stand(step=step))
        clock.now += 5
        step += pace
    assert _told(tmp_path)["pairs_per_s"] == 160.0
    file.update("training", Stand(step=7))
    assert _told(tmp_path)["pairs_per_s"] == 160.0
    clock.now += 5
    file.update("training", Stand(step=12))
    assert _told(tmp_path)["pairs_per_s"] == 16.0


def test_status__a_full_disk_is_told_once_and_never_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    file = _file(tmp_path, clock)

    def full(path: Path, obj: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(status_module, "save_json", full)
        for step in range(3):
            file.update("training", Stand(step=step))
            clock.now += 6
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    file.update("training", Stand(step=9))
    assert _told(tmp_path)["step"] == 9


def test_status__costs_nothing_when_it_is_not_due(tmp_path: Path) -> None:
    file = StatusFile(tmp_path, epochs=1, steps_per_epoch=10**9, batch=1, world=1, every_s=3600)
    stand = Stand()
    file.update("training", stand)
    seconds = min(timeit.repeat(lambda: file.update("training", stand), number=2000, repeat=5)) / 2000
    assert seconds < 5e-6


def test_events__each_is_a_line(tmp_path: Path) -> None:
    append_event(tmp_path, "begun", epoch=0, step=0, world=2)
    append_event(tmp_path, "failed", step=7, error="läuft\nnicht \udcff", loss=float("nan"), fine=None)
    assert len((tmp_path / "events.jsonl").read_bytes().splitlines()) == 2
    (begun, failed), damaged = read_events(tmp_path)
    assert not damaged
    assert (begun.event, begun.epoch, begun.step, begun.world, begun.host, begun.facts) == ("begun", 0, 0, 2, _HERE, {})
    assert datetime.now(timezone.utc) - begun.time < timedelta(seconds=30)
    assert failed.facts == {"error": "läuft\nnicht ?", "loss": "nan", "fine": None}


def test_events__a_cut_line_takes_no_other_with_it(tmp_path: Path) -> None:
    append_event(tmp_path, "begun", step=0)
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"time": "2026-11-22T1')
    events, damaged = read_events(tmp_path)
    assert ([event.event for event in events], damaged) == (["begun"], 1)
    append_event(tmp_path, "resumed", step=0)
    events, damaged = read_events(tmp_path)
    assert ([event.event for event in events], damaged) == (["begun", "resumed"], 1)


def test_events__that_cannot_be_written_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    append_event(tmp_path / "gone", "finished", step=1)
    assert "cannot be written" in caplog.text
    assert "not noted there: finished" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"time": "2026-11-22T10:00:00+00:00", "event": ["x"]}',
        '{"time": "2026-11-22T10:00:00+00:00", "event": "begun", "step": -1}',
        '{"time": "2026-11-22T10:00:00+00:00", "event": "begun", "step": 1.5}',
        '{"time": "2026-11-22T10:00:00+00:00", "event": "begun", "more": {"a": 1}}',
        '{"time": "2026-11-22T10:00:00+00:00", "event": "begun", "x": NaN}',
        '{"time": "2026-11-22T10:00:00", "event": "begun"}',
        '{"event": "begun"}',
        "\x00\xff",
        "7",
    ],
    ids=lambda line: line[:70].strip("\x00\xff") or "bytes",
)
def test_events__hostile_lines_are_counted(tmp_path: Path, line: str) -> None:
    (tmp_path / "events.jsonl").write_text(line + "\n", encoding="latin-1")
    assert read_events(tmp_path) == ([], 1)


_GOOD = {
    "state": "training", "epoch": 1, "epochs": 4, "epoch_step": 20, "steps_per_epoch": 100, "step": 120,
    "pairs_per_s": 192.0, "eta_s": 23.4, "updated": "2026-11-22T11:59:57+00:00", "host": "node1", "pid": 77, "world": 2,
    "last_save_step": 100, "best_ap": 0.25,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state": "dancing"}, "state: "),
        ({"step": "120"}, "step: "),
        ({"step": -3}, "step: "),
        ({"eta_s": 1e300}, "eta_s: "),
        ({"host": "x" * 300}, "host: "),
        ({"updated": "yesterday"}, "updated: "),
        ({"best_ap": [0.1]}, "best_ap: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_read_status__wrong_values_are_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    (tmp_path / "status.json").write_text(json.dumps(_GOOD | change))
    with pytest.raises(RunError, match=f"status.json: not a run's status \\({told}"):
        read_status(tmp_path)


def test_read_status__hostile_sizes_and_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    for content in ("[" * 60_000, json.dumps(_GOOD).replace("23.4", "NaN"), "", "{"):
        path.write_text(content)
        with pytest.raises(RunError, match="not a run's status"):
            read_status(tmp_path)
    path.write_text(" " * (1 << 17))
    with pytest.raises(RunError, match="larger than 64 KiB"):
        read_status(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunError, match="not a file"):
        read_status(tmp_path)
    with (tmp_path / "events.jsonl").open("wb") as stream:
        stream.truncate(MAX_EVENTS_BYTES + 1)
    with pytest.raises(RunError, match="larger than 16384 KiB"):
        read_events(tmp_path)


def _status(folder: Path, **changes: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps(_GOOD | changes))


def _events(folder: Path, *rows: tuple[str, str, dict[str, Any]]) -> None:
    """Events of 2026-11-22, each (time, event, facts)."""
    lines = [
        json.dumps({"time": f"2026-11-22T{time}:00+00:00", "event": event, "host": "node1", **facts})
        for time, event, facts in rows
    ]
    (folder / "events.jsonl").write_text("".join(line + "\n" for line in lines))


def _standing(folder: Path, locked: bool = False) -> RunSummary:
    return summarise_run(folder, _NOW, locked=lambda path: locked)


@pytest.mark.parametrize(
    ("changes", "locked", "wanted"),
    [
        ({}, False, ("training", True)),  # another host, three seconds ago
        ({"updated": "2026-11-22T11:50:00+00:00"}, False, ("stopped", False)),
        ({"updated": "2026-11-22T11:50:00+00:00"}, True, ("training", True)),
        ({"updated": "2026-11-22T11:50:00+00:00", "state": "validating"}, False, ("validating", True)),
        ({"host": _HERE}, False, ("stopped", False)),  # on this one the lock would be seen
        ({"host": _HERE, "updated": "2026-11-22T01:00:00+00:00"}, True, ("training", True)),
        ({"state": "preempted"}, False, ("preempted", False)),
        ({"state": "preempted"}, True, ("starting", True)),
        ({"state": "failed"}, False, ("failed", False)),
        ({"state": "finished"}, False, ("finished", False)),
    ],
)
def test_standing__alive_or_not(
    tmp_path: Path, changes: dict[str, Any], locked: bool, wanted: tuple[str, bool]
) -> None:
    _status(tmp_path, **changes)
    found = _standing(tmp_path, locked)
    assert (found.state, found.is_alive) == wanted


def test_standing__sees_the_real_lock(tmp_path: Path) -> None:
    _status(tmp_path, host=_HERE)
    with run_lock(tmp_path):
        assert summarise_run(tmp_path, _NOW).is_alive
    assert not summarise_run(tmp_path, _NOW).is_alive


def test_standing__interruptions_and_what_they_cost(tmp_path: Path) -> None:
    _status(tmp_path, step=230, host=_HERE)
    _events(
        tmp_path,
        ("08:00", "begun", {"step": 0}),
        ("08:10", "preempted", {"step": 40, "signal": "SIGUSR1"}),
        ("08:20", "resumed", {"step": 40, "after": "preempted", "reached": 40}),
        ("08:25", "out_of_memory", {"step": 50}),
        ("08:40", "resumed", {"step": 80, "reached": 95, "last_seen": "2026-11-22T08:33:00+00:00", "was_on": "node7"}),
        ("08:50", "failed", {"step": 120, "error": "disk"}),
        ("09:00", "resumed", {"step": 110, "reached": 118}),
    )
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("step_00000100.pt", "step_00000220.pt", "last.pt", "step_x.pt"):
        (weights / name).write_bytes(b"")
    found = _standing(tmp_path)
    stops = [(f"{s.time:%H:%M}", s.why, s.host, s.reached, s.resumed_at, s.lost) for s in found.interruptions]
    assert stops == [
        ("08:10", "preempted (SIGUSR1)", "node1", 40, 40, 0),
        ("08:33", "killed", "node7", 95, 80, 15),
        ("08:50", "failed", "node1", 120, 110, 10),
        ("11:59", "killed", _HERE, 230, None, None),
    ]
    assert found.state == "stopped"
    assert found.lost == 25
    assert found.checkpoint is not None
    assert (found.checkpoint.step, found.behind) == (220, 10)
    assert found.counts == {"rolled_back": 0, "out_of_memory": 1, "worker_died": 0, "fell_back": 0}


def test_standing__going_on_after_the_end_is_no_interruption(tmp_path: Path) -> None:
    _events(tmp_path, ("08:00", "begun", {}), ("09:00", "finished", {"step": 5}), ("10:00", "resumed", {"step": 5}))
    assert _standing(tmp_path, locked=True).interruptions == ()


def test_what_stopped__tells_the_event_of_going_on(tmp_path: Path) -> None:
    assert describe_last_exit(tmp_path) == {}
    append_event(tmp_path, "begun", step=0)
    assert describe_last_exit(tmp_path) == {"after": "killed"}
    _file(tmp_path, Clock()).update("training", Stand(step=31))
    facts = describe_last_exit(tmp_path)
    assert (facts["after"], facts["reached"], facts["was_on"]) == ("killed", 31, _HERE)
    append_event(tmp_path, "resumed", step=30, **facts)
    (stop, *_) = _standing(tmp_path, locked=True).interruptions
    assert (stop.why, stop.lost) == ("killed", 1)
    append_event(tmp_path, "preempted", step=31, signal="SIGTERM")
    assert describe_last_exit(tmp_path)["after"] == "preempted"


def test_what_stopped__damaged_files_do_not_stop_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "status.json").write_text("{")
    assert describe_last_exit(tmp_path) == {}
    assert "not a run's status" in caplog.text


def _run(folder: Path, **changes: Any) -> Path:
    """A run with a status of just now and two stops."""
    _status(folder, updated=datetime.now(timezone.utc).isoformat(), **changes)
    _events(
        folder,
        ("08:00", "begun", {"step": 0}),
        ("08:10", "preempted", {"step": 40, "signal": "SIGUSR1"}),
        ("08:20", "resumed", {"step": 40}),
        ("08:40", "resumed", {"step": 80, "reached": 95}),
    )
    (folder / "weights").mkdir()
    (folder / "weights" / "step_00000100.pt").write_bytes(b"")
    return folder


def test_cli__one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _run(tmp_path / "mid")
    assert status_cli.main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        str(folder),
        "  state        training on node1 (pid 77, 2 ranks), 0 s ago",
        "  progress     epoch 2 of 4, step 20 of 100 (30.0%)",
        "  speed        192 pairs/s, 23 s to go",
        "  checkpoint   step 100, 0 s ago, 20 steps behind",
        "  best AP      0.2500",
        "  interrupted  2 times; 15 steps made twice",
        "    2026-11-22 08:10  preempted (SIGUSR1) on node1 at step 40; went on at step 40, 0 lost",
        "    2026-11-22 08:40  killed on node1 at step 95; went on at step 80, 15 lost",
    ]


def test_cli__several_runs_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = _run(tmp_path / "a"), tmp_path / "b"
    _status(second, state="finished", epoch=4, epoch_step=0, step=400, best_ap=None, pairs_per_s=None, eta_s=0.0)
    assert status_cli.main([str(first), str(second)]) == 0
    head, one, two = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head == ["run", "state", "epoch", "done", "pairs/s", "to", "go", "best", "AP", "stops", "lost"]
    assert one == [str(first), "training", "2/4", "30.0%", "192", "23", "s", "0.2500", "2", "15"]
    assert two == [str(second), "finished", "4/4", "100%", "-", "-", "-", "0", "0"]


def test_cli__json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_cli.main(["--json", str(_run(tmp_path / "a"))]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["state"], told["alive"], told["status"]["step"], told["steps_lost"]) == ("training", True, 120, 15)
    assert (told["checkpoint"]["step"], told["checkpoint"]["steps_behind"]) == (100, 20)
    assert [stop["lost"] for stop in told["interruptions"]] == [0, 15]


def test_cli__a_run_that_has_only_just_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("")
    assert status_cli.main([str(tmp_path)]) == 0
    assert "state        unknown" in capsys.readouterr().out
    append_event(tmp_path, "begun", step=0)
    with run_lock(tmp_path):
        assert status_cli.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "state        starting" in out
    assert "interrupted  never" in out


def test_cli__all_mistakes_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "status.json").write_text("{")
    assert status_cli.main([str(tmp_path / "none"), str(broken), str(_run(tmp_path / "good"))]) == 2
    told = capsys.readouterr().err
    assert "runs: 2 problems" in told
    assert "no run here; give the folder that train.run named" in told
    assert "not a run's status" in told


def test_cli__nothing_from_a_file_moves_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    _run(folder, host="\x1b[2Jevil")
    assert status_cli.main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "?[2Jevil" in out


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min"), (270_000, "3 d 3 h")],
)
def test_duration__two_largest_units(seconds: float, wanted: str) -> None:
    assert duration(seconds) == wanted
