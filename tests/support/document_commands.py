"""Run the commands that documents show, or check what of them can be checked without running."""

from __future__ import annotations

import io
import os
import re
import runpy
import shlex
import shutil
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch.distributed.run
import yaml

import yolofuse
from tests.support.runs import REPO
from yolofuse.cli.main import COMMANDS, main

SMALL_TRAIN = {"epochs": 1, "batch": 2, "imgsz": 64, "device": "cpu"}
_SMALL = [*(f"train.{key}={value}" for key, value in SMALL_TRAIN.items()), "data.workers=0"]
_SCRIPTS = {"train_dual.py": "train", "val_dual.py": "val", "export_dual.py": "export"}


def _as_command(words: list[str]) -> list[str]:
    """Return ``yolofuse COMMAND ...`` for a command that is called as a script of the checkout."""
    return ["yolofuse", _SCRIPTS[words[1]], *words[2:]] if words[0] == "python" and words[1] in _SCRIPTS else words


def _sections(words: list[str]) -> dict[str, Any]:
    overrides = [word.partition("=") for word in words if re.match(r"[a-z_]+\.[\w.]+=", word)]
    return {key: yaml.safe_load(value) for key, _, value in overrides}


def run(words: list[str]) -> None:
    """Run a command of yolofuse in this process, a training for one epoch on tiny images.

    A training starts in a new folder: those of a page are alternatives.
    """
    _, name, *given = _as_command([os.path.expanduser(word) for word in words])  # noqa: PTH111 - as a shell does
    if name == "train" and "--cfg" in given:
        config = yolofuse.load_config(given[given.index("--cfg") + 1], **_sections(given))
        shutil.rmtree(config.run_dir, ignore_errors=True)
    if name in {"train", "val", "probe"} and "--cfg" in given:
        given += _SMALL
    elif name == "synth":
        given += ["--train", "4", "--val", "2"]
    assert main([name, *given]) == 0, shlex.join(words)


def train_what_it_reads(words: list[str]) -> None:
    """Train and evaluate the runs that a command reads and that no command of its page has made."""
    if _as_command(words)[1] not in {"predict", "report", "export", "compare"}:
        return
    for run_dir in (word for word in words if re.fullmatch(r"runs/\w+", word) and not Path(word).exists()):
        run(["yolofuse", "train", "--cfg", "my.yaml", f"train.run={run_dir}"])
        run(["yolofuse", "val", "--run", run_dir])


def _rank_command(words: list[str]) -> list[str]:
    """Let torchrun's own parser read a command; return what each rank runs."""
    options = torch.distributed.run.parse_args(words[1:])  # type: ignore[no-untyped-call]
    assert options.module or (REPO / options.training_script).is_file()
    return [*(() if options.module else ("python",)), options.training_script, *options.training_script_args]


def check_options(words: list[str]) -> None:
    """Ask a command for its help, and look for its options there; its overrides must be options of a config."""
    words = _as_command(_rank_command(words) if words[0] == "torchrun" else words)
    shown = io.StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        if words[0] == "yolofuse":
            assert words[1] in COMMANDS or words[1] == "--help"
            main([*words[1 : 3 if words[1] == "prepare" else 2], "--help"])
        else:
            with mock.patch("sys.argv", [words[2], "--help"]):
                runpy.run_module(words[2], run_name="__main__")
    assert shown.getvalue().startswith("usage: "), words
    options = {word.partition("=")[0] for word in words[2:] if word.startswith("--")}
    assert [option for option in options if option not in shown.getvalue()] == []
    yolofuse.load_config({"data": {"descriptor": "x.yaml"}, "train": {"run": "x"}}, **_sections(words))


def check_target(words: list[str]) -> None:
    """Look for a target of make."""
    assert re.search(rf"^{words[1]}:", (REPO / "Makefile").read_text(), re.MULTILINE)


def check_job(words: list[str]) -> None:
    """Count the arguments of the job script as it does itself."""
    first = next(i for i, word in enumerate(words) if i and not word.startswith("--"))
    script, requeues, ranks, _, module, num, _, *arguments = words[first:]
    assert (REPO / script).is_file()
    assert int(num) == len(arguments)
    assert int(requeues) >= 0
    assert int(ranks) > 0
    check_options(["yolofuse", module.removeprefix("yolofuse.cli."), *arguments])


def check_fetch(words: list[str]) -> None:
    """Check a repository, a whole commit and at least one pattern."""
    assert re.fullmatch(r"[\w-]+/[\w-]+ [0-9a-f]{40} .+", " ".join(words[1:]))


def check_file(words: list[str]) -> None:
    """Check that the file to call is there."""
    file = words[1] if words[0] == "python" else words[0]
    assert (REPO / file).is_file()


def check_setting(words: list[str]) -> None:
    """Check that torchrun knows a variable of the environment."""
    name, _, value = words[1].partition("=")
    assert name in Path(torch.distributed.run.__file__).read_text()
    assert value.isdigit()


def check_extras(words: list[str]) -> None:
    """Look for the optional dependencies that are named in brackets."""
    project = (REPO / "pyproject.toml").read_text()
    assert [extra for extra in re.findall(r"\[([\w-]+)\]", words[-1]) if f"\n{extra} = [" not in project] == []
