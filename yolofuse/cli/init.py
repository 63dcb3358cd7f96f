"""Write the commented configs and data descriptors into a folder: ``yolofuse init DIR``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import yolofuse
from yolofuse.cli.common import Parser, run_command
from yolofuse.errors import ConfigError, listing

_NEXT = """wrote {count} files to {folder}. Next, from {parent}:
  yolofuse synth --out data/demo && yolofuse train --cfg configs/demo.yaml      # drawn scenes, minutes on a CPU
  edit configs/data/custom.yaml and configs/custom.yaml                         # your own pairs
  yolofuse check --data configs/data/custom.yaml && yolofuse train --cfg configs/custom.yaml"""


def main(argv: list[str] | None = None, prog: str = "yolofuse init") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog, description="Write commented configs and data descriptors to start from into DIR/configs."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path(), help="default: here")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: _write(args.folder))


def _write(folder: Path) -> None:
    source, target = _templates(), folder / "configs"
    files = sorted(file.relative_to(source) for file in source.rglob("*.yaml"))
    taken = [str(target / file) for file in files if os.path.lexists(target / file)]
    if taken:
        raise ConfigError(listing("these files exist and are not overwritten; name another folder", taken))
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target / file)
    print(_NEXT.format(count=len(files), folder=target, parent=folder.resolve()))


def _templates() -> Path:
    """Return the folder of the configs: inside the installed package, or at the top of a checkout."""
    package = Path(yolofuse.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
