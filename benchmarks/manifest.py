"""Opening the index of ten million utterances in shards: seconds, memory, and what a batch of an epoch costs.

    python -m benchmarks.manifest [--rows 10000000] [--speakers 500000] [--shards 256]

The index is real, the samples are holes in files (nothing is read of them but 1,000 crops). Opening happens
in a process of its own, three times. Targets: under 1 GB of memory, opened in under 2 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from voxid.data.samples import SHARDED
from voxid.data.shards import shard_name

SAMPLES = 32_000  # of an utterance
OPEN = """
import resource, sys, time
import numpy as np
from voxid.data.pack import Packed
from voxid.data.samplers import UniformSampler
imports = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
begin, cpu = time.perf_counter(), time.process_time()
packed = Packed.open(sys.argv[1])
waited, spent = time.perf_counter() - begin, time.process_time() - cpu
opened = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
cpu = time.process_time()
mine = packed.of_speaker(7)
found = time.process_time() - cpu
sampler = UniformSampler(np.arange(packed.n), 512, 0)
cpu = time.process_time()
for step in range(100):
    rows = sampler.batch(step * 97)
batch = (time.process_time() - cpu) / 100
cpu = time.process_time()
for i in rows[:500].tolist() * 2:
    packed.crop(i, 100, 16_000).sum()
crop = (time.process_time() - cpu) / 1000
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"opened in {waited:.2f} s (CPU {spent:.2f} s), imports {imports:.0f} MB, then {opened:.0f} MB; "
      f"first of_speaker {found:.2f} s of CPU for {len(mine)} utterances; a batch of 512 {1e3 * batch:.2f} "
      f"ms, a crop {1e6 * crop:.0f} us of CPU; {peak:.0f} MB at most")
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--speakers", type=int, default=500_000)
    parser.add_argument("--shards", type=int, default=256)
    arguments = parser.parse_args()
    rows, shards = arguments.rows, arguments.shards
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "offsets.npy", np.arange(rows + 1, dtype=np.int64) * SAMPLES)
        np.save(folder / "speakers.npy", (np.arange(rows) % arguments.speakers).astype(np.int32))
        names = [f"speaker-{number:08d}" for number in range(arguments.speakers)]
        (folder / "speaker_names.json").write_text(json.dumps(names))
        listed = []
        for number, some in enumerate(np.array_split(np.arange(rows), shards)):
            path = folder / shard_name(number) / "audio.i16"
            path.parent.mkdir()
            path.touch()
            os.truncate(path, 2 * SAMPLES * len(some))
            listed.append({"name": path.parent.name, "bytes": path.stat().st_size, "sha256": ""})
        info = {"version": SHARDED, "sample_rate": 16_000, "n_utterances": rows, "fingerprint": "x"}
        (folder / "prepared.json").write_text(json.dumps({**info, "shards": listed}))
        print(f"{rows:,} utterances of {arguments.speakers:,} speakers in {shards} shards", flush=True)
        for _ in range(3):
            subprocess.run([sys.executable, "-c", OPEN, str(folder)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
