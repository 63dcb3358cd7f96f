"""Write docs/config.md: every option of a run with its values, default and meaning, from the schema.

    python scripts/config_docs.py            # --check: exit with 1 if the page is not current

The meaning of an option is the docstring below its field.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from yolofuse.config import Config, TrainConfig
from yolofuse.config.field_types import AbsolutePath, ImageSize, Section
from yolofuse.config.recipe import FINETUNE

OUT = Path(__file__).resolve().parents[1] / "docs" / "config.md"
_INTRO = """# Options of a run
`python scripts/config_docs.py` writes this page from the schema, `yolofuse/config/`.
[configs/custom.yaml](../configs/custom.yaml) is a config to copy.

Any option can be given on the command line, as `train.lr0=0.005`. Relative paths start at the working directory.
Unknown keys and wrong values are refused, all at once. Where there are two defaults, the second is that of
`train.recipe: finetune` ([pretrained.md](pretrained.md#the-recipe))."""
_WORDS = {str: "text", bool: "`true` or `false`", int: "whole number", float: "number", type(None): "`null`"}
_WORDS |= {AbsolutePath: "path", ImageSize: "multiple of 32 from 32 to 8192"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def describe(kind: Any) -> str:
    """Describe the values that a type accepts, such as ``number from 0 to 1``."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if origin is Annotated:
        return f"{describe(inner[0])} {_limits(inner[1:])}".strip()
    if origin in (Literal, typing.Union, types.UnionType):
        words = [f"`{part}`" if origin is Literal else describe(part) for part in inner]
        words = [word for text in words for word in re.split(", | or ", text)] if len(words) > 1 else words
        return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    if origin is tuple:
        items = re.sub("^(list|number|pair|rule|text)", r"\1s", describe(inner[0]))
        return f"list of {items}" if inner[-1] is ... else f"pair of {items}"
    if origin is dict:
        return f"mapping of {' to '.join(map(describe, inner))}"
    return "`{name: ...}`" if kind.model_config["extra"] == "allow" else "rule"


def _limits(notes: Sequence[Any]) -> str:
    limits = [limit for note in notes for limit in getattr(note, "metadata", ())]
    numbers = {name: f"{getattr(limit, name):g}" for limit in limits for name in _BOUNDS if hasattr(limit, name)}
    found = {name: text.replace("e+0", "e").replace("e-0", "e-") for name, text in numbers.items()}
    if set(found) == {"ge", "le"}:
        return f"from {found['ge']} to {found['le']}"
    return " and ".join(f"{_BOUNDS[name]} {value}" for name, value in found.items())


def _tables(section: type[Section], title: str) -> Iterator[str]:
    """Yield the table of a section, then those of the sections in it."""
    (body,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(body, ast.ClassDef)
    docs = {
        ast.unparse(field.target): _markdown(ast.literal_eval(text.value))
        for field, text in pairwise(body.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
    rows, inner = ["| option | values | default | meaning |", "| --- | --- | --- | --- |"], []
    for name, kind in typing.get_type_hints(section, include_extras=True).items():
        path = f"{title}.{name}".lstrip(".")
        item = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
        if is_section := inspect.isclass(item) and issubclass(item, Section):
            inner.append((item, path))
        if name in section.model_fields and not (is_section and item is kind):
            option = name if title == "init.rules" else path  # a rule is an item of a list
            rows.append(f"| `{option}` | {describe(kind)} | {_default(section, name)} | {docs[name]} |")
    if title:
        yield "\n".join([f"## {title}", _markdown(section.__doc__ or ""), "", *rows])
    for part in inner:
        yield from _tables(*part)


def _default(section: type[Section], name: str) -> str:
    field = section.model_fields[name]
    if field.is_required():
        return "required"
    values = [field.default, *([FINETUNE[name]] if section is TrainConfig and name in FINETUNE else [])]
    return ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values)


def _markdown(text: str) -> str:
    text = re.sub(r"\s+", " ", text).replace("``", "`").replace("+-", "±").replace("|", r"\|").strip()
    return re.sub(r"\bNone\b", "`null`", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or check it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not current")
    page = "\n\n".join([_INTRO, *_tables(Config, "")]) + "\n"
    if not parser.parse_args(argv).check:
        OUT.write_text(page, encoding="utf-8")
    elif not OUT.is_file() or OUT.read_text(encoding="utf-8") != page:
        print(f"{OUT}: not current; run python scripts/config_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
