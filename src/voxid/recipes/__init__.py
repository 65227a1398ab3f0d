"""What to train: one TOML file a recipe."""

from __future__ import annotations

import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from voxid.errors import BadRecipe, did_you_mean


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with voxid, sorted."""
    folder = resources.files("voxid.recipes")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def recipe_text(name_or_path: str | os.PathLike[str]) -> str:
    """Return the TOML text of a shipped recipe or of a file; raise BadRecipe."""
    shipped = shipped_recipes()
    if str(name_or_path) in shipped:
        return (resources.files("voxid.recipes") / f"{name_or_path}.toml").read_text("utf-8")
    try:
        path = Path(name_or_path)
        if path.exists() and not path.is_file() and not path.is_dir():
            raise BadRecipe(f"recipe {path} is a pipe or a device. Write the recipe into a file first.")
        return path.read_text("utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise BadRecipe(
            f"no recipe {str(name_or_path)!r}: neither shipped nor a file. Shipped: {', '.join(shipped)}."
            f"{did_you_mean(str(name_or_path), shipped)}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL character in the name
        raise BadRecipe(
            f"recipe {name_or_path} cannot be read: {error}. It has to be a TOML file."
        ) from error


def read_toml(text: str, what: str) -> dict[str, Any]:
    """Return the values of a TOML text; raise BadRecipe that names it as `what`."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise BadRecipe(f"{what} is not TOML: {why}.") from None
