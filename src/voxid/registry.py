"""Name -> class, resolved on first use, so that nothing is imported before someone asks for it.

A part outside of voxid is named by its place, `my_package.my_module:MyEncoder`. A recipe is the user's own
word, so its parts are imported. A model folder may be anybody's: a part that it names has to be imported
already, or its module to be in the variable VOXID_PARTS (modules or packages, with commas between).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from typing import Any

from voxid.config import Config
from voxid.errors import UnknownComponent, did_you_mean

PARTS = "VOXID_PARTS"


class Registry:
    """The known components of one kind, by name.

    Adding a component is one line: `"lstm": "voxid.encoders.lstm:LstmEncoder"`. Where `needs` is given, a
    class outside of voxid may be named instead, if it has a `Config` and those attributes.

    >>> r = Registry("metric", {"sum": "builtins:sum"})
    >>> r.get("sum")([1, 2])
    3
    """

    def __init__(self, kind: str, entries: dict[str, str], needs: tuple[str, ...] | None = None) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._needs = needs

    def names(self) -> list[str]:
        """Return the known names, sorted."""
        return sorted(self._entries)

    def get(self, name: str, imports: bool = False) -> Any:
        """Return the class called `name`; raise UnknownComponent with the known names.

        `imports`: a module outside of voxid may be imported for it, since the user named it.
        """
        if self._needs is not None and ":" in name:
            return self._outside(name, imports)
        if name not in self._entries:
            known = self.names()
            own = "" if self._needs is None else " One of your own is named my_module:MyClass."
            raise UnknownComponent(
                f"no {self.kind} named {name!r}. Known: {', '.join(known)}.{did_you_mean(name, known)}{own}"
            )
        module, _, attribute = self._entries[name].partition(":")
        return getattr(import_module(module), attribute)

    def parse(
        self, table: dict[str, Any], where: str | None = None, imports: bool = False
    ) -> tuple[Any, Any]:
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
        cls = self.get(name, imports)
        return cls, cls.Config.parse(options, where)

    def _outside(self, name: str, imports: bool) -> Any:
        """Return the class at `my_package.my_module:MyClass`; raise UnknownComponent for what is none."""
        module, _, attribute = name.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), attribute)):
            raise UnknownComponent(
                f"{self.kind} {name!r}: a part of your own is named by its module and its class, for example "
                "my_package.my_module:MyClass."
            )
        if module not in sys.modules and not (imports or _allowed(module)):
            raise UnknownComponent(
                f"{self.kind} {name!r} is not part of voxid, and voxid does not import code because a "
                f"model names it. If you trust its code, write `import {module}` before you load "
                f"the model; on the command line set {PARTS}={module}."
            )
        found = getattr(_imported(module, f"{self.kind} {name!r}"), attribute, None)
        if found is None:
            hint = did_you_mean(attribute, [known for known in dir(sys.modules[module]) if known[0] != "_"])
            raise UnknownComponent(f"{self.kind} {name!r}: the module {module} has no {attribute}.{hint}")
        config = getattr(found, "Config", None)
        if not (isinstance(found, type) and isinstance(config, type) and issubclass(config, Config)):
            raise UnknownComponent(
                f"{self.kind} {name!r} has to be a class with a `Config`, a subclass of voxid.config.Config. "
                "Without options it is: Config = voxid.config.Config."
            )
        if missing := [need for need in self._needs or () if not hasattr(found, need)]:
            raise UnknownComponent(
                f"{self.kind} {name!r} has no {', '.join(missing)}. Write it as voxid's own are written: "
                "docs/own-parts.md has an example."
            )
        return found


def origin(name: str) -> str:
    """Return which package a part outside of voxid comes from, such as "my-package 1.2"; "" for others.

    >>> origin("lstm"), origin("pydantic.main:BaseModel").startswith("pydantic 2")
    ('', True)
    """
    top, colon, _ = name.replace(".", ":").partition(":")
    if not colon:
        return ""
    found = packages_distributions().get(top)
    return f"{found[0]} {version(found[0])}" if found else f"{top}.py, a file that no package installed"


def _allowed(module: str) -> bool:
    """Return whether the user said in VOXID_PARTS that this module may be imported."""
    said = [part.strip() for part in os.environ.get(PARTS, "").split(",")]
    return any(part and (module == part or module.startswith(f"{part}.")) for part in said)


def _imported(module: str, what: str) -> Any:
    top = module.partition(".")[0]
    if module not in sys.modules and find_spec(top) is None:
        raise UnknownComponent(
            f"{what}: there is no module {top!r} to import. Install the package that has it, or say where "
            f"its file lies: PYTHONPATH=FOLDER voxid ... (PYTHONPATH=. for {top}.py in this folder)."
        )
    try:
        return import_module(module)
    except Exception as error:
        raise UnknownComponent(
            f"{what}: importing {module} failed with {type(error).__name__}: {error}. Repair that module."
        ) from error
