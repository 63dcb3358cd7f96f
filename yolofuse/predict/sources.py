"""Find the pairs that are to be detected in: image files, folders, videos, streams, and splits of data sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from yolofuse.data import load_descriptor
from yolofuse.data.descriptor.source import DatasetDescriptor, Source
from yolofuse.data.index.pair_set import load_pairs, match_split
from yolofuse.engine.loaded_detector import Image, LoadedDetector, PairFiles, warn_of_other_reading
from yolofuse.engine.origin_run import trained_windows
from yolofuse.errors import DataError, listing
from yolofuse.predict.input_warnings import warn_if_out_of_order, warn_if_swapped
from yolofuse.types import PairRecord
from yolofuse.video import is_camera

if TYPE_CHECKING:
    from yolofuse.video import PairCounts

Kind = Literal["image", "folder", "sequence", "split", "video", "live"]
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".ts", ".m4v", ".mpg", ".mpeg"})


@dataclass(frozen=True, slots=True)
class PairInput:
    """A pair to detect in.

    Attributes:
        pair: RGB and IR image, or the record of a data set's pair.
        key: Its name; "" for that of its file.
        time_s: Time of a video's frame in seconds; None for images.
    """

    pair: PairFiles | PairRecord
    key: str = ""
    time_s: float | None = None


@dataclass(frozen=True)
class PairInputs:
    """Pairs to detect in, one after the other.

    Attributes:
        kind: What they were given as.
        pairs: The pairs; of a video, they can be iterated over once.
        number: How many they are; None where that is not known.
        counts: Frames of a video that had no partner, once it was read.
        fps: Of a video, in frames a second.
    """

    kind: Kind
    pairs: Iterable[PairInput]
    number: int | None = None
    counts: Callable[[], PairCounts] | None = None
    fps: float | None = None

    def __iter__(self) -> Iterator[PairInput]:
        return iter(self.pairs)

    @property
    def is_video(self) -> bool:
        """Whether they follow one another in time."""
        return self.kind in ("video", "live")


def open_inputs(rgb: Any, ir: Any, offset_s: float = 0.0) -> PairInputs:
    """Return the pairs of two cameras.

    Args:
        rgb: A file, an array, a folder, a video, a camera (its address such as ``rtsp://HOST/PATH``, its device or
            number), or a sequence of files and arrays; None: there is no such camera.
        ir: Likewise; folders are matched by the names of their files, videos and cameras by time.
        offset_s: What is added to the times of a thermal video, in seconds.

    Raises:
        DataError: If both are None, of unlike kinds, of unequal lengths, or their files do not match.
    """
    if rgb is None and ir is None:
        raise DataError("give rgb, ir, or both")
    kinds = {_kind(given) for given in (rgb, ir) if given is not None}
    if len(kinds) > 1:
        raise DataError(f"rgb and ir must be of one kind (found {' and '.join(sorted(kinds))})")
    (kind,) = kinds
    if kind in ("image", "folder"):
        pairs = [PairInput((rgb, ir))] if kind == "image" else _match_folders(rgb, ir)
        warn_if_swapped([(pair.pair[0], pair.pair[1]) for pair in pairs if isinstance(pair.pair, tuple)])
        return PairInputs(kind, pairs, len(pairs))
    if kind in ("video", "live"):
        return _open_videos(rgb, ir, offset_s, is_live=kind == "live")
    return _zip(rgb, ir)


def _open_videos(rgb: Any, ir: Any, offset_s: float, *, is_live: bool) -> PairInputs:
    from yolofuse.video import LiveFrames, LivePairs, VideoPairs, VideoReader, ir_pixels, rgb_pixels

    if rgb is not None and ir is not None:
        both = LivePairs(rgb, ir, offset_s) if is_live else VideoPairs(rgb, ir, offset_s)

        def pairs() -> Iterator[PairInput]:
            with both:
                for frame in both:
                    if frame.ir_as_rgb is not None:
                        warn_if_swapped([(frame.rgb, frame.ir_as_rgb)])
                    yield PairInput((frame.rgb, frame.ir), f"{frame.index:06d}", frame.time_s)

        return PairInputs("live" if is_live else "video", pairs(), counts=lambda: both.counts, fps=both.fps)
    source = ir if rgb is None else rgb
    reader = LiveFrames(source) if is_live else VideoReader(source)

    def frames() -> Iterator[PairInput]:
        with reader:
            for number, frame in enumerate(reader):
                pair = (None, ir_pixels(frame)) if rgb is None else (rgb_pixels(frame), None)
                yield PairInput(pair, f"{number:06d}", frame.time_s)

    return PairInputs("live" if is_live else "video", frames(), fps=reader.fps)


def split_inputs(data: Path, split: str, loaded: LoadedDetector) -> PairInputs:
    """Return the pairs of a data set's split, in the order of its evaluation; warn if they are read otherwise.

    Args:
        data: The data set's YAML.
        split: Name of the split.
        loaded: The detector, which knows the thermal windows of its training data and how they were read.

    Raises:
        DataError: As of ``load_pairs``.
    """
    windows = trained_windows(loaded, data)
    pairs = load_pairs(load_descriptor(data), split, ir_windows=windows, verify=False, allow_missing=True)
    warn_of_other_reading(loaded, pairs, f"{data} [{split}]")
    return PairInputs("split", [PairInput(record, record.key) for record in pairs.records], len(pairs))


def _kind(given: Any) -> Kind:
    if isinstance(given, np.ndarray):
        return "image"
    if isinstance(given, int):
        return "live"
    if isinstance(given, str | PathLike):
        text = os.fspath(given)
        if is_camera(text):
            if text.isdecimal() and Path(text).exists():
                raise DataError(f"{text}: the number of a camera, and the name of a file here; write ./{text} for that")
            return "live"
        if Path(text).suffix.lower() in VIDEO_SUFFIXES:
            return "video"
        return "folder" if Path(text).is_dir() else "image"
    if isinstance(given, bytes | Set | Mapping) or not isinstance(given, Iterable):
        raise DataError(
            f"rgb and ir must be paths, arrays, or sequences of them in the order of the pairs (found {type(given)})"
        )
    return "sequence"


def _zip(rgb: Any, ir: Any) -> PairInputs:
    lengths = {len(given) for given in (rgb, ir) if isinstance(given, Sequence)}
    if len(lengths) > 1:
        raise DataError(f"rgb and ir must have equal lengths (found {len(rgb)} and {len(ir)})")
    if isinstance(rgb, Sequence) and isinstance(ir, Sequence):
        both = [*zip(rgb, ir, strict=True)]
        warn_if_swapped(both)
        warn_if_out_of_order(both)

    def images(given: Any) -> Iterator[Image]:
        """Yield the images; of a generator, which may put the next one into the same memory, copies."""
        is_kept = isinstance(given, Sequence)
        return (image.copy() if isinstance(image, np.ndarray) and not is_kept else image for image in given)

    def pairs() -> Iterator[PairInput]:
        if rgb is None or ir is None:
            for image in images(ir if rgb is None else rgb):
                yield PairInput((None, image) if rgb is None else (image, None))
            return
        both: Iterator[tuple[Image, Image]] = zip(images(rgb), images(ir), strict=True)
        try:
            for pair in both:
                yield PairInput(pair)
        except ValueError as error:
            raise DataError(f"rgb and ir must have equal lengths ({error})") from None

    return PairInputs("sequence", pairs(), lengths.pop() if lengths else None)


def _match_folders(rgb: Any, ir: Any) -> list[PairInput]:
    """Match two folders as those of a data set are, or list the images of one camera."""
    folders = [Path(given).absolute() for given in (rgb, ir) if given is not None]
    where = " and ".join(str(given) for given in (rgb, ir) if given is not None)
    root = Path(os.path.commonpath(folders))
    is_one = len(folders) == 1  # each file is looked for once, as one that holds both images
    anywhere = (Path(root.anchor),)  # links in folders that the user names may lead
    source = Source(where, root, (), (), rgb=folders[0], ir=folders[-1], links=anywhere, stacked=is_one)
    ((_, matches),) = match_split(DatasetDescriptor(root, root, (), {"predict": (source,)}), "predict")
    if matches.problems:
        raise DataError(listing(where, [*map(str, matches.problems)]))
    names = zip(matches.keys, matches.rgb, matches.ir, strict=True)
    return [
        PairInput((None if rgb is None else root / rgb_name, None if ir is None else root / ir_name), key)
        for key, rgb_name, ir_name in names
    ]
