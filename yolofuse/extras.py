"""Say how an optional package of yolofuse is installed, for the place that yolofuse itself was installed from."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import unquote, urlparse


def install_line(extra: str) -> str:
    """Return the command that installs an extra: for a checkout, a wheel's file, or a package index."""
    try:
        recorded = distribution("yolofuse").read_text("direct_url.json")
    except PackageNotFoundError:  # run from a folder that was never installed
        recorded = None
    source = json.loads(recorded) if recorded else {}
    place = urlparse(source.get("url", ""))
    if place.scheme != "file":
        return f"pip install 'yolofuse[{extra}]'"
    editable = "-e " if source.get("dir_info", {}).get("editable") else ""
    return f"pip install {editable}'{unquote(place.path)}[{extra}]'"
