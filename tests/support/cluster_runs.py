"""Make configs, run folders, fake programs and a malicious folder name for tests of submitting and tabulating runs."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import yaml

from yolofuse.config import dump_config, load_config
from yolofuse.files import save_text
from yolofuse.run.folder import RunFolder

ODD_NAME = "a b'c$(touch bad);\"%j"
"""A name that runs a command if a shell or Slurm parses it again."""


def config_file(folder: Path, name: str = "mid", **train: Any) -> Path:
    """Write a config whose descriptor exists; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = folder / "data.yaml"
    descriptor.write_text("names: {0: person}\n")
    path = folder / f"{name}.yaml"
    content = {"data": {"descriptor": str(descriptor)}, "train": {"run": str(folder / "runs" / name), **train}}
    path.write_text(yaml.safe_dump(content))
    return path


def program(folder: Path, name: str, text: str) -> Path:
    """Write an executable bash script; return its path."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def event_line(time_text: str, event: str, **facts: object) -> str:
    """Format a line of events.jsonl at a time of 2026-11-22."""
    return (
        json.dumps({"time": f"2026-11-22T{time_text}+00:00", "event": event, "host": "n1", "world": 1, **facts}) + "\n"
    )


def write_run(folder: Path, seed: int, ap: float, *, finished: bool = True, **model: str) -> Path:
    """Write the folder of a run of ten epochs, interrupted once: twenty minutes running, ten between."""
    file = config_file(folder / "configs", f"m{seed}", seed=seed, epochs=10)
    run = folder / f"run{seed}-{'-'.join(model.values())}"
    config = load_config(file, [f"model.{key}={value}" for key, value in model.items()])
    save_text(RunFolder(run).config, dump_config(config))
    rows = ["epoch,seconds,val/AP,val/AP50", f"1,3,{ap - 0.1},0.4", f"2,3,{ap},0.5", "3,3,,"]
    save_text(RunFolder(run).results, "\n".join(rows) + "\n")
    events = event_line("10:00:00", "begun", epoch=0, step=0) + event_line("10:10:00", "preempted", epoch=1, step=5)
    events += event_line("10:20:00", "resumed", epoch=1, step=5)
    events += event_line("10:30:00", "finished" if finished else "failed", epoch=10, step=50)
    save_text(run / "events.jsonl", events)
    return run
