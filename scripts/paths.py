"""Locate this repository and the real data sets."""

from __future__ import annotations

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
REAL_DATA = Path(os.environ.get("YOLOFUSE_REAL_DATA", REPO.parent / "shared" / "data"))
"""Folder of the real paired data sets; they are not part of the repository."""
