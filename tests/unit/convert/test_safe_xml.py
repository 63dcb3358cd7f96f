"""Untrusted XML: entities, document types and deep nesting are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import only_problem, text
from yolofuse.convert.safe_xml import XmlError, parse_xml
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.voc import read_voc

_BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""


_EXTERNAL = """<?xml version="1.0"?>
<!DOCTYPE annotation [<!ENTITY secret SYSTEM "file://{file}">]>
<annotation><object><name>&secret;</name></object></annotation>"""


_EXTERNAL_DTD = '<?xml version="1.0"?>\n<!DOCTYPE annotation SYSTEM "file://{file}">\n<annotation/>'


@pytest.mark.parametrize("content", [_BOMB, _EXTERNAL, _EXTERNAL_DTD], ids=["bomb", "external-entity", "external-dtd"])
def test_xml__entities_and_document_types_are_refused(tmp_path: Path, content: str) -> None:
    secret = text(tmp_path / "secret.txt", "the secret")
    path = text(tmp_path / "a.xml", content.replace("{file}", str(secret)))
    source = SourceFolder(tmp_path)
    assert read_voc(source, path).objects == []
    assert f"{path}:2: document types and entities are refused" in only_problem(source)
    assert "the secret" not in only_problem(source)


def test_xml__absurd_depth_is_refused() -> None:
    with pytest.raises(XmlError, match="more than 30 elements inside one another"):
        parse_xml(b"<a>" * 100_000)
