"""From a built wheel, without a checkout: configs, drawn scenes, training, evaluation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SOURCES = ("yolofuse", "configs", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the installed wheel, which was built from a copy of the sources."""
    root = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, root / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(root / "dist"), str(root / "source")]
    subprocess.run(build, check=True, timeout=120)
    (wheel,) = (root / "dist").glob("yolofuse-*.whl")
    subprocess.run([*pip, "install", *offline, "--target", str(root / "site"), str(wheel)], check=True, timeout=120)
    return root / "site"


def test_wheel__goes_from_init_to_evaluation(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert run("-c", "import yolofuse; print(yolofuse.__file__)").startswith(str(installed))
    run("-m", "yolofuse", "init")
    run("-m", "yolofuse", "synth", "--out", "data/demo", "--train", "4", "--val", "2", "--size", "128x96")
    assert "ready" in run("-m", "yolofuse", "check", "--data", "data/demo/data.yaml").lower()
    small = ("train.epochs=1", "train.batch=2", "train.imgsz=64", "data.workers=0")
    run("-m", "yolofuse", "train", "--cfg", "configs/demo.yaml", *small)
    assert "AP50" in run("-m", "yolofuse", "val", "--run", "runs/demo/mid")
    assert (tmp_path / "runs/demo/mid/eval-val/report.json").is_file()
