"""Hold constructors by name, so that names are known before the modules behind them are imported."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, MutableMapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(MutableMapping[str, T], Generic[T]):
    """A dict of constructors; one that is given as ``module:name`` is imported when it is first looked up."""

    def __init__(self, **places: str) -> None:
        """Create the registry.

        Args:
            places: Where each built-in constructor is: ``module:name``.
        """
        self._values: dict[str, T | str] = dict(places)

    def __getitem__(self, name: str) -> T:
        value = self._values[name]
        if isinstance(value, str):
            value = self._values[name] = pkgutil.resolve_name(value)
        return value

    def __setitem__(self, name: str, value: T) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values
