"""Parse untrusted YAML: no code, no repeated keys, no bombs, no control characters, and ``1e-3`` is a number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from yolofuse.errors import ConfigError, YolofuseError
from yolofuse.files import open_regular

MAX_BYTES = 1 << 20
_MAX_VALUES = 100_000  # with every alias expanded: ten lines can otherwise expand to more than fits in memory
_MAX_DEPTH = 60
_MAX_DIGITS = 400  # of a number
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, recolour a terminal or reverse the order of letters; newlines and tabs are text."""
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}


class _Loader(yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _refuse_bombs(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int) and key in seen:
                raise _error_at(key_node, f"key '{key}' is given twice")
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(  # YAML 1.1 reads 1e-3, without a point, as a string
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _error_at(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _children(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    """Return the items of a list, or keys and values of a mapping, each with its suffix to the parent's path."""
    if isinstance(node, yaml.SequenceNode):
        return [(f"[{number}]", item) for number, item in enumerate(node.value, start=1)]
    if isinstance(node, yaml.MappingNode):
        keys = [("", key) for key, _ in node.value]
        return keys + [(f".{key.value if isinstance(key, yaml.ScalarNode) else '?'}", item) for key, item in node.value]
    return []


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values of a node, with every alias expanded, and its nesting depth.

    ``known`` holds the result of each node, so that none is measured twice however many aliases refer to it; None
    while it is being measured.

    Raises:
        yaml.YAMLError: If it contains itself, a control character, or a number of hundreds of digits.
    """
    if isinstance(node, yaml.ScalarNode):
        if CONTROL.search(node.value):
            raise _error_at(node, "a control character; write plain text")
        if node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
            raise _error_at(node, f"a number of {len(node.value)} characters")
        return 1, 0
    if id(node) not in known:
        known[id(node)] = None
        inside = [_measure(part, known) for _, part in _children(node)]
        values = min(1 + sum(count for count, _ in inside), _MAX_VALUES + 1)
        known[id(node)] = values, 1 + max((depth for _, depth in inside), default=0)
    size = known[id(node)]
    if size is None:
        raise _error_at(node, "a value that contains itself")
    return size


def _refuse_bombs(root: yaml.Node) -> None:
    """Refuse a document that expands to too much, before any value of it is constructed."""
    known: dict[int, tuple[int, int] | None] = {}
    values, depth = _measure(root, known)
    if depth > _MAX_DEPTH:
        raise _error_at(root, f"{depth} levels of nesting; at most {_MAX_DEPTH} are allowed")
    if values <= _MAX_VALUES:
        return
    path, node = "", root
    while True:  # descend to the node that expands, so that the message can name it
        large = [(name, part) for name, part in _children(node) if _measure(part, known)[0] > _MAX_VALUES]
        if len(large) != 1:
            raise _error_at(node, f"{path.lstrip('.')}: its aliases expand to more than {_MAX_VALUES:,} values")
        path, node = path + large[0][0], large[0][1]


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        yaml.YAMLError: If it is not YAML, or a bomb.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
    except (RecursionError, ValueError, KeyError, AttributeError) as problem:
        # A date of month 99, "0b_" or "!!bool x": PyYAML's constructors raise exceptions of their own.
        raise yaml.YAMLError(str(problem)) from problem


def read_yaml(path: Path, error: type[YolofuseError] = ConfigError) -> dict[str, Any]:
    """Read the mapping that a YAML file holds.

    Args:
        path: The file.
        error: What to raise when it is missing, too large, not YAML, a bomb, or not a mapping.
    """
    try:
        with open_regular(path) as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise error(f"{path}: larger than 1 MiB; a config or descriptor is smaller")
        content = parse_yaml(text.decode("utf-8"))
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); check the path") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not a text file in UTF-8") from problem
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise error(f"{where}: not valid YAML ({getattr(problem, 'problem', None) or problem})") from problem
    if not isinstance(content, dict):
        raise error(f"{path}: must hold a mapping of keys to values (got {type(content).__name__})")
    return content
