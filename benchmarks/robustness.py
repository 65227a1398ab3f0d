"""How models hold up: EER under noise, in rooms, through telephones and codecs, and with little speech.

    python -m benchmarks.robustness MODEL... --data D [--noise FOLDER...] [--rir FOLDER...]
        [--anchors CHECKPOINT.pt...] [--resemblyzer PYTHON] [--trials all ...] [--utterances-per-speaker N]
        [--conditions clean telephone ...] [--json FILE] [--seed 0]

MODEL is a folder or a shipped name. Anchors stand beside them: published checkpoints of the original system,
imported as `voxid import-seed` does, and PyPI's `resemblyzer` in another python that has it. Both sides of
every trial are in the same condition, and every system hears the same samples (`benchmarks._conditions`).
Name noise and rooms that no model was trained with; which files they are is printed. "N s of speech" keeps
the beginning of a recording, up to so much net speech, and drops recordings that have less, with their
trials: those conditions have other trials, and are compared between systems, not with "clean".

EER in percent with 95 % intervals from draws of the speakers. Below them the difference of each system to the
first, on the same draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import voxid
from benchmarks._conditions import Condition, changed, make_conditions, subset, with_speech
from benchmarks._measuring import SampledEer, interval, markdown, percent, sampled_eer
from benchmarks._resemblyzer import Peer
from voxid.augment.clips import find
from voxid.data.prepare import ensure_prepared
from voxid.evaluation import EvaluationData, Trials, make_trials, read_data
from voxid.evaluation.embedding import embed_used
from voxid.evaluation.scores import score_trials
from voxid.files import atomic_write
from voxid.published.seed import import_seed

DEFAULT_TRIALS = ("all",)


@dataclass(frozen=True)
class Found:
    """One system in one condition on one list of trials; None where no trials of both kinds are left."""

    condition: str
    trials: str
    system: str
    eer: SampledEer | None
    left_out: int  # utterances that could not be used, beside those without enough speech


def measure(
    name: str,
    runtime: Any,
    data: EvaluationData,
    lists: dict[str, Trials],
    condition: Condition,
    *,
    seed: int,
    resamples: int,
) -> Iterator[Found]:
    """Yield what a system finds in a condition on each list of trials; every utterance is embedded once."""
    used_U = with_speech(data, condition)
    voices = embed_used(runtime, changed(data, condition, seed), used_U)
    if voices.left_out:
        first = voices.left_out[0]
        print(
            f"  {name} left out {len(voices.left_out)} utterances, such as {first.utterance}: {first.detail}"
        )
    for spec, trials in lists.items():
        kept_K = (voices.row_N[trials.left_K] >= 0) & (voices.row_N[trials.right_K] >= 0)
        both = (kept_K & trials.same_K).any() and (kept_K & ~trials.same_K).any()
        eer = None
        if both:
            eer = sampled_eer(score_trials(voices, trials), data, resamples=resamples, seed=seed)
        yield Found(condition.name, spec, name, eer, len(voices.left_out))


def systems_of(arguments: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """Return name -> runtime of all systems, the models first."""
    systems: dict[str, Any] = {}
    for model in arguments.models:
        name = Path(model).name
        systems[name if name not in systems else model] = voxid.load(model)
    if arguments.anchors:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number, checkpoint in enumerate(arguments.anchors):
            folder = scratch / str(number)
            import_seed(checkpoint, folder)
            systems[f"original: {'.'.join(Path(checkpoint).name.split('.')[1:-2])}"] = voxid.load(folder)
    if arguments.resemblyzer:
        systems["resemblyzer 0.1.4"] = stack.enter_context(Peer(arguments.resemblyzer))
    return systems


def differences(found: list[Found], first: str) -> dict[tuple[str, str, str], tuple[float, Any]]:
    """Return (condition, trials, system) -> EER minus that of the system `first`, and its interval.

    Only where both were measured on as many trials: then the draws are of the same speakers.
    """
    of_first = {(one.condition, one.trials): one.eer for one in found if one.system == first}
    result = {}
    for one in found:
        base = of_first.get((one.condition, one.trials))
        if one.system == first or one.eer is None or base is None or one.eer.trials != base.trials:
            continue
        value = one.eer.rate - base.rate
        drawn_R = one.eer.rate_R - base.rate_R
        result[one.condition, one.trials, one.system] = value, interval(value, drawn_R)
    return result


def print_tables(found: list[Found], systems: list[str]) -> None:
    """Print a table a list of trials, and one of the differences where there are several systems."""
    apart = differences(found, systems[0])
    for spec in dict.fromkeys(one.trials for one in found):
        rows, changes = [], []
        for condition in dict.fromkeys(one.condition for one in found):
            of = {one.system: one.eer for one in found if (one.condition, one.trials) == (condition, spec)}
            some = next((eer for eer in of.values() if eer is not None), None)
            count = [f"{some.trials:,}", f"{some.targets:,}", f"{some.speakers}"] if some else ["0", "", ""]
            rows.append([condition, *count, *(_cell(of.get(name)) for name in systems)])
            here = [apart.get((condition, spec, name)) for name in systems[1:]]
            changes.append([condition, *(percent(*pair, signed=True) if pair else "" for pair in here)])
        print(f"\ntrials: {spec}; EER %, with 95 % intervals")
        print(markdown(["condition", "trials", "targets", "speakers", *systems], rows))
        if systems[1:]:
            print(f"\ntrials: {spec}; EER minus that of {systems[0]}, in points")
            print(markdown(["condition", *systems[1:]], changes))


def _cell(eer: SampledEer | None) -> str:
    return "no trials" if eer is None else percent(eer.rate, eer.interval)


def as_values(found: list[Found], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was found as plain values, with what it takes to find it again."""
    return {
        "voxid": voxid.__version__,
        "arguments": {key: value if key != "json" else None for key, value in vars(arguments).items()},
        "results": [
            {
                "condition": one.condition,
                "trials_spec": one.trials,
                "system": one.system,
                "left_out": one.left_out,
                "eer": None if one.eer is None else one.eer.rate,
                "interval": None if one.eer is None else one.eer.interval,
                "trials": 0 if one.eer is None else one.eer.trials,
                "targets": 0 if one.eer is None else one.eer.targets,
                "speakers": 0 if one.eer is None else one.eer.speakers,
            }
            for one in found
        ],
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--data", required=True, help="corpus or prepared folder")
    parser.add_argument("--trials", nargs="+", default=list(DEFAULT_TRIALS), help="one or several specs")
    parser.add_argument("--noise", nargs="*", default=[], help="folders or files of noise")
    parser.add_argument("--rir", nargs="*", default=[], help="folders of measured impulse responses")
    parser.add_argument("--anchors", nargs="*", default=[], help="checkpoints of the original system")
    parser.add_argument("--resemblyzer", metavar="PYTHON", help="a python that can import resemblyzer")
    parser.add_argument("--utterances-per-speaker", type=int, help="a part of the data, drawn always alike")
    parser.add_argument("--conditions", nargs="+", help="these only, by name")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the numbers there too")
    arguments = parser.parse_args()
    if not (arguments.models or arguments.anchors or arguments.resemblyzer):
        parser.error("name a model, or an anchor")
    return arguments


def main() -> int:
    arguments = parse()
    data = subset(
        read_data(ensure_prepared(arguments.data)), arguments.utterances_per_speaker, arguments.seed
    )
    lists = {spec: make_trials(spec, data, arguments.seed) for spec in arguments.trials}
    conditions = make_conditions(arguments.seed, arguments.noise, arguments.rir)
    if unknown := set(arguments.conditions or ()) - {one.name for one in conditions}:
        print(f"no condition named {', '.join(sorted(unknown))}. Known: {[c.name for c in conditions]}")
        return 2
    print(f"{data.name}: {len(data.utterances):,} utterances of {len(data.speaker_names())} speakers")
    for kind, folders in (("noise", arguments.noise), ("measured rooms", arguments.rir)):
        if folders:
            names = sorted(path.name for path in find(folders, kind))
            print(f"{kind}: {len(names)} files: {', '.join(names[:20])}{', ...' * (len(names) > 20)}")
        else:
            print(f"{kind}: none named, and left out")
    found: list[Found] = []
    with ExitStack() as stack:
        systems = systems_of(arguments, stack)
        for condition in conditions:
            if arguments.conditions and condition.name not in arguments.conditions:
                continue
            for name, runtime in systems.items():
                options = {"seed": arguments.seed, "resamples": arguments.resamples}
                for one in measure(name, runtime, data, lists, condition, **options):
                    found.append(one)
                    print(f"  {one.condition}, {one.trials}, {one.system}: {_cell(one.eer)}", flush=True)
            if arguments.json:
                with atomic_write(arguments.json, "w") as file:
                    json.dump(as_values(found, arguments), file, indent=2)
    print_tables(found, list(systems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
