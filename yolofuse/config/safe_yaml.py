"""Parse untrusted YAML: no code, no repeated keys, no bombs, no control characters; numbers are what they look like.

``1e-3`` is a number; ``0640`` and ``1:30``, in YAML 1.1 the numbers 416 (octal) and 90 (base 60), are text, which any
option that takes a number refuses by its name.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from yolofuse.errors import ConfigError, YolofuseError
from yolofuse.files import decode_text, open_regular

MAX_BYTES = 1 << 20
_MAX_VALUES = 100_000  # with every alias expanded: ten lines can otherwise expand to more than fits in memory
_MAX_DEPTH = 60
_MAX_DIGITS = 400  # of a number
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, recolour a terminal or reverse the order of letters; newlines and tabs are text."""
_TEXT, _FLOAT = "tag:yaml.org,2002:str", "tag:yaml.org,2002:float"
_NUMBERS = {"tag:yaml.org,2002:int", _FLOAT}
_BOOL, _DATE = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
_NAMES_IN = {"classes", "class_map"}  # mappings of names of classes; a list of names under such a key needs quotes
ODD_NUMBER = re.compile(r"[-+]?(0o?[\d_]+|\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?)")
"""Numbers of YAML 1.1 that nobody means: in octal or in base 60. They are left as text."""
_EXPONENT = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
"""Numbers that YAML 1.1 reads as text, for want of a point or a sign."""


class _Loader(yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _refuse_bombs(node)
        return node

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return _TEXT if tag in _NUMBERS and ODD_NUMBER.fullmatch(value) else tag

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):  # else PyYAML refuses it
                if key in seen:  # 0, 0.0 and false are one key
                    raise _error_at(key_node, f"key '{key}' is given twice")
                seen.add(key)
        for key_node, value in node.value:
            if key_node.value == "names" or (key_node.value in _NAMES_IN and isinstance(value, yaml.MappingNode)):
                _keep_as_text(value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes text that the loader would read as something else."""


for _both in (_Loader, _Dumper):
    _both.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+0123456789"))


def _keep_as_text(names: yaml.Node) -> None:
    """Keep names such as ``no`` and ``7`` as they are written, where YAML 1.1 reads ``no`` as false."""
    if not isinstance(names, yaml.SequenceNode | yaml.MappingNode):
        return
    for item in names.value:
        key, value = item if isinstance(item, tuple) else (None, item)
        if key is not None and key.tag == _BOOL:
            key.tag = _TEXT
        if value.tag in {_BOOL, _DATE, *_NUMBERS}:
            value.tag = _TEXT


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
        if node.tag in _NUMBERS and ODD_NUMBER.fullmatch(node.value):  # by a tag of its own: !!int 0640
            raise _error_at(node, f"{node.value}: neither octal nor base 60 is read; write it in decimal")
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


def dump_yaml(content: Any) -> str:
    """Return a value as YAML text; :func:`parse_yaml` gives it back."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


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
        content = parse_yaml(decode_text(text))
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); check the path") from problem
    except ValueError as problem:
        raise error(f"{path}: {problem}") from problem
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise error(f"{where}: not valid YAML ({getattr(problem, 'problem', None) or problem})") from problem
    if not isinstance(content, dict):
        raise error(f"{path}: must hold a mapping of keys to values (got {type(content).__name__})")
    return content
