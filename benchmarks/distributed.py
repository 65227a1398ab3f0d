"""A training by one process and by two (gloo, one thread each): the time of a step, waited and computed.

    python -m benchmarks.distributed [--recipe bilstm-clean100] [--steps 30] [--rounds 3] [--set KEY=VALUE]

Both take the same steps of the same batches. With two free cores, two processes are up to `bound` times as
fast as one: twice what one process computes in a step, by what both compute together. What else costs is
waiting for each other. Target: 1.6 times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from voxid.corpora.synthetic import make_corpus

JOB = """
import json, os, sys, time
import torch
import voxid.plots
voxid.plots.training_curve = lambda *_: None
from voxid.training import load_recipe, train
job = json.loads(sys.argv[1])
torch.set_num_threads(1)
marks = {}
def on_row(row):
    marks[row.step] = (time.perf_counter(), time.process_time())
recipe = load_recipe(job["recipe"], job["set"])
from voxid.training.run_folder import TrainingLog
add = TrainingLog.add
TrainingLog.add = lambda self, row: (add(self, row), on_row(row))  # on every process
run = train(recipe, job["data"], job["out"], overwrite=True)
first, last = min(marks), max(marks)
wall, cpu = (marks[last][i] - marks[first][i] for i in (0, 1))
rank = os.environ.get("RANK", "0")
steps = last - first
open(f"{job['out']}-{rank}.json", "w").write(json.dumps({"wall": wall / steps, "cpu": cpu / steps}))
"""


def run(job: dict, world: int, folder: Path) -> list[dict[str, float]]:
    script = folder / "job.py"
    script.write_text(JOB)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    command = [*(launch if world > 1 else [sys.executable]), str(script), json.dumps(job)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    return [json.loads(Path(f"{job['out']}-{rank}.json").read_text()) for rank in range(world)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="bilstm-clean100")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="of the recipe, as for voxid train")
    arguments = parser.parse_args()
    changed = " ".join(arguments.set)
    print(f"{arguments.recipe} {changed}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = make_corpus(folder / "people", speakers=16, utterances=4)
        fixed = [f"training.steps={arguments.steps}", "training.log_every=5", "training.threads=1"]
        job = {"recipe": arguments.recipe, "set": [*arguments.set, *fixed], "data": str(data)}
        for number in range(arguments.rounds):
            [one] = run({**job, "out": str(folder / f"one{number}")}, 1, folder)
            two = run({**job, "out": str(folder / f"two{number}")}, 2, folder)
            wall, cpu = max(each["wall"] for each in two), sum(each["cpu"] for each in two)
            print(
                f"a step: one process {1e3 * one['wall']:.0f} ms (CPU {1e3 * one['cpu']:.0f}), two "
                f"{1e3 * wall:.0f} ms (CPU {1e3 * cpu:.0f} together): {one['wall'] / wall:.2f} times as "
                f"fast, bound {2 * one['cpu'] / cpu:.2f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
