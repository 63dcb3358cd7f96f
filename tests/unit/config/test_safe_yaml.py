from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from yolofuse.config.safe_yaml import parse_yaml, read_yaml
from yolofuse.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("-2E+4", -2e4), ("1e", "1e"), ("a: [1, x]", {"a": [1, "x"]})]
)
def test_parse__reads_exponents_as_numbers(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{a: 1, a: 2}", "key 'a' is given twice"),
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
