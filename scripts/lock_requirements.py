"""Write requirements.lock, with the version and hashes of every package, or check offline whether it is current.

    python scripts/lock_requirements.py            # asks the package index; needs uv (pip install uv)
    python scripts/lock_requirements.py --check    # exit code 1 and a list of the differences

Current means: made from exactly the requirements in pyproject.toml, each pinned to a version in its range, each with a
SHA-256. To install the locked packages, and this package without asking the index for anything else:

    pip install --require-hashes -r requirements.lock
    pip install --no-deps --no-build-isolation .
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
_HEAD = "# Written and checked by scripts/lock_requirements.py. Requirements: sha256 "
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))?(?: \\)?$")
_ADVICE = "run scripts/lock_requirements.py"
_PYTHONS = ("3.10", "3.11", "3.12")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def main() -> int:
    """Write or check the lock; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; report whether it is current")
    parser.add_argument("--upgrade", action="store_true", help="use the newest versions instead of the locked ones")
    args = parser.parse_args()
    required = requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if args.check:
        problems = check(required, LOCK.read_text(encoding="utf-8") if LOCK.is_file() else "")
        for problem in problems:
            print(f"{LOCK.name}: {problem}", file=sys.stderr)
        return 1 if problems else 0
    LOCK.write_text(_compile(required, args.upgrade), encoding="utf-8")
    print(LOCK)
    return 0


def requirements(pyproject: str) -> list[str]:
    """Return the requirements of pyproject.toml: Python, then those to build and run, and of all extras."""
    content: dict[str, Any] = tomllib.loads(pyproject)
    project = content["project"]
    extras = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    lines = {*content["build-system"]["requires"], *project["dependencies"], *extras}
    return [f"# python {project['requires-python']}", *sorted(lines)]


def _digest(required: list[str]) -> str:
    return hashlib.sha256("\n".join(required).encode()).hexdigest()


def _compile(required: list[str], upgrade: bool) -> str:
    """Resolve the requirements with uv; return the lock's text."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "requirements.in", Path(folder) / "requirements.txt"
        source.write_text("\n".join(required) + "\n", encoding="utf-8")
        if LOCK.is_file() and not upgrade:
            target.write_text(LOCK.read_text(encoding="utf-8"), encoding="utf-8")  # uv keeps versions that still fit
        oldest = re.search(r"\d+\.\d+", required[0])
        assert oldest is not None
        command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--python-version", oldest[0]]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-config", "--quiet"]
        command += ["--default-index", "https://pypi.org/simple", "--output-file", str(target), str(source)]
        subprocess.run(command, check=True)
        return f"{_HEAD}{_digest(required)}\n{target.read_text(encoding='utf-8')}"


def check(required: list[str], lock: str) -> list[str]:
    """Return the problems of a lock; none if it is current.

    Args:
        required: Result of :func:`requirements`.
        lock: Text of the lock.
    """
    head, _, body = lock.partition("\n")
    problems = [] if head == _HEAD + _digest(required) else [f"made from other requirements; {_ADVICE}"]
    pins = list(_pins(body))
    problems += [f"{pin.name}=={pin.version}: no hash; {_ADVICE}" for pin in pins if not pin.num_hashes]
    unknown = [line for line in body.splitlines() if line.strip() and not (_PIN.match(line) or _HASH.match(line))]
    problems += [f"not a pin and not a hash: {line.strip()[:80]!r}" for line in unknown]
    for line in required[1:]:
        requirement = Requirement(line)
        for python in _PYTHONS:
            target = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
            if requirement.marker is not None and not requirement.marker.evaluate(target):
                continue
            name = canonicalize_name(requirement.name)
            found = [
                pin.version for pin in pins if pin.name == name and (not pin.marker or pin.marker.evaluate(target))
            ]
            if len(found) != 1 or not requirement.specifier.contains(found[0], prereleases=True):
                pinned = ", ".join(map(str, found)) or "nothing"
                problems.append(f"{line}: pinned for Python {python} is {pinned}; {_ADVICE}")
    return problems


class _Pin(NamedTuple):
    name: str
    version: Version
    marker: Marker | None
    num_hashes: int


def _pins(body: str) -> Iterator[_Pin]:
    for block in re.split(r"\n(?=\S)", body):
        first, *rest = block.splitlines() or [""]
        pin = _PIN.match(first)
        if pin is not None:
            marker = Marker(pin["marker"]) if pin["marker"] else None
            num_hashes = sum(bool(_HASH.match(line)) for line in rest)
            yield _Pin(canonicalize_name(pin["name"]), Version(pin["version"]), marker, num_hashes)


if __name__ == "__main__":
    sys.exit(main())
