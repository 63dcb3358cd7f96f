"""YAML as people mean it: no code, no repeated keys, and ``1e-3`` is a number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from yolofuse.errors import ConfigError, YolofuseError

MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(  # YAML 1.1 reads 1e-3, without a point, as a word
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: If it is not YAML.
    """
    return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader


def read_yaml(path: Path, error: type[YolofuseError] = ConfigError) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: The file.
        error: What to raise when it is missing, too large, not YAML, or not a mapping.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path}: larger than 1 MiB, so not a YAML of ours")
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); check the path") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not a text file in UTF-8") from problem
    except (yaml.YAMLError, RecursionError, ValueError, KeyError, AttributeError) as problem:
        # The last three: a date of month 99, "0b_" or "!!bool x"; PyYAML's constructors raise what they trip over.
        mark = getattr(problem, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise error(f"{where}: not valid YAML ({getattr(problem, 'problem', None) or problem})") from problem
    if not isinstance(content, dict):
        raise error(f"{path}: must hold a mapping of keys to values (got {type(content).__name__})")
    return content
