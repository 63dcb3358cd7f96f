"""Parse untrusted JSON: no NaN, no key given twice, no absurd depth, no number of thousands of digits."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, NoReturn

from yolofuse.files import describe_decode_error

_STRING_OR_END = re.compile(r'"(?:[^"\\]|\\.)*"|\}')


def parse_json(content: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: Saying what is wrong; a ``json.JSONDecodeError``, which has the line, if it is not JSON or a key is
            given twice in one object.
    """
    try:
        text = content if isinstance(content, str) else content.decode(json.detect_encoding(content), "surrogatepass")
    except UnicodeDecodeError as error:
        raise ValueError(describe_decode_error(error)) from None
    num_objects = itertools.count()

    def to_dict(members: list[tuple[str, Any]]) -> dict[str, Any]:
        number, value = next(num_objects), dict(members)
        if len(value) < len(members):
            keys = [key for key, _ in members]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise json.JSONDecodeError(f"key {twice[:80]!r} is given twice in one object", text, _end(text, number))
        return value

    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=to_dict)
    except RecursionError:
        raise ValueError("too many nested lists or objects") from None


def _end(text: str, number: int) -> int:
    """Return where an object ends in JSON that is valid up to there; they are numbered as they end."""
    ends = (match.start() for match in _STRING_OR_END.finditer(text) if match[0] == "}")
    return next(itertools.islice(ends, number, None))


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")
