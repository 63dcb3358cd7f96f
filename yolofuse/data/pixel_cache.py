"""Cache the decoded pairs of a split at training size in one file that every worker and rank maps."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import shutil
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
from tqdm import tqdm

from yolofuse.data.available_memory import available_memory
from yolofuse.data.cache_files import lock_cached, make_cache_dir, open_cached, open_partial
from yolofuse.data.images.decode import strict_decoding
from yolofuse.data.images.read_pair import pixel_dtype, read_pair, training_hw
from yolofuse.data.index.pair_set import PairSet
from yolofuse.errors import DataError, describe_os_error
from yolofuse.spacing import evenly_spaced
from yolofuse.types import IntArray, PixelArray

_log = logging.getLogger(__name__)
_warn_once = functools.cache(_log.warning)
_FORMAT = 4  # raise it whenever what is stored changes
_CHANNELS = 4
_SPARE = 1 << 30  # bytes that must stay free beside a cache
_SHARE = 0.25  # of the free memory that ``auto`` takes: workers, model and other jobs need some, too
_MIB, _GIB = 1 << 20, 1 << 30
_CHUNK = 256  # pairs that are submitted to the threads at a time
_CRC = np.dtype("<u4")
CacheKind = Literal["none", "ram", "disk"]
Checksums = np.ndarray[tuple[int], np.dtype[np.uint32]]
_CHECKED = 64  # pairs of an existing cache whose checksums are compared


class CacheNotWrittenError(DataError):
    """A cache can't be written; training needs none, it is slower without."""


class PixelCache:
    """Read the pairs of a split at training size from one mapped file.

    Forked workers share the mapping, and ranks of one machine the file's pages. A file in memory has no name on any
    disk and is freed with the last process that maps it, even if that is killed; its ``descriptor`` is closed with the
    cache. ``longest`` is the training size in pixels, see ``training_hw``. Each process compares the checksum of a pair
    when it first reads it from a disk; one that is damaged there is read from its own files.
    """

    def __init__(self, path: Path, pairs: PairSet, longest: int, descriptor: int | None = None) -> None:
        self.path = path
        self._records = pairs.records
        self._intact: set[int] = set()
        self._sizes_hw, self._offsets = _layout(pairs, longest)
        self._dtype = _dtype(pairs)
        self._map()
        if descriptor is not None:
            weakref.finalize(self, os.close, descriptor)

    def read(self, index: int) -> PixelArray:
        """Return the pixels of the pair at a position: a view of the file, unless they are damaged there.

        Shapes:
            -> uint8 or uint16 (h, w, 4): R, G, B, IR, with (h, w) of ``training_hw``
        """
        height, width = self._sizes_hw[index].tolist()
        start, stop = self._offsets[index : index + 2].tolist()
        pixels = self._pixels[start:stop].reshape(height, width, _CHANNELS)
        if index not in self._intact:
            if len(self._checksums) and zlib.crc32(pixels.data) != self._checksums[index]:
                _warn_once("%s: holds damaged pairs, which are read from their files; delete it", self.path)
                return read_pair(self._records[index], (height, width))
            self._intact.add(index)
        return pixels

    def _map(self) -> None:
        values = np.asarray(np.memmap(self.path, dtype=self._dtype, mode="r"))
        end = int(self._offsets[-1])
        self._pixels: PixelArray = values[:end]
        self._checksums: Checksums = values[end:].view(_CRC)  # empty in memory

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pixels out: a process that was not forked maps the file again."""
        return {name: value for name, value in vars(self).items() if name not in ("_pixels", "_checksums")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()


def choose_cache(pairs: PairSet, longest: int, cache_dir: Path) -> CacheKind:
    """Return where a split's pixels should be kept: memory if they take less than a quarter of what is free.

    Memory must have room beside them, too, as for ``ram_cache``.
    """
    size, free = _num_bytes(pairs, longest), available_memory()
    if size < free * _SHARE and size + _SPARE <= free:
        return "ram"
    folder = next(path for path in (cache_dir, *cache_dir.parents) if path.is_dir())
    fits = _is_valid(_cache_file(cache_dir, pairs, longest), pairs, longest)
    return "disk" if fits or size + _num_checksum_bytes(pairs) + _SPARE <= shutil.disk_usage(folder).free else "none"


def disk_cache(pairs: PairSet, longest: int, cache_dir: Path, workers: int) -> PixelCache:
    """Return the split's pixels from a file of the cache folder, and write it if it is missing.

    Its name is a hash of the files, sizes and settings that it was made of, so a changed image means another file.
    After the pixels comes a checksum of each pair; an existing file is written again unless its size and some of them
    match. Processes that need the same file wait for the first, for an hour at most; one that is killed leaves a
    partial file, which the next one overwrites.

    Raises:
        CacheNotWrittenError: If the disk has too little space, or the folder can't be written to.
        DataError: If an image can't be read.
    """
    path = _cache_file(cache_dir, pairs, longest)
    try:
        make_cache_dir(cache_dir)
        part = Path(f"{path}.part")
        with open_partial(part) as partial:
            lock_cached(partial, part)
            if _is_valid(path, pairs, longest):
                part.unlink(missing_ok=True)
            else:
                size = _write_cache(partial, cache_dir, pairs, longest, workers)
                part.replace(path)
                _log.info("train.cache: %.0f MiB in %s; delete it when you no longer use the data", size / _MIB, path)
    except OSError as error:
        what = describe_os_error(error, str(path))
        raise CacheNotWrittenError(f"train.cache: can't be written: {what}; set data.cache_dir to another") from None
    return PixelCache(path, pairs, longest)


def ram_cache(pairs: PairSet, longest: int, workers: int) -> PixelCache:
    """Return the split's pixels in memory that other processes of this machine can map by the cache's path.

    Raises:
        CacheNotWrittenError: If there is too little memory.
        DataError: If an image can't be read.
    """
    size = _num_bytes(pairs, longest)
    _require_space("ram", size, available_memory(), "of memory; use disk, or a smaller train.imgsz")
    descriptor = os.memfd_create("yolofuse-pixels")
    try:
        os.posix_fallocate(descriptor, 0, size)
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        with path.open("r+b") as file:
            _write_pixels(file, pairs, longest, workers)
        cache = PixelCache(path, pairs, longest, descriptor)
    except OSError as error:
        os.close(descriptor)
        message = f"{size / _MIB:.0f} MiB of memory can't be allocated ({error}); use disk"
        raise CacheNotWrittenError(f"train.cache: {message}") from None
    except DataError:
        os.close(descriptor)
        raise
    _log.info("train.cache: %.0f MiB in memory", size / _MIB)
    return cache


def _require_space(kind: str, size: int, free: int, where: str) -> None:
    """Refuse a cache that would leave too little free."""
    if size + _SPARE > free:
        raise CacheNotWrittenError(
            f"train.cache: {kind} needs {size / _GIB:.1f} GiB and {_SPARE // _GIB} spare, "
            f"but {free / _GIB:.1f} are free {where}"
        )


def _write_cache(partial: BinaryIO, folder: Path, pairs: PairSet, longest: int, workers: int) -> int:
    """Write pixels and checksums to a file of a folder; return its size in bytes."""
    num_pixel_bytes = _num_bytes(pairs, longest)
    size = num_pixel_bytes + _num_checksum_bytes(pairs)
    free = shutil.disk_usage(folder).free + os.fstat(partial.fileno()).st_blocks * 512
    _require_space("disk", size, free, f"on the disk of {folder}; set data.cache_dir to another")
    partial.truncate(0)
    os.posix_fallocate(partial.fileno(), 0, size)  # a full disk or quota fails here, not with a signal
    try:
        checksums = _write_pixels(partial, pairs, longest, workers)
    except DataError:
        partial.truncate(0)  # others may wait for its lock, so it keeps its name
        raise
    partial.seek(num_pixel_bytes)
    partial.write(checksums.tobytes())
    partial.flush()
    return size


def _write_pixels(file: BinaryIO, pairs: PairSet, longest: int, workers: int) -> Checksums:
    """Decode every pair into its place in an allocated file, and return the checksum of each."""
    sizes_hw, offsets = _layout(pairs, longest)
    pixels = np.memmap(file, dtype=_dtype(pairs), mode="r+", shape=(int(offsets[-1]),))
    checksums = np.zeros(len(pairs), _CRC)

    def write(index: int) -> None:
        height, width = sizes_hw[index].tolist()
        pair = np.ascontiguousarray(read_pair(pairs.records[index], (height, width)))
        pixels[offsets[index] : offsets[index + 1]] = pair.ravel()
        checksums[index] = zlib.crc32(pair.data)

    bar = tqdm(total=len(pairs), desc="train.cache", unit="pair", delay=3, disable=None)
    with bar, strict_decoding(), ThreadPoolExecutor(max(workers, 1)) as pool:
        for start in range(0, len(pairs), _CHUNK):
            for _ in pool.map(write, range(start, min(start + _CHUNK, len(pairs)))):
                bar.update()
    pixels.flush()
    return checksums


def _is_valid(path: Path, pairs: PairSet, longest: int) -> bool:
    """Return whether a cache file exists and has the right size, and some pairs their checksums."""
    offsets = _layout(pairs, longest)[1] * _dtype(pairs).itemsize
    try:
        with open_cached(path) as file:
            if os.fstat(file.fileno()).st_size != offsets[-1] + _num_checksum_bytes(pairs):
                raise ValueError("its size is wrong")
            file.seek(int(offsets[-1]))
            checksums = np.frombuffer(file.read(), _CRC)
            for index in evenly_spaced(len(pairs), _CHECKED):
                file.seek(int(offsets[index]))
                if zlib.crc32(file.read(int(offsets[index + 1] - offsets[index]))) != checksums[index]:
                    raise ValueError("a checksum is wrong")
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        _log.warning("%s: cache can't be used and is rebuilt (%s)", path, error)
        return False
    return True


def _cache_file(cache_dir: Path, pairs: PairSet, longest: int) -> Path:
    """Name a file by a hash of all that its pixels depend on."""
    windows = sorted(pairs.ir_windows.items())
    made_of = f"{_FORMAT} {cv2.__version__} {pairs.files_hash} {pairs.fingerprint} {longest} {_dtype(pairs)} {windows}"
    return cache_dir / f"pixels-{hashlib.sha256(made_of.encode()).hexdigest()[:24]}.bin"


def _dtype(pairs: PairSet) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    return pixel_dtype(pairs.records[0].format)


def _layout(pairs: PairSet, longest: int) -> tuple[IntArray, IntArray]:
    """Return the size of each pair in pixels, and the offsets of its values: (N, 2), (N + 1,)."""
    sizes_hw = np.array([training_hw((height, width), longest) for height, width in pairs.sizes_hw.tolist()], np.int64)
    return sizes_hw, np.cumsum([0, *sizes_hw.prod(axis=1) * _CHANNELS], dtype=np.int64)


def _num_checksum_bytes(pairs: PairSet) -> int:
    return _CRC.itemsize * len(pairs)


def _num_bytes(pairs: PairSet, longest: int) -> int:
    return int(_layout(pairs, longest)[1][-1]) * _dtype(pairs).itemsize
