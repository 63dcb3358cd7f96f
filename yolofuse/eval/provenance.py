"""Record what produced a result: date, git commit, Python and package versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import yolofuse

_PACKAGES = ("yolofuse", "torch", "torchvision", "ultralytics", "pycocotools", "numpy", "opencv-python")


def environment() -> dict[str, str]:
    """Return date (UTC), commit, Python and package versions, for the settings of a report."""
    versions = {package: _version(package) for package in _PACKAGES}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "python": platform.python_version(),
        **versions,
    }


def git_commit() -> str:
    """Return the commit of this package's checkout, with ``-dirty`` if its files differ; ``unknown`` without one."""
    package = Path(yolofuse.__file__).resolve().parent
    head, top = _git(package, "rev-parse", "HEAD"), _git(package, "rev-parse", "--show-toplevel")
    # Installed into a virtual environment inside another repository, the commit would be that repository's.
    if not head or not top or Path(top).resolve() != package.parent:
        return "unknown"
    changes = _git(package, "status", "--porcelain", "--", ".")
    return f"{head}-dirty" if changes else head


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of git, or None if it fails or is not installed."""
    git = shutil.which("git")
    if git is None:
        return None
    # A hook of another repository sets GIT_DIR, which would take precedence over the folder.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, env=environ, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
