"""Import ultralytics offline, check its version, and restore the process state that its import changes.

Ultralytics is a parts library here. Imported plainly it may open network connections, install packages, write settings
into the user's home and change process-wide state; this module prevents the first three and restores the last.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import torch

from yolofuse.errors import YolofuseError
from yolofuse.files import user_cache_dir

_SUPPORTED = ((8, 4, 190), (8, 5, 0))


def _private_config_dir() -> Path:
    """Return a settings folder for yolofuse alone, with the font that ultralytics would otherwise download."""
    folder = user_cache_dir() / "upstream"
    try:
        _place_font(folder / "Ultralytics" / "Arial.ttf")
    except OSError:  # a home that cannot be written to
        folder = Path(tempfile.mkdtemp(prefix="yolofuse-"))
        _place_font(folder / "Ultralytics" / "Arial.ttf")
    return folder


def _place_font(font: Path) -> None:
    if font.exists():
        return
    package = find_spec("matplotlib")  # not imported: that fails where MPLBACKEND names an unknown backend
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    font.parent.mkdir(parents=True, exist_ok=True)
    partial = font.with_suffix(f".{os.getpid()}")
    shutil.copyfile(source, partial)
    partial.replace(font)


def _import_ultralytics() -> None:
    """Import ultralytics offline, then restore the process-wide state that its import changes.

    That state is thread counts, print options, and functions that it replaces: among them ``PIL.Image.open``, which
    then tries to install a package on a broken image, and ``torch.save``, which then retries on a full disk.
    """
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "true"  # yolofuse opens no checkpoint through it; in case it does so itself
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ["YOLO_CONFIG_DIR"] = str(_private_config_dir())
    omp, torch_threads, cv_threads = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), cv2.getNumThreads()
    numpy_options = np.get_printoptions()
    functions = [(PIL.Image, "open"), (torch, "save"), (cv2, "imread"), (cv2, "imwrite"), (cv2, "imshow")]
    originals = [(module, name, getattr(module, name)) for module, name in functions]
    import ultralytics
    from ultralytics.nn import tasks
    from ultralytics.utils import SETTINGS, checks

    version = tuple(int(part) for part in re.findall(r"\d+", ultralytics.__version__)[:3])
    if not _SUPPORTED[0] <= version < _SUPPORTED[1]:
        low, high = (".".join(map(str, bound)) for bound in _SUPPORTED)
        raise YolofuseError(
            f"ultralytics {ultralytics.__version__} is installed, but this yolofuse requires >={low},<{high}: "
            f"pip install 'ultralytics>={low},<{high}'"
        )
    for module, name, value in ((checks, "AUTOINSTALL", False), (tasks, "SAFE_LOAD", True)):
        setattr(module, name, value)  # ultralytics may have been imported before, without the variables
    dict.update(SETTINGS, {key: False for key in SETTINGS if isinstance(SETTINGS[key], bool)})  # in memory only
    for module, name, function in originals:
        setattr(module, name, function)
    if omp is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(cv_threads)
    np.set_printoptions(**numpy_options)
    torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]


_import_ultralytics()

import ultralytics  # noqa: E402

version: str = ultralytics.__version__
