"""PyPI's `resemblyzer` as a system beside voxid's, in a python of its own that has it: `Peer`.

Run as a script, by that python, it answers each line "IN.npz OUT.npy" of its standard input with "done" when
OUT holds the embeddings of the recordings in IN. It uses what the package's own README shows: recordings go
through `preprocess_wav`, which sets the level and cuts pauses short, then through `embed_utterance`. Where
its voice detection leaves less than half a second, the recording is taken as it came.

# S samples, U recordings, D embedding
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

TOGETHER = 50  # recordings in one file
RATE = 16_000
LONGEST_S = 3600.0


class Peer:
    """Resemblyzer as a runtime, as far as an evaluation needs one; a context manager that ends it."""

    dim = 256
    name = "resemblyzer"

    def __init__(self, python: str) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer("ready", f"{python} cannot import resemblyzer: pip install resemblyzer==0.1.4 there")

    def embed_each(
        self,
        audio: Iterable[Any],
        on_error: Callable[..., None] | None = None,
        *,
        batch_size: int = TOGETHER,
        **_: Any,
    ) -> Iterator[Any]:
        """Yield an Embedded for each recording, in order; hand those that voxid refuses to `on_error`."""
        from voxid.embed import Embedded, EmbedInfo
        from voxid.embed.decode import decode
        from voxid.errors import AudioError

        waves: dict[int, np.ndarray] = {}

        def embedded() -> Iterator[Embedded]:
            for (i, wave_S), emb_D in zip(waves.items(), self._embed(list(waves.values())), strict=True):
                yield Embedded(i, emb_D, EmbedInfo(wave_S.size / RATE, full_sequence=False, windows=1))
            waves.clear()

        for i, item in enumerate(audio):
            decoded = decode(i, item, LONGEST_S)
            error = decoded.error
            if error is None and decoded.wave is None:
                error = AudioError(f"it is longer than {LONGEST_S:g} s, which is too much for the peer.")
            if error is not None:
                if on_error is None:
                    raise error
                on_error(i, error)
            elif decoded.wave is not None:
                waves[i] = decoded.wave
            if len(waves) >= batch_size:
                yield from embedded()
        yield from embedded()

    def _embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Return float32 (U, D)."""
        if not waves:
            return np.zeros((0, self.dim), np.float32)
        given, made = (Path(self._scratch.name) / name for name in ("in.npz", "out.npy"))
        ends = np.cumsum([wave_S.size for wave_S in waves])
        np.savez(given, samples=np.concatenate(waves).astype(np.float32), ends=ends)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{given} {made}\n")
        self._process.stdin.flush()
        self._answer("done", "resemblyzer stopped; what it said is above")
        return np.load(made)

    def _answer(self, expected: str, otherwise: str) -> None:
        """Wait for a line of the other process; raise RuntimeError for another one, or its end."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != expected:
            self.close()
            raise RuntimeError(otherwise)

    def close(self) -> None:
        """End the other process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve() -> None:
    """Answer lines until the input ends. Runs where voxid may be missing."""
    import warnings

    warnings.simplefilter("ignore")  # of the package's age
    from resemblyzer import VoiceEncoder, preprocess_wav  # pyright: ignore[reportMissingImports]

    encoder = VoiceEncoder("cpu", verbose=False)
    print("ready", flush=True)
    for line in sys.stdin:
        given, made = line.split()
        with np.load(given) as file:
            waves = np.split(file["samples"], file["ends"][:-1])
        rows = []
        for wave_S in waves:
            spoken_S = preprocess_wav(wave_S, source_sr=RATE)
            rows.append(encoder.embed_utterance(spoken_S if spoken_S.size >= RATE // 2 else wave_S))
        np.save(made, np.stack(rows).astype(np.float32))
        print("done", flush=True)


if __name__ == "__main__":
    serve()
