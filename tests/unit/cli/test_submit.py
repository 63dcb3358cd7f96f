"""The submit command, with a fake sbatch; integration/test_slurm.py has a real Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cluster_runs import ODD_NAME, config_file, program
from yolofuse.cli import submit
from yolofuse.cluster.slurm import TEMPLATE
from yolofuse.config import load_config


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """Put a fake sbatch on PATH that numbers jobs from 41; call the fixture for the arguments of its calls."""
    seen = tmp_path / "bin" / "seen"
    program(
        tmp_path / "bin",
        "sbatch",
        f'n=$(( $(cat "{seen}.n" 2>/dev/null || echo 40) + 1 )); echo "$n" >"{seen}.n"\n'
        f'[ "$n" -lt "${{REFUSE_FROM:-99}}" ] || {{ echo "sbatch: error: no such partition" >&2; exit 1; }}\n'
        f'printf "%s\\0" "$@" >>"{seen}"; printf "\\n\\0" >>"{seen}"; echo "$n;here"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def calls() -> list[list[str]]:
        words = seen.read_text().split("\0") if seen.exists() else []
        parts: list[list[str]] = [[]]
        for word in words[:-1]:
            parts.append([]) if word == "\n" else parts[-1].append(word)
        return parts[:-1]

    return calls


def test_submit__chains_train_val_collect(
    tmp_path: Path, sbatch: Callable[[], list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = config_file(tmp_path)
    words = ["--cfg", str(file), "--nodes", "2", "--gpus", "4", "--seeds", "0,1", "--time", "12:00:00", "--after", "7"]
    words += ["--at-once", "1", "--sbatch=--qos=long", "--val", "--collect", str(tmp_path / "t.csv"), "train.epochs=3"]
    assert submit.main(words) == 0
    assert capsys.readouterr().out.splitlines()[:3] == ["train    job 41", "val      job 42", "collect  job 43"]
    train, val, table = sbatch()
    assert {"--nodes=2", "--gpus-per-node=4", "--time=12:00:00", "--array=0-1%1", "--qos=long"} < set(train)
    assert {"--dependency=afterok:7", "--kill-on-invalid-dep=yes", "--signal=B:USR1@180"} < set(train)
    assert {"--nodes=1", "--gpus-per-node=1", "--dependency=aftercorr:41", "--array=0-1%1"} < set(val)
    assert "--dependency=afterany:42" in table
    assert not any(word.startswith(("--array", "--gpus")) for word in table)
    runs = [str(tmp_path / "runs" / f"mid-seed{seed}") for seed in (0, 1)]
    arguments = train[train.index(str(TEMPLATE)) + 1 :]
    assert arguments[:5] == ["50", "4", sys.executable, "yolofuse.cli.train", "3"]
    assert arguments[5:] == [w for run in runs for w in (run, "--cfg", f"{run}/submitted.yaml", "--auto-resume")]
    assert load_config(Path(runs[1]) / "submitted.yaml").train.epochs == 3
    assert table[-4:] == [*runs, "--out", str(tmp_path / "t.csv")]


def test_submit__dry_run_writes_nothing_and_prints_a_valid_shell_script(
    tmp_path: Path, sbatch: Callable[[], list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--cfg", str(config_file(tmp_path)), "--val", f"train.run={json.dumps(str(tmp_path / ODD_NAME))}"]
    before = sorted(tmp_path.rglob("*"))
    assert submit.main([*words, "--dry-run"]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    printed = capsys.readouterr().out
    assert TEMPLATE.read_text().rstrip() in printed
    commands = printed[printed.index("\ntrain=$(") :]
    subprocess.run(["bash", "-c", commands], check=True, cwd=tmp_path)
    assert not (tmp_path / "bad").exists()
    by_hand = sbatch()
    assert submit.main(words) == 0
    numbered = [[word.replace("afterok:43", "afterok:41") for word in call] for call in sbatch()[2:]]
    assert by_hand == numbered
    assert len(by_hand) == 2


def test_submit__refused_jobs_are_reported_and_new_configs_deleted(
    tmp_path: Path,
    sbatch: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--cfg", str(config_file(tmp_path)), "--val"]
    monkeypatch.setenv("REFUSE_FROM", "41")
    assert submit.main(words) == 2
    assert "no such partition" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "mid").exists()
    monkeypatch.setenv("REFUSE_FROM", "43")
    assert submit.main(words) == 2
    assert "cancel with scancel 42" in capsys.readouterr().err
    assert (tmp_path / "runs" / "mid" / "submitted.yaml").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert submit.main([*words, "--resume"]) == 2
    assert "sbatch: not on PATH" in capsys.readouterr().err


def test_submit__refuses_a_table_of_unknown_format_and_a_name_that_is_a_path(
    tmp_path: Path, sbatch: Callable[[], list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(config_file(tmp_path))
    assert submit.main(["--cfg", file, "--collect", "table.xls"]) == 2
    assert submit.main(["--cfg", file, "--name", "../x"]) == 2
    message = capsys.readouterr().err
    assert ".csv or .md" in message
    assert "--name" in message
    assert sbatch() == []


@pytest.mark.parametrize("module", ["train", "val", "collect"])
def test_modules_of_jobs__run_when_called_by_name(module: str) -> None:
    """Without its last lines, ``python -m`` would do nothing, and the job would count as done."""
    lines = (Path(submit.__file__).with_name(f"{module}.py")).read_text().rstrip().splitlines()
    assert lines[-2:] == ['if __name__ == "__main__":', "    sys.exit(main())"]
