"""The words that name trials: "all", "10000-pairs:same-sex", "3-enrol", ... or the path of a list.

SPEC   = BASE [":" OPTION ("+" OPTION)*]
BASE   = "all" | N"-triplets" | N"-pairs" | N"-enrol"
OPTION = "same-sex" | "same-age-group" | "same-corpus" | "duration="A"-"B | "duration="A"-"
         | "max="N  (for -enrol) | "original"  (for -triplets) | "other-session"  (for all)
LIST   = PATH [":enrol="PATH]
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from voxid.errors import BadTrials, did_you_mean
from voxid.trials.data import EvaluationData
from voxid.trials.lists import read_trials
from voxid.trials.making import across_sessions, all_pairs, enrollment, original_triplets, pairs, triplets
from voxid.trials.pool import Filter, make_pool
from voxid.trials.values import Trials

FLAGS = ("same-sex", "same-age-group", "same-corpus")
OWN_OPTIONS = {
    "all": ("other-session",),
    "enrol": ("max=N",),
    "triplets": ("original",),
}  # beyond those that all have
ENROL = ":enrol="
HELP = (
    "'all', 'N-triplets' (for example 10000-triplets), 'N-pairs' or 'N-enrol', with options after a colon "
    "(for example all:same-sex+duration=2-4), or the path of a list"
)


@dataclass(frozen=True)
class Spec:
    """A spec, taken apart: which maker, its number, its filter, at most how many trials, which of them."""

    text: str
    base: str
    number: int
    wanted: Filter = field(default_factory=Filter)
    most: int | None = None
    original: bool = False
    other_session: bool = False


def make_trials(spec: str | os.PathLike[str], data: EvaluationData, seed: int = 0) -> Trials:
    """Return the trials that `spec` names.

    | spec | trials |
    |---|---|
    | `all` | every two utterances once |
    | `N-triplets` | N times a random anchor with an utterance of its speaker, and with one of another |
    | `N-pairs` | N random pairs, half of them target; every speaker has the same share of both kinds |
    | `N-enrol` | each speaker enrolled with N utterances, against every utterance that enrolls nobody |
    | a path | a list in any format of `read_trials`; `LIST:enrol=MODELS` for models with several utterances |

    Options follow a colon, joined by `+`: `same-sex` and `same-age-group` (adults or children) keep
    trials of people who are alike, `same-corpus` those inside one of several corpora (across them room and
    microphone give strangers away), `duration=2-4` keeps utterances of 2 s or more and less than 4 s
    (`duration=4-`: 4 s or more), `max=N` cuts an enrollment list short. `10000-triplets:original` is the test
    of the original course system: a triplet with an utterance shorter than its window (3.2 s) is left out,
    and another is drawn in its place. What is left out is counted in `left_out`. Random trials depend on
    `seed` alone, and are nested: a smaller list is the beginning of a larger one with the same seed and
    options.

    Raise BadTrials when the spec is none of these, a list is malformed or names utterances that the data
    does not have; NotEnoughSpeakers when the data cannot give both kinds of trial.

    >>> from voxid.trials.data import read_data
    >>> len(make_trials("all", read_data("people"))), len(make_trials("5-triplets", read_data("people")))
    (66, 10)
    """
    text = os.fspath(spec)
    if (asked := read_spec(text)) is not None:
        return _make(asked, data, seed)
    path, separator, models = text.rpartition(ENROL)
    if not separator or os.path.isfile(Path(text).expanduser()):  # noqa: PTH113 - see below
        path, models = text, ""
    if not os.path.isfile(Path(path).expanduser()):  # noqa: PTH113 - Path raises where a folder may not be entered
        known = ["10000-triplets", "10000-pairs", "3-enrol", "all"]
        digits = re.match(r"\d+-(.*)", text)
        guess = did_you_mean(f"10000-{digits[1]}", known) if digits else did_you_mean(text, ["all", *known])
        raise BadTrials(f"trials are {HELP}; {path!r} is none of these, and there is no such file.{guess}")
    return read_trials(path, data, models or None)


def read_spec(text: str) -> Spec | None:
    """Return the parts of a spec, None when it can only be a path. Raise BadTrials for a wrong option.

    >>> read_spec("200-pairs:same-sex").number
    200
    """
    match = re.fullmatch(r"(?:(all)|(\d+)-(triplets|pairs|enrol))(?::(.*))?", text, flags=re.S)
    if match is None:
        return None
    spec = Spec(text, match[1] or match[3], int(match[2] or 0))
    if spec.base != "all" and spec.number < 1:
        raise BadTrials(
            f"{text!r} asks for none. Ask for one or more, for example 10000-triplets, 10000-pairs or "
            "3-enrol."
        )
    for option in match[4].split("+") if match[4] is not None else ():
        spec = _with_option(spec, option)
    return spec


def _with_option(spec: Spec, option: str) -> Spec:
    if option in FLAGS:
        return replace(spec, wanted=replace(spec.wanted, **{option.replace("-", "_"): True}))
    if match := re.fullmatch(r"duration=(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)?", option):
        low, high = float(match[1]), float(match[2] or "inf")
        if low >= high:
            raise BadTrials(f"{spec.text!r}: no duration is {low:g} s or more and less than {high:g} s.")
        return replace(spec, wanted=replace(spec.wanted, duration=(low, high)))
    if spec.base == "enrol" and (match := re.fullmatch(r"max=(\d+)", option)):
        return replace(spec, most=int(match[1]))
    if spec.base == "triplets" and option == "original":
        return replace(spec, original=True)
    if spec.base == "all" and option == "other-session":
        return replace(spec, other_session=True)
    known = [*FLAGS, "duration=A-B", *OWN_OPTIONS.get(spec.base, ())]
    raise BadTrials(
        f"{spec.text!r}: {option!r} is not an option of these trials. Allowed: {', '.join(known)} "
        f"(A and B in seconds), joined by '+'.{did_you_mean(option, known)}"
    )


def _make(spec: Spec, data: EvaluationData, seed: int) -> Trials:
    if seed < 0:
        raise BadTrials(f"a seed is a whole number from 0 up, got {seed}.")
    pool = make_pool(spec.text, data, spec.wanted)
    if spec.base == "all":
        return across_sessions(all_pairs(pool), data) if spec.other_session else all_pairs(pool)
    if spec.base == "pairs":
        return pairs(spec.number, pool, seed)
    if spec.base == "enrol":
        return enrollment(spec.number, pool, data, seed, spec.most)
    return (
        original_triplets(spec.number, pool, data, seed)
        if spec.original
        else triplets(spec.number, pool, seed)
    )
