"""Open a file that ``torch.save`` wrote, without importing or running anything it names.

``torch.load(weights_only=True)`` alone is not enough: it uses an allow-list of the whole process, and other libraries
add to that list permanently. Ultralytics does so when it opens a checkpoint, and among the classes it adds is one whose
constructor evaluates text, so that the *next* file could run code. Here the list is replaced during one load, and all
names that it allows mean one stub, which keeps tensors and calls nothing.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from yolofuse.errors import WeightsError, advise

_MODEL_CLASSES = re.compile(
    r"models\.(yolo|common|experimental)\.\w+"  # YOLOv5's own
    r"|ultralytics(\.\w+)+"
    r"|torch\.nn\.modules(\.\w+)+"
)
_IGNORED = {  # beside the model in such files, and not needed
    "builtins.getattr",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"{module}.{kind}Path" for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")),
}
_LEGACY_START = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # torch before 1.6: its magic number, pickled
_LEGACY_PICKLES = 4  # its magic number, its version, the machine, the content
_STATE_DICT = "a state_dict saved with torch.save(model.state_dict(), FILE)"
_SAFE_TORCH = (2, 10)
_FILLED = {"builtins.bytearray", "__builtin__.bytearray"}
"""Allowed by torch and needed by no weights: called with a number, it fills as many bytes."""
_MAX_GROWTH, _ALWAYS_ALLOWED = 8, 64 << 20
"""What a file's content may need in memory: so many times its size, plus so many bytes."""
_lock = threading.RLock()


class ModuleStub:
    """Replacement of every class, function and object that a file names; keeps ``KEPT`` of a module's state."""

    KEPT = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "names", "yaml", "yaml_file")

    kept: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> ModuleStub:
        """Create an empty stub; all arguments are ignored."""
        made = super().__new__(cls)
        made.kept = {}
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if type(state) is dict:
            self.kept = {key: state[key] for key in self.KEPT if key in state}


def open_plain(path: Path) -> Any:
    """Read a file of tensors, numbers, strings, and dicts, lists and tuples of them.

    Raises:
        WeightsError: If the file is missing, damaged, or holds anything else.
    """
    return _open(path, with_models=False)


def open_models(path: Path) -> Any:
    """Read a file that may also hold whole models: each is returned as a :class:`ModuleStub`.

    Raises:
        WeightsError: If the file is missing, damaged, or names other classes than ultralytics', YOLOv5's, torch.nn's.
    """
    return _open(path, with_models=True)


def _open(path: Path, *, with_models: bool) -> Any:
    _refuse_old_torch()
    _refuse_other_formats(path)
    with _allowing([]):
        globals_ = _list_globals(path)
        known = [name for name in globals_ if with_models and (_MODEL_CLASSES.fullmatch(name) or name in _IGNORED)]
        unknown = sorted(set(globals_) - set(known))
        if unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            allowed = (
                "tensors, plain data and models of ultralytics or YOLOv5" if with_models else "tensors and plain data"
            )
            named = ", ".join(name if name.isprintable() else repr(name) for name in unknown[:3])
            raise WeightsError(
                f"{path}: names {named}{more}, which is more than {allowed}, so it is not opened; give {_STATE_DICT}"
            )
        with _allowing(known):
            content = _load(path)
    _refuse_growth(path, content)
    return content


def _refuse_old_torch() -> None:
    """Refuse torch up to 2.9, in which files could evade ``weights_only`` (CVE-2025-32434, CVE-2026-24747)."""
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if found is None or (int(found[1]), int(found[2])) < _SAFE_TORCH:
        needed = ".".join(map(str, _SAFE_TORCH))
        raise WeightsError(f"torch {torch.__version__} can't open weights safely: pip install 'torch>={needed}'")


def _refuse_other_formats(path: Path) -> None:
    """Refuse files that torch.save did not write, before torch reads them."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; check the path")
    if path.suffix == ".safetensors":
        raise WeightsError(f"{path}: a safetensors file holds weights and no run; it belongs in weights.pretrained")
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); {advise(error, str(path))}") from error
    if not start:
        raise WeightsError(f"{path}: an empty file; copy it again")
    if start.startswith(b"PK\x03\x04"):
        _refuse_other_zips(path)
    elif start.startswith(_LEGACY_START):
        with path.open("rb") as stream:
            _refuse_filled(path, stream, _LEGACY_PICKLES)
    else:
        what = "a pickle that torch.save did not write" if start[:1] == b"\x80" else f"begins with {start[:12]!r}"
        raise WeightsError(f"{path}: not a file of torch.save ({what}), so it is not opened; give {_STATE_DICT}")


def _refuse_other_zips(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {name.rpartition("/")[2]: name for name in archive.namelist()}
            _require_room(path, sum(entry.file_size for entry in archive.infolist()))
            if "data.pkl" in inside:
                with archive.open(inside["data.pkl"]) as stream:
                    _refuse_filled(path, stream, 1)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(f"{path}: damaged, its end is missing ({error}); copy it again") from error
    if "constants.pkl" in inside:
        raise WeightsError(
            f"{path}: a TorchScript archive, which is a program, so it is not opened; give the checkpoint that it was "
            "exported from"
        )
    if "data.pkl" not in inside:
        raise WeightsError(f"{path}: a zip file, but torch.save did not write it (no data.pkl); give {_STATE_DICT}")


def _refuse_filled(path: Path, stream: IO[bytes], num_pickles: int) -> None:
    """Refuse pickles that name what fills memory, before they are read."""
    try:
        for _ in range(num_pickles):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL" and str(argument).replace(" ", ".") in _FILLED:
                    raise WeightsError(f"{path}: holds a bytearray, which no weights need, so it is not opened")
    except ValueError:  # damaged: torch says where
        return


def _refuse_growth(path: Path, content: Any) -> None:
    """Refuse content that needs far more memory than its file holds: one value that claims to be ten billion."""
    try:
        _require_room(path, _expanded_bytes(content, {}))
    except RecursionError:
        raise WeightsError(
            f"{path}: values nested too deep or in themselves, so it is not used; give {_STATE_DICT}"
        ) from None


def _require_room(path: Path, needed: int) -> None:
    size = path.stat().st_size
    if needed > _MAX_GROWTH * size + _ALWAYS_ALLOWED:
        raise WeightsError(
            f"{path}: its {size:,} bytes would become {needed:.3g} in memory (expanded or shared tensors, or a "
            "compressed file), so it is not used; save clones of the tensors with torch.save"
        )


def _expanded_bytes(value: Any, known: dict[int, int]) -> int:
    """Return the memory of a value where nothing is shared: each tensor with its own storage, each list copied.

    ``known`` holds the result of each container, so that none is measured twice however often it is referred to; -1
    while it is being measured. A module inside itself counts once; what walks modules has a limit.

    Raises:
        RecursionError: If a list or dict contains itself, or the nesting is too deep.
    """
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, torch.UntypedStorage | torch.TypedStorage):
        return value.nbytes()
    if isinstance(value, str | bytes):
        return len(value)
    inside = value.kept if isinstance(value, ModuleStub) else value
    if isinstance(inside, dict):
        inside = (*inside.keys(), *inside.values())
    elif not isinstance(inside, list | tuple | set):
        return 1
    if id(value) not in known:
        known[id(value)] = -1
        known[id(value)] = 1 + sum(_expanded_bytes(item, known) for item in inside)
    if known[id(value)] < 0 and not isinstance(value, ModuleStub):
        raise RecursionError
    return max(known[id(value)], 0)


@contextmanager
def _allowing(names: list[str]) -> Iterator[None]:
    """Make ``torch.load`` resolve ``names`` to :class:`ModuleStub`, and no other name, within the context."""
    with _lock:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        try:
            torch.serialization.add_safe_globals([(ModuleStub, name) for name in names])
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def _list_globals(path: Path) -> list[str]:
    """List the classes and functions that a file names, without torch's own for tensors and without unpickling."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except ValueError:  # not a zip file: from before torch 1.6. What it names is refused by torch.load
        return []
    except Exception as error:  # a damaged file can trip the reader anywhere
        raise WeightsError(f"{path}: damaged or not a weights file ({_reason(error)}); copy it again") from error


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols; what cannot be read is an error anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: not opened ({_reason(error)}); give {_STATE_DICT}") from error
    except Exception as error:  # as above
        raise WeightsError(f"{path}: damaged or not a weights file ({_reason(error)}); copy it again") from error


def _reason(error: Exception) -> str:
    """Return torch's message without its advice to open the file with ``weights_only=False``."""
    text = " ".join(str(error).split()) or type(error).__name__
    named = re.search(r"GLOBAL (\S+) (was not|whose module)", text)
    text = f"it names {named[1]}" if named else text.rpartition("WeightsUnpickler error: ")[2]
    return "".join(filter(str.isprintable, text.partition(" Check the documentation")[0][:160]))
