"""`voxid doctor`: what is installed here, what is found, and what is missing."""

from __future__ import annotations

import os
import platform
import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxid.cli._common import JsonFlag, echo, emit
from voxid.cli._complete import peek
from voxid.cli.people import COLLECTION, DB, MODEL, DbOption, ModelOption, counted

if TYPE_CHECKING:
    from types import ModuleType

SHOWN = ("numpy", "onnxruntime", "soundfile", "soxr", "torch")
OWN = ("dev", "docs")  # extras for those who work on voxid itself


def doctor(model: ModelOption = MODEL, db: DbOption = DB, json: JsonFlag = False) -> None:
    """Print versions, devices, model, people, where data is looked for, and what each extra still needs.

    It opens no network connection. Paste its answer into a report of a fault.

    Example: `voxid doctor` · `voxid doctor --json`
    """
    from voxid.errors import VoxidError

    try:
        found_model = _model(model)
    except VoxidError as error:
        found_model = {"name": model, "error": f"{type(error).__name__}: {error}"}
    found = {
        "versions": _versions(),
        "devices": _devices(),
        "model": found_model,
        "store": _store(db),
        "data": _data(),
        "extras": _extras(),
    }
    emit(found, json, lambda: echo("\n".join(_lines(found))))


def _versions() -> dict[str, str | None]:
    from voxid import __version__

    here = {"voxid": __version__, "python": platform.python_version(), "system": platform.platform()}
    return here | {name: _version(name) for name in SHOWN}


def _version(name: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    """Return what `--device` takes here."""
    found = ["cpu"]
    torch = _module("torch")
    if torch is not None:
        found += [
            f"cuda:{number} ({torch.cuda.get_device_name(number)})"
            for number in range(torch.cuda.device_count())
        ]
        found += ["mps"] * torch.backends.mps.is_available()
    onnxruntime = _module("onnxruntime")
    if onnxruntime is not None and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        found.append("cuda (onnxruntime)")
    return found


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except Exception:  # absent, or an installation that is broken
        return None


def _model(name: str) -> dict[str, Any]:
    from voxid.embed import find_model
    from voxid.model.card import Card

    folder = find_model(name)
    card = Card.read(folder)
    calibration = card.calibration
    return {
        "name": name,
        "folder": str(folder),
        "fingerprint": card.fingerprint or None,
        "needs_torch": card.graphs is None,
        "prior": None if calibration is None else calibration.prior,
    }


def _store(db: str) -> dict[str, Any]:
    from voxid.errors import VoxidError

    found: dict[str, Any] = {"db": db, "people": None, "error": None}
    if "://" not in db and not Path(db).expanduser().exists():
        return found
    try:
        with peek(db) as store:
            found["people"] = store.count(collection=COLLECTION)
    except VoxidError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def _data() -> dict[str, Any]:
    """Return where `voxid demo` looks for speech, and where what is prepared is kept."""
    from voxid.files import user_cache

    looked = [place for place in (os.environ.get("VOXID_DATA"), "../shared/data") if place]
    found = next((place for place in looked if (Path(place) / "LibriSpeech").is_dir()), None)
    cache = user_cache()
    return {"looked_in": looked, "found": found, "cache": str(cache), "cache_exists": cache.is_dir()}


def _extras() -> dict[str, list[str]]:
    """Return what each extra still needs: names of packages, none where it is whole."""
    try:
        wanted = distribution("voxid").requires or []
    except PackageNotFoundError:  # run from its source
        return {}
    missing: dict[str, list[str]] = {}
    for line in wanted:
        extra = re.search(r"""extra\s*==\s*['"]([\w-]+)""", line)
        name = re.match(r"[\w.-]+", line)
        if extra is None or name is None or extra[1] in OWN:
            continue
        gone = missing.setdefault(extra[1], [])
        if _version(name[0]) is None:
            gone.append(name[0])
    return missing


def _lines(found: dict[str, Any]) -> list[str]:
    versions, model, store, data = (found[key] for key in ("versions", "model", "store", "data"))
    lines = [
        f"voxid {versions['voxid']}, Python {versions['python']}, {versions['system']}",
        ", ".join(f"{name} {versions[name] or 'not installed'}" for name in SHOWN),
        f"devices: {', '.join(found['devices'])}",
    ]
    if "error" in model:
        lines.append(f"model {model['name']}: {model['error']}")
    else:
        decides = "not calibrated: it cannot decide" if model["prior"] is None else "calibrated"
        needs = ", needs torch" if model["needs_torch"] else ""
        lines.append(f"model {model['name']}: {decides}{needs}, in {model['folder']}")
    people = store["people"]
    told = store["error"] or (
        "not there yet: `voxid enroll` makes it" if people is None else counted(people, "person", "people")
    )
    lines.append(f"people in {store['db']}: {told}")
    speech = data["found"] or (
        f"no LibriSpeech in {' or '.join(data['looked_in'])}: the demo downloads some; or set VOXID_DATA"
    )
    lines += [
        f"speech for `voxid demo`: {speech}",
        f"cache of prepared speech and embeddings: {data['cache']}"
        + ("" if data["cache_exists"] else " (not made yet)"),
    ]
    for extra, gone in sorted(found["extras"].items()):
        state = f"missing {', '.join(gone)}: pip install 'voxid[{extra}]'" if gone else "installed"
        lines.append(f"extra {extra}: {state}")
    return lines
