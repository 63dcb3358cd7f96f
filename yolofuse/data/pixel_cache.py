"""Pairs at training size in one file that every worker and rank maps: decoded once, shared, never copied."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from yolofuse.data.available_memory import available_memory
from yolofuse.data.cache_files import make_cache_dir, open_cached, open_partial
from yolofuse.data.images.decode import strict_decoding
from yolofuse.data.images.read_pair import pixel_dtype, read_pair, training_hw
from yolofuse.data.index.pair_set import PairSet
from yolofuse.errors import DataError
from yolofuse.types import IntArray, PixelArray

_log = logging.getLogger(__name__)
_FORMAT = 3  # raise it whenever what is stored changes
_CHANNELS = 4
_SPARE = 1 << 30  # bytes that are left free beside a cache
_MIB, _GIB = 1 << 20, 1 << 30
_CHUNK = 256  # pairs that are handed to the threads at a time
_CRC = np.dtype("<u4")
Checksums = np.ndarray[tuple[int], np.dtype[np.uint32]]
_CHECKED = 64  # pairs of a cache that was found whose checksums are compared


class PixelCache:
    """Every pair of a split at training size, mapped from one file.

    Forked workers share the mapping, and ranks of one machine the file's pages. In memory the file has no name on any
    disk and is gone with the last process that maps it, however that ends.
    """

    def __init__(self, path: Path, pairs: PairSet, longest: int, descriptor: int | None = None) -> None:
        """Map a file that :func:`disk_cache` or :func:`ram_cache` wrote.

        Args:
            path: The file.
            pairs: The split that it was made of.
            longest: What the longest sides were brought down to, in pixels.
            descriptor: The open file, where closing it ends it: it is closed with the cache.
        """
        self.path = path
        self._sizes_hw, self._offsets = _layout(pairs, longest)
        self._dtype = _dtype(pairs)
        self._map()
        if descriptor is not None:
            weakref.finalize(self, os.close, descriptor)

    def read(self, index: int) -> PixelArray:
        """The pixels of the pair at a position: a view of the file.

        Shapes:
            -> uint8 or uint16 (h, w, 4): R, G, B, IR, with (h, w) of ``training_hw``
        """
        height, width = self._sizes_hw[index].tolist()
        start, stop = self._offsets[index : index + 2].tolist()
        return self._pixels[start:stop].reshape(height, width, _CHANNELS)

    def _map(self) -> None:
        self._pixels: PixelArray = np.asarray(np.memmap(self.path, dtype=self._dtype, mode="r"))

    def __getstate__(self) -> dict[str, Any]:
        """A process that was not forked maps the file anew; pixels are never sent."""
        return {name: value for name, value in vars(self).items() if name != "_pixels"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()


def disk_cache(pairs: PairSet, longest: int, cache_dir: Path, workers: int) -> PixelCache:
    """The split's pixels from a file of the cache folder, made if it is not there yet.

    Its name tells files, sizes and settings that it was made of, so a changed image means another file. Behind the
    pixels stands a checksum of each pair; one that was found is made again unless its size and some of them agree.
    Processes that want the same one wait for the first; one that is killed leaves a partial file that the next one
    takes over.

    Raises:
        DataError: If the disk has too little room, or an image can't be read.
    """
    path = cache_dir / f"pixels-{_made_of(pairs, longest)}.bin"
    try:
        make_cache_dir(cache_dir)
        part = Path(f"{path}.part")
        with open_partial(part) as partial:
            fcntl.flock(partial, fcntl.LOCK_EX)
            if not _is_whole(path, pairs, longest):
                size = _size(pairs, longest) + _CRC.itemsize * len(pairs)
                free = shutil.disk_usage(cache_dir).free + os.fstat(partial.fileno()).st_blocks * 512
                _refuse_too_large("disk", size, free, f"on the disk of {cache_dir}; set data.cache_dir to another")
                partial.truncate(0)
                os.posix_fallocate(partial.fileno(), 0, size)  # a full disk or quota is told here, not by a signal
                checksums = _fill(partial, pairs, longest, workers)
                partial.seek(_size(pairs, longest))
                partial.write(checksums.tobytes())
                partial.flush()
                part.replace(path)
                _log.info("train.cache: %.0f MiB in %s; delete it when the data set is done with", size / _MIB, path)
            else:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"train.cache: {path} can't be written ({error}); set data.cache_dir to another folder"
        ) from None
    return PixelCache(path, pairs, longest)


def ram_cache(pairs: PairSet, longest: int, workers: int) -> PixelCache:
    """The split's pixels in memory that other processes of this machine can map by the cache's path.

    Raises:
        DataError: If there is too little memory, or an image can't be read.
    """
    size = _size(pairs, longest)
    _refuse_too_large("ram", size, available_memory(), "of memory; use disk, or a smaller train.imgsz")
    descriptor = os.memfd_create("yolofuse-pixels")
    try:
        os.posix_fallocate(descriptor, 0, size)
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        with path.open("r+b") as file:
            _fill(file, pairs, longest, workers)
        cache = PixelCache(path, pairs, longest, descriptor)
    except OSError as error:
        os.close(descriptor)
        raise DataError(f"train.cache: {size / _MIB:.0f} MiB of memory can't be had ({error}); use disk") from None
    except DataError:
        os.close(descriptor)
        raise
    _log.info("train.cache: %.0f MiB in memory", size / _MIB)
    return cache


def _refuse_too_large(kind: str, size: int, free: int, where: str) -> None:
    if size + _SPARE > free:
        raise DataError(
            f"train.cache: {kind} needs {size / _GIB:.1f} GiB and {_SPARE // _GIB} spare, "
            f"but {free / _GIB:.1f} are free {where}"
        )


def _fill(file: BinaryIO, pairs: PairSet, longest: int, workers: int) -> Checksums:
    """Decode every pair into its place of a file that has its size already; the checksum of each."""
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


def _is_whole(path: Path, pairs: PairSet, longest: int) -> bool:
    """Whether a cache is there, and is what was once written as far as its size and some checksums tell."""
    offsets = _layout(pairs, longest)[1] * _dtype(pairs).itemsize
    chosen = np.unique(np.linspace(0, len(pairs) - 1, _CHECKED).round().astype(int))
    try:
        with open_cached(path) as file:
            if os.fstat(file.fileno()).st_size != offsets[-1] + _CRC.itemsize * len(pairs):
                raise ValueError("its size is another")
            file.seek(int(offsets[-1]))
            checksums = np.frombuffer(file.read(), _CRC)
            for index in chosen.tolist():
                file.seek(int(offsets[index]))
                if zlib.crc32(file.read(int(offsets[index + 1] - offsets[index]))) != checksums[index]:
                    raise ValueError("a checksum is wrong")
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        _log.warning("%s: cache can't be used and is made again (%s)", path, error)
        return False
    return True


def _made_of(pairs: PairSet, longest: int) -> str:
    windows = sorted(pairs.ir_windows.items())
    made_of = f"{_FORMAT} {pairs.files_hash} {pairs.fingerprint} {longest} {_dtype(pairs)} {windows}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:24]


def _dtype(pairs: PairSet) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    return pixel_dtype(pairs.records[0].format)


def _layout(pairs: PairSet, longest: int) -> tuple[IntArray, IntArray]:
    """Size of each pair in pixels, and where its values start."""
    sizes_hw = np.array([training_hw((height, width), longest) for height, width in pairs.sizes_hw.tolist()], np.int64)
    offsets = np.zeros(len(pairs) + 1, np.int64)
    np.cumsum(sizes_hw.prod(axis=1) * _CHANNELS, out=offsets[1:])
    return sizes_hw, offsets


def _size(pairs: PairSet, longest: int) -> int:
    return int(_layout(pairs, longest)[1][-1]) * _dtype(pairs).itemsize
