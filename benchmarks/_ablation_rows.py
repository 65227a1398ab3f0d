"""The rows of the ablation: the original's recipes, and what changes one ingredient of a training.

A row is the recipe `bilstm-clean100` with some of the ingredients put in. The ladder puts in one after the
other until the training is modern; the other rows put in one alone, or leave one out of all.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voxid.recipes import recipe_text
from voxid.training import Recipe, load_recipe

ORIGINAL = "bilstm-clean100"
PUBLISHED = (
    ORIGINAL,
    "bilstm-clean100-specaug",
    "transformer-clean100-specaug",
    "bilstm-all",
    "bilstm-all-specaug",
)
INGREDIENTS = {  # in the order of the ladder
    "rate": "AdamW 2e-3 with weight decay, warm-up, cosine and clipping in place of Adam 1e-4",
    "windows": "windows of 1.6 s in place of 3.2 s",
    "fbank": "80 log mel bands every 10 ms in place of 40 MFCC every 32 ms",
    "ecapa": "ECAPA-TDNN (0.5 M) in place of the BiLSTM (0.25 M), whole utterances in place of windows",
    "aam": "additive angular margin over classes, speakers evenly, in place of triplets",
    "augment": "rooms, babble, noise, telephone, gain",
    "specaugment": "SpecAugment",
    "margin": "margin from 0 up between 5 and 25 % of the steps, in place of whole from the start",
    "average": "the mean of the weights is saved",
    "finetune": "the last tenth of the steps with windows of 3.2 s and a margin of 0.4",
    "speeds": "speeds 0.9 and 1.1 as further classes, so only with aam; last, since classes need steps",
}
WORLD = {  # ingredients of `base-world`, and what a training without them has in their place
    "pauses": "features.pause_db=none",
    "rivals": 'loss.rivals="all"',
    "languages": 'loss.rivals="corpus"',
    "sessions": 'data.balance="speakers"',
    "lone": "data.lone=1",
    "lines": "augment.line_prob=0",
    "faults": "augment.fault_prob=0",
    "speeds": "data.speeds=[]",
    "centres": "training.classes_from_init=false",
}
PARTS = ("ladder", "published", "without", "alone", "world")
LONG_S, SHORT_S = 3.2, 1.6
ROWS = 24  # windows of a batch: the original's 8 triplets
ABOUT = ("name", "description", "published_eer", "trained_on")  # of a recipe: not what it trains
ONE_CORE = ("training.threads=1", "training.parts=1", "training.loaders=0")
ECAPA = 'encoder={name="ecapa",channels=128,squeeze=32,aggregate=384,attention=32,embedding=128}'


@dataclass(frozen=True)
class Row:
    """One row: `recipe` with `ingredients` and `changes` put in; it is compared with the row `against`."""

    name: str
    part: str
    ingredients: frozenset[str] = frozenset()
    against: str | None = None
    recipe: str = ORIGINAL
    times: int = 1
    changes: tuple[str, ...] = ()
    init: str | None = None  # the model it starts from


def make_rows(longer: int = 4) -> list[Row]:
    """Return all rows, part after part; the original is there once more, with `longer` times the steps."""
    names = list(INGREDIENTS)
    modern = frozenset(names)
    rows = [Row("original", "ladder")]
    for count, name in enumerate(names, start=1):
        rows.append(Row(f"+ {name}", "ladder", frozenset(names[:count]), against=rows[-1].name))
    last = rows[-1].name
    rows.append(Row(f"original, {longer} x steps", "ladder", against="original", times=longer))
    rows += [Row(name, "published", recipe=name, against="original") for name in PUBLISHED]
    rows += [Row(f"without {name}", "without", modern - {name}, against=last) for name in names]
    alone = [name for name in names if name != "speeds"]
    rows += [Row(f"{name} alone", "alone", frozenset({name}), against="original") for name in alone]
    rows.append(Row("world", "world", recipe="base-world", init="voxid-base"))
    rows += [
        Row(f"world without {name}", "world", frozenset(), "world", "base-world", 1, (change,), "voxid-base")
        for name, change in WORLD.items()
    ]
    return rows


def recipe_of(row: Row, steps: int, seed: int, noise: Sequence[str] = ()) -> Recipe:
    """Return what the row trains, on one core."""
    return load_recipe(row.recipe, _overrides(row, steps, seed, noise))


def digest(row: Row, steps: int, seed: int, noise: Sequence[str], data: str) -> str:
    """Return what tells one training from another, and rows that train the same do not differ in.

    It is made of what is written down, not of a whole recipe: options that voxid gets later change nothing.
    """
    written = tomllib.loads(recipe_text(row.recipe))
    tables = {key: value for key, value in written.items() if key not in ABOUT}
    named = [Path(folder).name for folder in noise]  # elsewhere on disk it is the same noise
    start = [] if row.init is None else [row.init]
    said = json.dumps([tables, _overrides(row, steps, seed, named), data, *start], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _overrides(row: Row, steps: int, seed: int, noise: Sequence[str]) -> list[str]:
    steps *= row.times
    changes = [*_changes(row.ingredients, steps, noise), f"training.save_every={steps}", *row.changes]
    if row.part == "world" and noise:
        changes += [f"augment.noise={json.dumps(list(noise))}", "augment.noise_prob=0.2"]
    return [*changes, *ONE_CORE, f"training.seed={seed}"]


def _changes(on: frozenset[str], steps: int, noise: Sequence[str]) -> list[str]:
    """Return the overrides of the original's recipe that put the ingredients in."""
    last = steps // 10 if "finetune" in on else 0
    window_s = SHORT_S if "windows" in on else LONG_S
    changes = [f"training.steps={steps - last}", f"training.log_every={max(1, steps // 20)}"]
    if "rate" in on:
        changes += [
            'optimizer={name="adamw",lr=2e-3,weight_decay=0.05}',
            f'schedule={{kind="cosine",warmup={max(1, steps // 25)},final_lr=1e-5}}',
            "training.clip_norm=5.0",
        ]
    if on & {"windows", "fbank"}:
        changes.append(f"data.seconds={window_s}")
    if "fbank" in on:
        changes.append('features={name="fbank",bins=80}')
        frames = round(100 * window_s)
        changes += [f"inference.window={frames}", f"inference.step={frames // 2}"]
    if "ecapa" in on:
        changes += [ECAPA, 'inference.mode="full"']
    if "aam" in on:
        changes += ['loss={name="aam",scale=30,margin=0.2}', 'data.sampler="speakers"', f"data.rows={ROWS}"]
    if "augment" in on:
        changes.append(_augment(noise))
    if "specaugment" in on:
        changes.append("specaugment={freq_prob=0.5,time_prob=0.5,freq_max_width=10,time_max_width=20}")
    if {"speeds", "aam"} <= on:  # the rows of a triplet would be played at three speeds: three speakers
        changes.append("data.speeds=[0.9,1.1]")
    if "margin" in on:
        changes += [f"schedule.margin_start={steps // 20}", f"schedule.margin_end={steps // 4}"]
    if "average" in on:
        changes.append(f'average={{kind="ema",decay={_decay(steps)}}}')
    if last:
        changes.append(_finetuning(last, "aam" in on, "rate" in on))
    return changes


def _decay(steps: int) -> float:
    """Return the decay whose mean reaches back over some thirtieth of the steps, 0.995 at the most."""
    return round(min(0.995, 1 - 30 / max(steps, 60)), 4)


def _augment(noise: Sequence[str]) -> str:
    """Return the override for the recipe `tiny`'s augmentation, with noise where there are recordings."""
    folders = f",noise_prob=0.3,noise={json.dumps(list(noise))}" if noise else ""
    return f"augment={{rir_prob=0.3,babble_prob=0.2,telephone_prob=0.05{folders}}}"


def _finetuning(steps: int, rows: bool, decay: bool) -> str:
    """Return the override for a last stage: half as many windows, twice as long."""
    count = f"rows={ROWS // 2}" if rows else f"triplets={ROWS // 6}"
    schedule = f',schedule={{kind="cosine",warmup={max(1, steps // 10)},final_lr=1e-5}}' if decay else ""
    rate = ",lr=2e-4" if decay else ""
    data = f"{{seconds={LONG_S},{count}}}"
    return f'stage=[{{name="large margin",steps={steps}{rate},margin=0.4,data={data}{schedule}}}]'
