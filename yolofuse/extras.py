"""Say how an optional package of yolofuse is installed, for the place that yolofuse itself was installed from."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, distribution

_FILE = "file://"


def install_line(extra: str) -> str:
    """Return the command that installs an extra: for a checkout, a wheel's file, or a package index."""
    try:
        recorded = distribution("yolofuse").read_text("direct_url.json")
    except PackageNotFoundError:  # run from a folder that was never installed
        recorded = None
    source = json.loads(recorded) if recorded else {}
    url = source.get("url", "")
    if not url.startswith(_FILE):
        return f"pip install 'yolofuse[{extra}]'"
    editable = "-e " if source.get("dir_info", {}).get("editable") else ""
    return f"pip install {editable}'{_unquoted(url.removeprefix(_FILE))}[{extra}]'"


def _unquoted(path: str) -> str:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), path.encode()).decode()
