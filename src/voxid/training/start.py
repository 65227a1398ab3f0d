"""Start from a model that is trained already: fine-tuning, and going on with other data or another loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from voxid.embed import find_model
from voxid.errors import CheckpointMismatch
from voxid.files import atomic_write
from voxid.model.network import Model, misfits

INIT = "init.json"  # in the run folder, from before the first checkpoint on: what the run started from
CHANGES_NO_WEIGHT = {"dropout"}  # options of an encoder that may differ: they are for training only


def start_from(model: Model, source: str | Path) -> dict[str, Any]:
    """Give `model` the encoder's weights of `source`, a folder or a shipped name; return what to remember.

    That is its name, its fingerprint, and what it was trained on itself. Features and encoder have to be the
    same, option by option; the loss is not part of a model folder and starts afresh. Raise UnknownModel,
    BadModel, or CheckpointMismatch that names what differs.
    """
    folder = find_model(source)
    found = Model.load(folder)
    different = [
        f"{table}.{key} is {theirs!r} there and {ours!r} here"
        for table in ("features", "encoder")
        for key, theirs, ours in differences(found.tables[table], model.tables[table])
    ]
    if not different and (problem := misfits(model.encoder.state_dict(), found.encoder.state_dict())):
        different = [problem]
    if different:
        raise CheckpointMismatch(
            f"cannot start from {folder}: {'; '.join(different)}. Weights fit features and encoder of the "
            "same options only. Set the recipe's to the model's (--set encoder.KEY=VALUE), or take the "
            "recipe the model was trained with: the recipe.toml in its run folder."
        )
    model.encoder.load_state_dict(found.encoder.state_dict())
    return lessons_of(found, folder)


def lessons_of(model: Model, folder: Path) -> dict[str, Any]:
    """Return a model's name and fingerprint, and what it and those it came from were trained on."""
    came_from = ("training_data", "init", "average")
    kept = {key: model.metadata[key] for key in came_from if model.metadata.get(key)}
    return {"name": model.metadata.get("name", folder.name), "fingerprint": model.fingerprint, **kept}


def check_start(folder: Path, given: dict[str, Any] | None, then: dict[str, Any] | None) -> None:
    """Raise CheckpointMismatch when a run that is resumed started from another model than the `given` one.

    `then` is what its checkpoint says ({}: from random weights), None without a checkpoint; to resume with
    one, no model has to be given.
    """
    if then is None:
        then = _read(folder)
        if given is None and then:
            raise CheckpointMismatch(
                f"{folder} has no checkpoint yet, and started from the model {_named(then)}. Give that model "
                "again with --init, or start in another folder."
            )
    if given is not None and given["fingerprint"] != then.get("fingerprint"):
        start = f"from the model {_named(then)}" if then else "from random weights"
        raise CheckpointMismatch(
            f"the run in {folder} started {start}, not from {_named(given)}. Leave --init out to go on with "
            "it, or start in another folder."
        )


def remember(folder: Path, given: dict[str, Any] | None) -> None:
    """Write what the run in `folder` starts from."""
    if given is not None:
        with atomic_write(folder / INIT, "w") as file:
            json.dump({key: given[key] for key in ("name", "fingerprint")}, file, indent=2)


def _read(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / INIT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _named(start: dict[str, Any]) -> str:
    return f"{start.get('name')!r} (fingerprint {str(start.get('fingerprint'))[:12]})"


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (option, theirs, ours) where two tables of features or encoder would have other weights."""
    if theirs["name"] != ours["name"]:
        return [("name", theirs["name"], ours["name"])]
    return [
        (key, theirs.get(key), ours.get(key))
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key) and key not in CHANGES_NO_WEIGHT
    ]
