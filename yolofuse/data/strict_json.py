"""JSON of strangers: no NaN, no absurd depth, no number of thousands of digits."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def parse_json(content: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: With what is wrong with it; a ``json.JSONDecodeError``, which knows the line, if it is no JSON.
    """
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too many lists or objects inside one another") from None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")
