"""Which ingredient of a modern training is worth what: the same speech, the same steps, one change at a time.

    python -m benchmarks.ablation --train D... --data DEV... -o DIR [--noise FOLDER] [--steps 1000]
        [--seeds 0 1] [--parts ladder published without alone world] [--rows NAME...] [--table] [--json FILE]

Every row is the original's `bilstm-clean100` with some ingredients put in (`benchmarks._ablation_rows`), on
one core, for `--steps` batches of 24 windows; the last stage of fine-tuning has half as many, twice as long.
The five published recipes are rows too; on the same speech two of them are trainings of two others, and such
rows share a run. A row takes as many steps as any other, not as long: processor time stands beside it, and
the original is there once more with more steps.

The rows of `world` are another training: `base-world` from the weights of voxid-base, whole and without each
of its ingredients. Give them held-out speakers of every corpus, and `--steps` a few thousand.

A run, one row with one seed, is one model folder under DIR. Those that are finished are not done again, a
stop costs at most one run, and `--table` prints what there is without training anything. `--data` is only
measured on; nothing is chosen by it. EERs are means over the seeds; intervals resample the speakers, for all
seeds and for both rows of a difference alike. Trials "alike" are of people of the same sex and, where known,
age group.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._ablation_rows import INGREDIENTS, PARTS, Row, digest, make_rows, recipe_of
from benchmarks._measuring import interval, markdown, percent, sampled_eer
from voxid.data.pack import Packed
from voxid.data.prepare import ensure_prepared
from voxid.embed import load
from voxid.errors import VoxidError
from voxid.evaluation import EvaluationData, Trials, make_trials, read_data
from voxid.evaluation.embedding import embed_used
from voxid.evaluation.scores import score_trials
from voxid.files import atomic_write
from voxid.training import Recipe, train

RESULT, DRAWS = "ablation.json", "ablation.npz"


@dataclass(frozen=True)
class Test:
    """What models are measured on: a set of speech, and lists of trials of it."""

    name: str
    data: EvaluationData
    lists: dict[str, Trials]


@dataclass(frozen=True)
class Job:
    """One run: a row with a seed, and where it goes; rows that train the same share the folder."""

    row: Row
    seed: int
    recipe: Recipe
    folder: Path


def read_test(path: str) -> Test:
    """Return a corpus with the trials of all pairs and, where sexes are known, of people alike."""
    data = read_data(ensure_prepared(path))
    lists = {"all": make_trials("all", data)}
    if (data.sexes() >= 0).any():
        ages = "+same-age-group" if (data.adults() >= 0).any() else ""
        lists["alike"] = make_trials(f"all:same-sex{ages}", data)
    return Test(Path(path).resolve().name, data, lists)


def make_jobs(
    rows: list[Row], steps: int, seeds: list[int], data: str, out: Path, noise: list[str]
) -> list[Job]:
    """Return the run of every row and seed, part after part and within a part seed after seed."""
    jobs = []
    for part in dict.fromkeys(row.part for row in rows):
        for seed in seeds:
            for row in (row for row in rows if row.part == part):
                folder = out / digest(row, steps, seed, noise, data)
                jobs.append(Job(row, seed, recipe_of(row, steps, seed, noise), folder))
    return jobs


def do(job: Job, packed: Packed, tests: list[Test], resamples: int) -> dict[str, Any]:
    """Train and measure one run, from the start if it was broken off; return what its files say."""
    if job.folder.exists():
        shutil.rmtree(job.folder)
    wall, processor = time.perf_counter(), time.process_time()
    trained = train(job.recipe, packed, job.folder, device="cpu", init=job.row.init)
    runtime = load(job.folder, engine="torch")
    result: dict[str, Any] = {
        "row": job.row.name,
        "seed": job.seed,
        "steps": trained.steps,
        "train_wall_s": round(time.perf_counter() - wall, 1),
        "train_processor_s": round(time.process_time() - processor, 1),
        "parameters": sum(weight.numel() for weight in runtime.network.model.encoder.parameters()),
        "first_loss": trained.first_loss,
        "last_loss": trained.last_loss,
        "fingerprint": runtime.fingerprint,
        "figures": {},
    }
    draws: dict[str, np.ndarray] = {}
    for test in tests:
        voices = embed_used(runtime, test.data, np.arange(len(test.data.utterances)))
        for kind, trials in test.lists.items():
            key = f"{test.name}, {kind}"
            found = sampled_eer(score_trials(voices, trials), test.data, resamples=resamples)
            draws[key] = found.rate_R
            result["figures"][key] = {
                "eer": found.rate,
                "trials": found.trials,
                "targets": found.targets,
                "speakers": found.speakers,
                "left_out": len(voices.left_out),
            }
    shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)  # a finished run is not gone on with
    with atomic_write(job.folder / DRAWS) as file:
        np.savez(file, **{key: drawn_R.astype(np.float32) for key, drawn_R in draws.items()})  # pyright: ignore
    with atomic_write(job.folder / RESULT, "w") as file:  # last: it says that the run is finished
        json.dump(result, file, indent=2)
    return result


def run_all(jobs: list[Job], packed: Packed, tests: list[Test], resamples: int) -> int:
    """Do the runs that are not finished, printing a line each; return how many failed."""
    todo: dict[Path, Job] = {}
    for job in jobs:
        if not (job.folder / RESULT).is_file():
            todo.setdefault(job.folder, job)
    failed = 0
    for number, job in enumerate(todo.values(), start=1):
        print(f"{number}/{len(todo)} {job.row.name}, seed {job.seed} ...", flush=True)
        try:
            result = do(job, packed, tests, resamples)
        except VoxidError as error:  # such as a loss that is no number: the other rows go on
            print(f"    failed: {error}", flush=True)
            failed += 1
            continue
        rates = ", ".join(f"{key} {100 * figure['eer']:.2f}" for key, figure in result["figures"].items())
        print(
            f"    {rates}; {result['train_processor_s']:.0f} s of processor, {result['train_wall_s']:.0f} s",
            flush=True,
        )
    return failed


@dataclass(frozen=True)
class Mean:
    """A row over its seeds: mean EER of each list with its draws, and those of the seeds."""

    rates: dict[str, list[float]]
    rate: dict[str, float]
    rate_R: dict[str, np.ndarray]
    processor_s: float
    parameters: int


def mean_of(folders: list[Path]) -> Mean | None:
    """Return the mean over the finished runs of a row, None where there is none.

    A draw of the mean takes the same speakers for every seed.
    """
    finished = [folder for folder in folders if (folder / RESULT).is_file()]
    if not finished:
        return None
    results = [json.loads((folder / RESULT).read_text()) for folder in finished]
    rates = {key: [result["figures"][key]["eer"] for result in results] for key in results[0]["figures"]}
    rate_R: dict[str, np.ndarray] = {}
    for key in rates:
        drawn = []
        for folder in finished:
            with np.load(folder / DRAWS) as file:
                drawn.append(file[key].astype(np.float64))
        rate_R[key] = np.mean(drawn, axis=0)
    return Mean(
        rates=rates,
        rate={key: float(np.mean(of_seeds)) for key, of_seeds in rates.items()},
        rate_R=rate_R,
        processor_s=float(np.mean([result["train_processor_s"] for result in results])),
        parameters=results[0]["parameters"],
    )


def summary(rows: list[Row], jobs: list[Job]) -> Iterator[dict[str, Any]]:
    """Yield what is known of each row that has a finished run, as plain values."""
    folders: dict[str, list[Path]] = {}
    for job in jobs:
        folders.setdefault(job.row.name, []).append(job.folder)
    means = {name: mean_of(of_row) for name, of_row in folders.items()}
    for row in rows:
        mean = means.get(row.name)
        if mean is None:
            continue
        other = means.get(row.against or "")
        figures = {}
        for key, rate in mean.rate.items():
            change = None
            if other is not None and len(other.rates[key]) == len(mean.rates[key]):
                value = rate - other.rate[key]
                change = {"value": value, "interval": interval(value, mean.rate_R[key] - other.rate_R[key])}
            figures[key] = {
                "eer": rate,
                "interval": interval(rate, mean.rate_R[key]),
                "seeds": mean.rates[key],
                "change": change,
            }
        yield {
            "part": row.part,
            "row": row.name,
            "against": row.against,
            "parameters": mean.parameters,
            "processor_s": mean.processor_s,
            "figures": figures,
        }


def print_table(found: list[dict[str, Any]]) -> None:
    """Print a table a part: all of the first list of trials, and of the others the EER."""
    for part in dict.fromkeys(row["part"] for row in found):
        rows = [row for row in found if row["part"] == part]
        main, *others = rows[0]["figures"]
        head = ["row", f"{main}: EER %", "seeds", "change", "against", *others, "processor s"]
        lines = []
        for row in rows:
            figure = row["figures"][main]
            change = figure["change"]
            lines.append(
                [
                    row["row"],
                    percent(figure["eer"], figure["interval"]),
                    ", ".join(percent(rate) for rate in figure["seeds"]),
                    percent(change["value"], change["interval"], signed=True) if change else "",
                    row["against"] or "",
                    *(percent(row["figures"][key]["eer"]) for key in others),
                    f"{row['processor_s']:.0f}",
                ]
            )
        print(f"\n{part}\n{markdown(head, lines)}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", nargs="+", required=True, help="corpora to learn from")
    parser.add_argument("--data", nargs="+", required=True, help="corpora to measure on")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--noise", nargs="*", default=[], help="folders for augmentation; none: no noise")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", nargs="+", help="these rows only, by name")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--table", action="store_true", help="train nothing, print what there is")
    parser.add_argument("--json", type=Path, help="write the table's numbers there too")
    arguments = parser.parse_args()
    every = make_rows()
    if unknown := set(arguments.rows or ()) - {row.name for row in every}:
        parser.error(f"no row named {', '.join(sorted(unknown))}. Known: {', '.join(r.name for r in every)}")
    packed = Packed.open(ensure_prepared(arguments.train))
    settings = (arguments.steps, arguments.seeds, packed.fingerprint, arguments.out, arguments.noise)
    rows = [
        row for row in every if row.part in arguments.parts and row.name in (arguments.rows or [row.name])
    ]
    failed = 0
    if not arguments.table:
        if not arguments.noise:
            print("no --noise: augmentation has rooms, babble and telephone lines only")
        print("\n".join(f"{name}: {text}" for name, text in INGREDIENTS.items()), flush=True)
        tests = [read_test(path) for path in arguments.data]
        failed = run_all(make_jobs(rows, *settings), packed, tests, arguments.resamples)
    found = list(summary(every, make_jobs(every, *settings)))  # what rows are compared with may be others
    found = [row for row in found if row["row"] in {row.name for row in rows}]
    if not found:
        print("no run is finished yet")
        return 1
    print_table(found)
    if arguments.json:
        with atomic_write(arguments.json, "w") as file:
            json.dump(found, file, indent=2)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
