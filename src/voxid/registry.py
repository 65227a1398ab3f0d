"""Name -> class, resolved on first use, so that nothing is imported before someone asks for it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from voxid.errors import UnknownComponent, did_you_mean


class Registry:
    """The known components of one kind, by name.

    Adding a component is one line: `"lstm": "voxid.encoders.lstm:LstmEncoder"`.

    >>> r = Registry("metric", {"sum": "builtins:sum"})
    >>> r.get("sum")([1, 2])
    3
    """

    def __init__(self, kind: str, entries: dict[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def names(self) -> list[str]:
        """Return the known names, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> Any:
        """Return the class called `name`; raise UnknownComponent with the known names."""
        if name not in self._entries:
            known = self.names()
            raise UnknownComponent(
                f"no {self.kind} named {name!r}. Known: {', '.join(known)}.{did_you_mean(name, known)}"
            )
        module, _, attribute = self._entries[name].partition(":")
        return getattr(import_module(module), attribute)

    def parse(self, table: dict[str, Any], where: str | None = None) -> tuple[Any, Any]:
        """Return (class, its config) of a recipe table such as `{"name": "lstm", "layers": 3}`.

        Every component class carries its config class as `Config`. Raise UnknownComponent or BadConfig.
        """
        options = dict(table)
        where = where or self.kind
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise UnknownComponent(
                f"[{where}] needs a name, got {name!r}. Known: {', '.join(self.names())}. "
                f'Add a line such as name = "{self.names()[0]}".'
            )
        cls = self.get(name)
        return cls, cls.Config.parse(options, where)
