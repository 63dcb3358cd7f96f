"""Parse untrusted JSON: no NaN, no absurd depth, no number of thousands of digits."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def parse_json(content: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: Saying what is wrong; a ``json.JSONDecodeError``, which has the line, if it is not JSON.
    """
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too many nested lists or objects") from None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")
