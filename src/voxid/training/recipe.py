"""Recipes: one TOML file that says everything about a training but where the speech is."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from voxid.augment import AugmentConfig, SpecAugmentConfig
from voxid.config import Config
from voxid.data.batches import DataConfig
from voxid.data.samplers import OWN
from voxid.encoders import ENCODERS
from voxid.errors import BadConfig, BadRecipe
from voxid.features import FEATURES
from voxid.losses import LOSSES
from voxid.model.network import InferenceConfig
from voxid.recipes import read_toml, recipe_text
from voxid.training.averaging import AverageConfig
from voxid.training.optimizers import OPTIMIZERS
from voxid.training.schedule import ScheduleConfig
from voxid.training.whitening import WhiteningConfig

COMPONENTS = {"features": FEATURES, "encoder": ENCODERS, "loss": LOSSES, "optimizer": OPTIMIZERS}


class TrainingConfig(Config):
    """How long to train, and what to keep on the way."""

    steps: int = Field(default=100_000, ge=1)
    epochs: float | None = Field(default=None, gt=0)  # in place of steps: passes over the data
    max_seconds: float | None = Field(default=None, gt=0)  # stop after this much training time, if earlier
    save_every: int = Field(default=10_000, ge=1)  # steps between checkpoints
    keep: int = Field(default=2, ge=1)  # checkpoints
    log_every: int = Field(default=10, ge=1)  # steps a line of log.jsonl covers
    clip_norm: float | None = Field(default=None, gt=0)  # longest gradient, by its 2-norm
    precision: Literal["float32", "bf16"] = "float32"  # bf16: half the bits where torch says they are enough
    classes_from_init: bool = False  # with --init: classes start at their speakers' mean embeddings there
    accumulate: int = Field(default=1, ge=1)  # pieces of a batch that go through the encoder one by one
    parts: int = Field(default=1, ge=1)  # of a batch, each with its own batch norm, on a core each
    threads: int | None = Field(default=None, ge=1)  # of the CPU; None: as many as there are cores
    loaders: int | None = Field(default=None, ge=0)  # threads that make batches ahead; None: as it is best
    valid_every: int | None = Field(default=None, ge=1)  # steps between validations; None: save_every
    seed: int = Field(default=0, ge=0, lt=2**63)


class StageConfig(Config):
    """A stage after the recipe's own, with what differs in it; it starts from the averaged weights.

    The optimizer starts afresh; times of the schedule count from the start of the stage.
    """

    name: str = "fine-tuning"
    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)  # in place of steps: passes over the data
    lr: float | None = Field(default=None, gt=0)  # None: the optimizer's
    margin: float | None = Field(default=None, ge=0)  # of the loss; None: the loss' own
    augment: bool = True  # as far as the recipe has it
    specaugment: bool = True  # as far as the recipe has it
    data: dict[str, Any] = Field(default_factory=dict)  # options of [data] that differ
    schedule: ScheduleConfig = ScheduleConfig()
    average: AverageConfig | None = None  # None: the recipe's

    @model_validator(mode="after")
    def _has_a_length(self) -> StageConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a stage has either steps or epochs")
        return self


class Recipe(Config):
    """What to train. `features`, `encoder`, `loss`, `optimizer` name a component and set its options.

    >>> recipe = load_recipe("demo")
    >>> recipe.encoder["name"], recipe.loss["name"]
    ('lstm', 'triplet')
    """

    name: str
    description: str
    published_eer: float | None = None  # %, of the original system on LibriSpeech test-clean
    trained_on: tuple[str, ...] = ()  # the corpora the original used
    features: dict[str, Any]
    encoder: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    specaugment: SpecAugmentConfig | None = None
    augment: AugmentConfig | None = None  # of the waveform
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    average: AverageConfig | None = None  # the saved model's weights; None: the last step's
    training: TrainingConfig = TrainingConfig()
    stage: tuple[StageConfig, ...] = ()  # after the training: [[stage]], one table each
    whitening: WhiteningConfig | None = None  # of the embeddings, after the last step
    inference: InferenceConfig = InferenceConfig()

    @property
    def open_ended(self) -> bool:
        """Whether its own steps depend on nothing after them: they may become more, and stages follow."""
        to_the_end = self.schedule.kind != "constant" or (self.average and self.average.kind == "last")
        return not (to_the_end or self.training.epochs)

    def stages(self) -> tuple[StageConfig, ...]:
        """Return the stages of the training: the recipe's own, then one for each [[stage]] table.

        >>> [stage.name for stage in load_recipe("base").stages()]
        ['training', 'more voices', 'large margin']
        """
        steps = None if self.training.epochs else self.training.steps
        main = StageConfig(name="training", steps=steps, epochs=self.training.epochs, schedule=self.schedule)
        return (main, *self.stage)

    def data_of(self, stage: StageConfig) -> DataConfig:
        """Return the [data] table as `stage` has it; raise BadConfig that names the key.

        >>> recipe = load_recipe("demo")
        >>> recipe.data_of(recipe.stages()[0]).window
        100
        """
        return DataConfig.parse({**self.data.model_dump(), **stage.data}, "stage.data")

    def to_toml(self) -> str:
        """Return the recipe as TOML that `load_recipe` reads back to an equal recipe.

        >>> load_recipe("demo").to_toml().splitlines()[0]
        'name = "demo"'
        """
        values = self.model_dump(mode="json")
        stages = values.pop("stage")
        lines = _table(values, "")
        for stage in stages:
            lines += ["", "[[stage]]", *_table(stage, "stage.")]
        return "\n".join(lines) + "\n"


TABLES: dict[str, type[Config]] = {
    "specaugment": SpecAugmentConfig,
    "augment": AugmentConfig,
    "data": DataConfig,
    "schedule": ScheduleConfig,
    "average": AverageConfig,
    "training": TrainingConfig,
    "whitening": WhiteningConfig,
    "inference": InferenceConfig,
}


def load_recipe(source: str | os.PathLike[str] | Recipe, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of that name or path, or the recipe itself, with "optimizer.lr=1e-3" and such put in.

    A value is TOML; what is not TOML is taken as a string, and "none" means None. Every table is checked by
    its component. Raise BadRecipe, BadConfig or UnknownComponent that names the key.

    >>> load_recipe("bilstm-clean100", ["training.steps=5"]).training.steps
    5
    """
    if isinstance(source, Recipe):
        values = source.model_dump(mode="json")
    else:
        values = read_toml(recipe_text(source), f"recipe {source}")
    for override in overrides:
        override_with(values, override)
    values = _nones(values)
    for table, config in TABLES.items():  # each by its own class, so that an error names its own keys
        if isinstance(values.get(table), dict):
            values[table] = config.parse(values[table], table)
    if isinstance(values.get("stage"), list):
        values["stage"] = [
            StageConfig.parse(stage, f"stage.{number}") if isinstance(stage, dict) else stage
            for number, stage in enumerate(values["stage"])
        ]
    try:
        recipe = complete(Recipe.parse(values, "recipe"))
    except BadConfig as error:
        raise type(error)(f"{error}{_left_over(str(error), overrides)}") from None
    _check_parts(recipe)
    return recipe


def complete(recipe: Recipe) -> Recipe:
    """Return `recipe` with every default of its components written out: a run's record is whole."""
    tables = {
        table: {"name": getattr(recipe, table).get("name")}
        | registry.parse(getattr(recipe, table), table, imports=True)[1].model_dump(mode="json")
        for table, registry in COMPONENTS.items()
    }
    for stage in recipe.stages():
        if ":" in (data := recipe.data_of(stage)).sampler:
            OWN.parse({"name": data.sampler, **data.options}, "data.options", imports=True)
    return recipe.model_copy(update=tables)


def _check_parts(recipe: Recipe) -> None:
    """Raise BadRecipe where parts that are right by themselves do not fit together."""
    name = recipe.loss["name"]
    loss = LOSSES.get(name)
    has_margin = hasattr(loss, "set_margin")
    if not has_margin and recipe.schedule.margin_start is not None:
        raise BadRecipe(
            f"schedule.margin_start: the loss {name!r} has no margin. Take margin_start and margin_end "
            'out, or set both to "none".'
        )
    if recipe.training.classes_from_init and not hasattr(loss, "set_centers"):
        raise BadRecipe(
            f"training.classes_from_init: the loss {name!r} has no centres of classes. Take the line out, or "
            'the loss "aam".'
        )
    speeds = max((recipe.data_of(stage).speeds for stage in recipe.stages()), key=len)
    for number, stage in enumerate(recipe.stages()):
        where = f"stage.{number - 1}." if number else ""
        data = recipe.data_of(stage)
        if loss.needs == "triplets" and data.sampler != "triplets":
            raise BadRecipe(
                f"{where}data.sampler is {data.sampler!r}: the loss {name!r} takes triplets only. Set it to "
                '"triplets", or take loss.name = "hard-triplet", which finds its own.'
            )
        if loss.needs == "pairs" and not data.pairs:
            raise BadRecipe(
                f"{where}data.sampler is {data.sampler!r}: the loss {name!r} needs two windows of a speaker "
                'in every batch. Set it to "pk" or "triplets", or data.crops to 2 or more.'
            )
        if loss.needs == "triplets" and data.speeds:
            raise BadRecipe(
                f"{where}data.speeds is {list(data.speeds)}: at another speed a voice is another speaker, "
                f"and the rows of a triplet are not. Take the line out, or a loss over classes, not {name!r}."
            )
        if data.speeds != speeds[: len(data.speeds)]:
            raise BadRecipe(
                f"{where}data.speeds is {list(data.speeds)}, and another stage has {list(speeds)}. Stages "
                "may leave out the last ones; the others keep their order, since each is classes of the loss."
            )
        if not has_margin and (stage.margin is not None or stage.schedule.margin_start is not None):
            raise BadRecipe(f"{where}margin: the loss {name!r} has no margin. Take the line out.")


def _left_over(problem: str, overrides: Sequence[str]) -> str:
    """Return what to do where an override names another component, and the options of the first are left."""
    for override in overrides:
        path, _, name = override.partition("=")
        table = path.strip().removesuffix(".name")
        if path.strip() == f"{table}.name" and f"{table}." in problem and "no such option" in problem:
            new = name.strip().strip("\"'")
            return (
                f" {path.strip()} alone keeps the options of the {table} before: for those of {new} write "
                f"--set '{table}={{name=\"{new}\"}}', and any of them after the name."
            )
    return ""


def override_with(values: dict[str, Any], override: str) -> None:
    """Put "table.key=value" into `values`."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise BadRecipe(f"override {override!r} is not KEY=VALUE. Write, for example, optimizer.lr=1e-3.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text.strip()
    table: Any = values
    for key in keys[:-1]:
        if isinstance(table, list):
            table = table[_index(table, key, override)]
            continue
        table = table.setdefault(key, {})
        if not isinstance(table, dict | list):
            raise BadRecipe(f"override {override!r}: {key} is not a table but {table!r}.")
    if isinstance(table, list):
        table[_index(table, keys[-1], override)] = value
    else:
        table[keys[-1]] = value


def _index(tables: list, key: str, override: str) -> int:
    """Return the place of a table among several, such as the 0 of stage.0.steps."""
    if not key.isdigit() or int(key) >= len(tables):
        raise BadRecipe(
            f"override {override!r}: there are {len(tables)} tables; {key!r} is none of 0, 1, ..."
        )
    return int(key)


def _nones(value: Any) -> Any:
    """Return `value` with every "none" in it, at any depth, turned into None."""
    if isinstance(value, dict):
        return {key: _nones(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_nones(inner) for inner in value]
    return None if value == "none" else value


def _table(values: dict[str, Any], prefix: str) -> list[str]:
    """Return the lines of a table: its own options, then the tables inside it."""
    lines = [_line(key, value) for key, value in values.items() if not isinstance(value, dict)]
    for key, inner in values.items():
        if isinstance(inner, dict):
            lines += ["", f"[{prefix}{key}]", *_table(inner, f"{prefix}{key}.")]
    return lines


def _line(key: str, value: Any) -> str:
    # JSON writes strings, numbers, lists and booleans as TOML does. TOML has no null: we say "none".
    return f"{key} = {json.dumps('none' if value is None else value, ensure_ascii=False)}"
