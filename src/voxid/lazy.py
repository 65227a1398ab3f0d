"""Public names of a package that load their module when they are first asked for (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def names(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package whose public names lie in `modules`, name -> module.

    >>> names("voxid", {"metrics": "voxid.metrics", "eer": "voxid.metrics"})("eer").__name__
    'eer'
    """

    def find(name: str) -> Any:
        if name not in modules:
            from voxid.errors import did_you_mean

            meant = "" if name.startswith("_") else did_you_mean(name, list(modules))
            raise AttributeError(f"module {package!r} has no attribute {name!r}.{meant}")
        module = import_module(modules[name])
        return module if module.__name__ == f"{package}.{name}" else getattr(module, name)

    return find
