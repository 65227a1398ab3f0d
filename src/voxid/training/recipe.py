"""Recipes: one TOML file that says everything about a training but where the speech is."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field

from voxid.augment import SpecAugmentConfig
from voxid.config import Config
from voxid.data.batches import DataConfig
from voxid.encoders import ENCODERS
from voxid.errors import BadRecipe
from voxid.features import FEATURES
from voxid.losses import LOSSES
from voxid.model import InferenceConfig
from voxid.recipes import recipe_text
from voxid.training.optimizers import OPTIMIZERS

COMPONENTS = {"features": FEATURES, "encoder": ENCODERS, "loss": LOSSES, "optimizer": OPTIMIZERS}


class TrainingConfig(Config):
    """How long to train, and what to keep on the way."""

    steps: int = Field(default=100_000, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)  # stop after this much training time, if earlier
    save_every: int = Field(default=10_000, ge=1)  # steps between checkpoints
    keep: int = Field(default=2, ge=1)  # checkpoints
    log_every: int = Field(default=10, ge=1)  # steps a line of log.jsonl covers
    clip_norm: float | None = Field(default=None, gt=0)  # longest gradient, by its 2-norm
    threads: int | None = Field(default=None, ge=1)  # of the CPU; None: as many as there are cores
    seed: int = Field(default=0, ge=0)


class Recipe(Config):
    """What to train. `features`, `encoder`, `loss`, `optimizer` name a component and set its options."""

    name: str
    description: str
    published_eer: float | None = None  # %, of the original system on LibriSpeech test-clean
    trained_on: tuple[str, ...] = ()  # the corpora the original used
    features: dict[str, Any]
    encoder: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    specaugment: SpecAugmentConfig | None = None
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()

    def to_toml(self) -> str:
        """Return the recipe as TOML that `load_recipe` reads back to an equal recipe."""
        values = self.model_dump(mode="json")
        top = [_line(key, value) for key, value in values.items() if not isinstance(value, dict)]
        tables = [
            "\n".join([f"\n[{key}]", *(_line(k, v) for k, v in table.items())])
            for key, table in values.items()
            if isinstance(table, dict)
        ]
        return "\n".join([*top, *tables]) + "\n"


TABLES: dict[str, type[Config]] = {
    "specaugment": SpecAugmentConfig,
    "data": DataConfig,
    "training": TrainingConfig,
    "inference": InferenceConfig,
}


def load_recipe(name_or_path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Return the recipe by name or path, with overrides such as "optimizer.lr=1e-3" put in.

    A value is TOML; what is not TOML is taken as a string, and "none" means None. Every table is checked by
    its component. Raise UnknownRecipe, BadRecipe, BadConfig or UnknownComponent that names the key.

    >>> load_recipe("bilstm-clean100", ["training.steps=5"]).training.steps
    5
    """
    try:
        values = tomllib.loads(recipe_text(name_or_path))
    except tomllib.TOMLDecodeError as error:
        raise BadRecipe(f"recipe {name_or_path} is not TOML: {error}.") from None
    for override in overrides or []:
        _override(values, override)
    values = _nones(values)
    for table, config in TABLES.items():  # each by its own class, so that an error names its own keys
        if isinstance(values.get(table), dict):
            values[table] = config.parse(values[table], table)
    recipe = Recipe.parse(values, "recipe")
    complete = {
        table: {"name": getattr(recipe, table).get("name")}
        | registry.parse(getattr(recipe, table), table)[1].model_dump(mode="json")
        for table, registry in COMPONENTS.items()
    }
    return recipe.model_copy(update=complete)  # with every default written out: a run's record is whole


def _override(values: dict[str, Any], override: str) -> None:
    """Put "table.key=value" into `values`."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise BadRecipe(f"override {override!r} is not KEY=VALUE. Write, for example, optimizer.lr=1e-3.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise BadRecipe(f"override {override!r}: {key} is not a table but {table!r}.")
    table[keys[-1]] = value


def _nones(value: Any) -> Any:
    """Return `value` with every "none" in it, at any depth, turned into None."""
    if isinstance(value, dict):
        return {key: _nones(inner) for key, inner in value.items()}
    return None if value == "none" else value


def _line(key: str, value: Any) -> str:
    # JSON writes strings, numbers, lists and booleans as TOML does. TOML has no null: we say "none".
    return f"{key} = {json.dumps('none' if value is None else value, ensure_ascii=False)}"
