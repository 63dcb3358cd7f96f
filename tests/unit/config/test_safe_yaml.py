from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from yolofuse.config.safe_yaml import dump_yaml, parse_yaml, read_yaml
from yolofuse.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("-2E+4", -2e4), ("1e", "1e"), ("a: [1, x]", {"a": [1, "x"]})]
)
def test_parse__reads_exponents_as_numbers(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0640", "0640"),  # 416 in YAML 1.1
        ("-010", "-010"),  # -8
        ("1:30", "1:30"),  # 90
        ("1:30.5", "1:30.5"),  # 90.5
        ("0o17", "0o17"),
        ("{010: 1}", {"010": 1}),
        ("1_000", 1000),
        ("0x10", 16),
        ("01.5", 1.5),
        ("0", 0),
        ("[yes, off]", [True, False]),
    ],
)
def test_parse__numbers_are_what_they_look_like_or_text(text: str, value: object) -> None:
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["1e3", "0640", "1:30", "0o17", "1_000", "yes", "2001-01-01", "~", "a: b", "é"])
def test_dump__text_comes_back_as_text(text: str) -> None:
    assert parse_yaml(dump_yaml({"a": text})) == {"a": text}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{a: 1, a: 2}", "key 'a' is given twice"),
        ("{0: a, 0.0: c}", "key '0.0' is given twice"),
        ("{1: a, yes: c}", "key 'True' is given twice"),
        ("!!int 0640", "write it in decimal"),
        ("&a [*a]", "contains itself"),
        ("!!bool x", "'x'"),
        ("2001-99-99", "month"),
    ],
)
def test_parse__refuses(text: str, message: str) -> None:
    with pytest.raises(yaml.YAMLError, match=message):
        parse_yaml(text)


def test_read__raises_the_callers_error_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    with pytest.raises(DataError, match="cannot be read"):
        read_yaml(file, DataError)
    file.write_text("a: 1\nb: [")
    with pytest.raises(ConfigError, match=r"x.yaml:2: not valid YAML"):
        read_yaml(file)
    file.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_yaml(file)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("utf-16", "is a text in UTF-16"), ("latin-1", "byte 0xdf after 'a: Stra'.; save it as UTF-8")],
)
def test_read_yaml__names_another_encoding(tmp_path: Path, encoding: str, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes("a: Straße".encode(encoding))
    with pytest.raises(ConfigError, match=message):
        read_yaml(file)
    file.write_bytes("a: Straße".encode("utf-8-sig"))
    assert read_yaml(file) == {"a": "Straße"}
