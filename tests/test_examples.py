"""Public names have types and an example; every example in the source runs, among synthetic voices."""

from __future__ import annotations

import doctest
import inspect
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

import voxid
from voxid.corpora.synthetic import make_corpus, speak, voice
from voxid.embed import Embedder
from voxid.errors import MissingExtra
from voxid.pretrained import shipped
from voxid.stores import Store
from voxid.stores.kept import Kept

ROOMS = "audio augment corpora embed evaluation export features metrics plots recognizer scoring stores types"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public() -> dict[str, Any]:
    """Return the public classes and functions by name, and the methods of what a user holds."""
    found = {f"voxid.{name}": getattr(voxid, name) for name in voxid.__all__}
    for room in [*ROOMS.split(), "training", "trials"]:
        module = import_module(f"voxid.{room}")
        own = [
            name for name, one in vars(module).items() if getattr(one, "__module__", "") == f"voxid.{room}"
        ]
        names = getattr(module, "__all__", [name for name in own if not name.startswith("_")])
        found |= {f"voxid.{room}.{name}": getattr(module, name) for name in names}
    for holder in (voxid.Recognizer, Embedder):
        for name, one in inspect.getmembers(holder):
            if not name.startswith("_"):
                found[f"{holder.__name__}.{name}"] = one.fget if isinstance(one, property) else one
    return {
        name: one
        for name, one in found.items()
        if (inspect.isclass(one) or inspect.isfunction(one)) and one.__module__.startswith("voxid")
    }


PUBLIC = public()
SOURCE = Path(voxid.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_has_an_example_and_types(name: str) -> None:
    one = PUBLIC[name]
    assert ">>> " in (one.__doc__ or ""), f"{name} has no example: add lines that begin with >>>"
    if inspect.isfunction(one):
        signature = inspect.signature(one)
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
        assert not bare, f"{name}: {bare} have no type"
        assert signature.return_annotation is not signature.empty, f"{name}: what it returns has no type"


CALLED = {"forward", "voxid.training.stages.Plan.of"}  # by calling the object; by make_plan


def test_a_method_has_an_example_or_its_class_shows_it() -> None:
    """Those of classes that the reference of the site shows; an override may have that of its base."""
    lacking: list[str] = []
    for cls in [*PUBLIC.values(), *vars(import_module("voxid.timeline.values")).values()]:
        if not inspect.isclass(cls) or not cls.__module__.startswith("voxid."):
            continue
        bases = [base for base in cls.__mro__ if base.__module__.startswith("voxid.")]
        for name, one in {**(vars(Kept) if cls is Store else {}), **vars(cls)}.items():
            method = getattr(one, "__func__", one)
            if name.startswith("_") or not inspect.isfunction(method) or not method.__doc__:
                continue
            own = "".join(str(getattr(base, name).__doc__) for base in bases if hasattr(base, name))
            classes = "".join(str(base.__doc__) for base in bases)
            shown = ">>> " in own or f".{name}(" in classes
            where = f"{cls.__module__}.{cls.__name__}.{name}"
            if not shown and not {name, where} & CALLED:
                lacking.append(where)
    assert not lacking, sorted(lacking)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A working folder with what the examples name, and the values that they use."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VOXID_CACHE", str(folder / "cache"))
        make_corpus("people", speakers=4, utterances=3, seconds=(2.0, 3.0))
        for name, speaker, seed in (("alice1", 0, 1), ("alice2", 0, 2), ("alice3", 0, 4), ("bob", 1, 3)):
            sf.write(f"{name}.wav", speak(voice(speaker), 4.0, np.random.default_rng(seed)), 16_000)
        shutil.copytree(shipped()["voxid-base"], "mine")
        model = voxid.load("voxid-base")
        with voxid.Recognizer("people.db", model) as rec:
            rec.enroll("alice", ["alice1.wav", "alice2.wav"])
            rec.enroll("bob", "bob.wav")
            yield {"voxid": voxid, "np": np, "model": model, "rec": rec}


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module: str, here: dict[str, Any]) -> None:
    for name in ("carol", "dave", "erin"):  # an example may have enrolled them
        if name in here["rec"].speakers():
            here["rec"].delete(name)
    try:
        code = import_module(module)
    except MissingExtra as error:  # ray
        pytest.skip(str(error))
    result = doctest.testmod(code, extraglobs=here, optionflags=FLAGS)
    assert result.failed == 0
