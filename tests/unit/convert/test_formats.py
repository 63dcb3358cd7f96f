"""Every published format: the same tree twice, the source unchanged, a readable descriptor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_sources import NAMES, make
from tests.support.convert_trees import descriptor, keys, tree
from tests.support.pairs import pairs_of
from yolofuse.convert import ClassChoice, prepare
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import DataError


@pytest.mark.parametrize("name", NAMES)
def test_every_format__same_tree_twice_source_untouched_and_descriptor_readable(tmp_path: Path, name: str) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    make(name, src)
    before = tree(src)
    made = prepare(name, src, out)
    first = tree(out)
    assert not prepare(name, src, out).is_new
    assert prepare(name, src, out, force=True).is_new
    assert tree(out) == first
    assert tree(src) == before
    splits = list(load_descriptor(made.descriptor).splits)
    assert splits == list(descriptor(out)["splits"])
    assert [len(pairs_of(made.descriptor, split)) for split in splits] == [len(keys(out, split)) for split in splits]


@pytest.mark.parametrize("name", NAMES)
def test_every_format__an_empty_source_says_what_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "src").mkdir()
    with pytest.raises(DataError, match=r"no (folder|file|pairs|such folder)"):
        prepare(name, tmp_path / "src", tmp_path / "out", choice=ClassChoice())
    assert not (tmp_path / "out").exists()
