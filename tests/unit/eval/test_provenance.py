"""The commit and the versions that a report records."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import yolofuse
from yolofuse.eval.provenance import environment, git_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=clean).stdout.strip()


def test_git_commit__names_the_packages_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "checkout" / "yolofuse"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(yolofuse, "__file__", str(package / "__init__.py"))
    assert git_commit() == "unknown"
    git(package.parent, "init", "-q")
    assert git_commit() == "unknown"  # no commit yet
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "first")
    head = git(package.parent, "rev-parse", "HEAD")
    assert git_commit() == head
    (package / "__init__.py").write_text("changed = True\n")
    assert git_commit() == f"{head}-dirty"


def test_git_commit__ignores_another_repository_around_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "venv" / "site-packages" / "yolofuse"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    monkeypatch.setattr(yolofuse, "__file__", str(package / "__init__.py"))
    assert git_commit() == "unknown"


def test_environment__has_date_commit_and_versions() -> None:
    settings = environment()
    assert settings["date"].endswith("+00:00")
    assert {"commit", "python", "torch", "pycocotools"} <= settings.keys()
    assert settings["torch"][0].isdigit()
