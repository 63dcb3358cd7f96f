"""Say in what an evaluation differs from one of its run's best weights by its config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolofuse.config import Config
from yolofuse.files import file_sha256

_LIMITS = ("imgsz", "letterbox", "conf", "nms", "max_det")


def unlike_settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Say in which limits of detection two evaluations differ, by the settings of their reports; empty if in none."""
    found = []
    for name in _LIMITS:
        one, other = (str(settings.get(name)).split(",")[0] for settings in (a, b))  # "IoU 0.7, inside the file"
        if name in a and name in b and one != other:
            found.append(f"{name} {one} and {other}")
    return ", ".join(found)


def other_settings(folder: Path, settings: Mapping[str, Any], config: Config) -> str:
    """Say in which settings an evaluation differs from the config of its run, or that its weights are not the best.

    Empty if in none.

    Args:
        folder: Of the evaluation. One that is named after a data set is of another than the run's.
        settings: Of its report; those that an older version did not write count as equal.
        config: Of the run.
    """
    own: dict[str, Any] = {
        "imgsz": config.val_imgsz,
        "letterbox": config.val.letterbox,
        "conf": config.val.conf,
        "max_det": config.val.max_det,
    }
    others = []
    if folder.name == f"eval-{settings.get('split')}":
        own |= {"data": config.data.descriptor, "root": config.data.root}
        best, known = folder.parent / "weights" / "best.pt", settings.get("weights_sha256")
        others = ["other weights than best.pt"] if known and best.is_file() and file_sha256(best) != known else []
    if str(nms := settings.get("nms")).startswith("IoU "):
        own["nms"] = str(nms).replace(str(nms).split(",")[0], f"IoU {config.val.iou}")
    changed = [f"{name}={settings[name]}" for name, value in own.items() if settings.get(name, value) != value]
    return ", ".join(changed + others)
