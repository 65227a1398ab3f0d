"""Which utterances make the batch of a step, when a loss does not ask for triplets.

Every sampler is a pure function of (seed, step): `batch(step)` are utterance numbers, and a resumed training
needs no state. In a training of several processes each draws the same batch, and `Batches` takes its part.

A sampler outside of voxid, `data.sampler = "my_module:MySampler"`, is made as
`MySampler(config, packed, numbers, rows, seed)`: `config` is its `Config` of the recipe's `[data.options]`,
`packed` the speech (`packed.speakers_N` are speaker numbers), `numbers` the utterances it may draw, `rows`
how many `batch(step)` returns. `MySampler.pairs` is True where every batch is sure to have two utterances of
one speaker.

N utterances, B rows of a batch
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from voxid.data.pack import Packed
from voxid.data.triplets import ROWS, generator
from voxid.errors import BadConfig, NotEnoughSpeakers, did_you_mean
from voxid.registry import Registry

SAMPLERS = ["triplets", "uniform", "speakers", "corpora", "pk"]
OWN = Registry("sampler", {}, needs=("batch",))
LEAST_RIVALS = 8  # speakers of a language that are enough to be told from each other
SHUFFLE = 2**62  # beyond any step: numbers that belong to an epoch, or to the whole training


def shuffled(places_B: np.ndarray, count: int, key: tuple[int, int, int]) -> np.ndarray:
    """Return where each of `places_B` is in a shuffled order of `count`, which nobody has to hold or make.

    A Feistel network over the next power of four, walked until it falls below `count` (Black and Rogaway
    2002, "Ciphers with arbitrary finite domains"): every place comes once, another `key` gives another order.

    >>> sorted(shuffled(np.arange(10), 10, (0, 0, 0)).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    mask, keys = (1 << half) - 1, generator(*key).integers(1 << 63, size=6, dtype=np.uint64)
    found = places_B.astype(np.uint64)
    walking = np.ones(len(found), bool)
    while walking.any():
        left, right = found[walking] >> half, found[walking] & mask
        for one in keys:
            mixed = (right + one) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> 29)) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> 32) & mask)
        found[walking] = (left << half) | right
        walking &= found >= count
    return found.astype(np.int64)


class UniformSampler:
    """All utterances, once each an epoch, in an order shuffled anew for every epoch.

    `numbers` are the utterances to draw from. What does not fill a last batch of an epoch is left for
    another. With fewer utterances than a batch has rows, they are repeated to fill it.

    >>> sampler = UniformSampler(np.arange(10), rows=5, seed=0)
    >>> sorted([*sampler.batch(0).tolist(), *sampler.batch(1).tolist()])
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, numbers: np.ndarray, rows: int, seed: int) -> None:
        _need(numbers, 1)
        self.numbers, self.rows, self.seed = numbers, rows, seed
        self.steps = max(1, len(numbers) // rows)  # of an epoch

    def batch(self, step: int) -> np.ndarray:
        """Return utterance numbers, int64 (B,)."""
        epoch, place = divmod(step, self.steps)
        places_B = np.arange(place * self.rows, (place + 1) * self.rows) % len(self.numbers)
        return self.numbers[shuffled(places_B, len(self.numbers), (self.seed, SHUFFLE + epoch, ROWS))]


class SpeakerSampler:
    """Every speaker equally often: `speakers` of them a batch, with `each` of their utterances.

    Speakers come in an order shuffled anew for each pass over them, their utterances in turn, in a shuffled
    order of their own: no utterance comes twice before all others of its speaker have come. With the numbers
    of sessions, `sessions_N`, one of each session comes before a second one of any. A speaker of fewer than
    `each` utterances gives the same one twice (other crops of it, in training). Rows of a speaker are
    neighbours. With `each` above one, two speakers are needed: raise NotEnoughSpeakers.

    >>> sampler = SpeakerSampler(np.array([7, 7, 7, 8, 8]), np.arange(5), speakers=2, each=2, seed=0)
    >>> np.array([7, 7, 7, 8, 8])[sampler.batch(0)].reshape(2, 2).std(axis=1).tolist()
    [0.0, 0.0]
    """

    def __init__(
        self,
        speakers_N: np.ndarray,
        numbers: np.ndarray,
        speakers: int,
        each: int,
        seed: int,
        sessions_N: np.ndarray | None = None,
    ) -> None:
        shuffled = generator(seed, SHUFFLE, ROWS).permutation(numbers)
        if sessions_N is not None:
            shuffled = shuffled[np.argsort(_turns(sessions_N[shuffled]), kind="stable")]
        by_speaker = np.argsort(speakers_N[shuffled], kind="stable")
        self._utterances = shuffled[by_speaker]  # speaker after speaker
        _, self._starts, self._counts = np.unique(
            speakers_N[self._utterances], return_index=True, return_counts=True
        )
        _need(numbers, 1)
        _need(self._counts, 2 if each > 1 else 1)
        self.speakers, self.each, self.seed = speakers, each, seed
        self.rows = speakers * each
        self._passes: dict[int, np.ndarray] = {}  # the last few orders of speakers

    def batch(self, step: int) -> np.ndarray:
        """Return utterance numbers, int64 (B,), speaker after speaker."""
        visit = step * self.speakers + np.arange(self.speakers)
        turn = visit // len(self._counts)  # how often the speaker has been visited before
        speaker = np.empty_like(visit)
        for one in range(int(turn[0]), int(turn[-1]) + 1):
            inside = turn == one
            speaker[inside] = self._order(one)[visit[inside] % len(self._counts)]
        place = (turn[:, None] * self.each + np.arange(self.each)) % self._counts[speaker][:, None]
        return self._utterances[self._starts[speaker][:, None] + place].ravel()

    def _order(self, turn: int) -> np.ndarray:
        """Return the order of speakers in one pass over them."""
        order = self._passes.get(turn)
        if order is None:
            order = self._shuffled(turn)
            # one speaker at the end of a pass and the beginning of the next could fill a batch of two alone
            if self.each > 1 and turn and len(order) > 2 and order[0] == self._shuffled(turn - 1)[-1]:
                order[:2] = order[1], order[0]
            self._passes = {number: kept for number, kept in self._passes.items() if number > turn - 4}
            self._passes[turn] = order
        return order

    def _shuffled(self, turn: int) -> np.ndarray:
        return generator(self.seed, SHUFFLE + 1 + turn, ROWS).permutation(len(self._counts))


class CorpusSampler:
    """Utterances by corpus: a corpus of size n is drawn in proportion to n ** (1 / temperature).

    A temperature of 1 leaves the corpora their sizes, a high one makes them equal; `fixed` gives a corpus its
    share of the batch, by its number, and the others have what is left. Inside a corpus every utterance is as
    likely as any other, and n counts utterances; with `by_speaker` every speaker is, and n counts speakers: a
    thousand recordings of few voices are no reason to hear those more often. With `sessions_N` too, every
    session of a speaker is as likely as any other. A speaker with one utterance is `lone` times as likely.

    >>> sampler = CorpusSampler(np.array([0] * 1000 + [1] * 10), np.arange(1010), np.arange(1010), rows=400,
    ...     seed=0, temperature=1e9)
    >>> sampler.shares.round(3).tolist(), len(sampler.batch(0))
    ([0.5, 0.5], 400)
    """

    def __init__(
        self,
        corpus_N: np.ndarray,
        speakers_N: np.ndarray,
        numbers: np.ndarray,
        rows: int,
        seed: int,
        temperature: float = 1.0,
        by_speaker: bool = False,
        *,
        sessions_N: np.ndarray | None = None,
        lone: float = 1.0,
        fixed: Mapping[int, float] | None = None,
    ) -> None:
        _need(numbers, 1)
        self.rows, self.seed = rows, seed
        groups_N = speakers_N if by_speaker else np.arange(len(speakers_N))
        there = np.unique(corpus_N[numbers])
        self._corpora = [
            _Weighted(numbers[corpus_N[numbers] == corpus], groups_N, sessions_N, lone) for corpus in there
        ]
        sizes = np.array([len(corpus.shares) for corpus in self._corpora], dtype=np.float64)
        self.shares = (sizes / sizes.max()) ** (1 / temperature)
        given = np.array([(fixed or {}).get(int(corpus), np.nan) for corpus in there])
        free = np.isnan(given)
        self.shares[free] *= max(0.0, 1 - np.nansum(given)) / max(self.shares[free].sum(), 1e-9)
        self.shares[~free] = given[~free]
        self.shares /= self.shares.sum()

    def batch(self, step: int) -> np.ndarray:
        """Return utterance numbers, int64 (B,)."""
        rng = generator(self.seed, step, ROWS)
        corpus_B = rng.choice(len(self.shares), self.rows, p=self.shares)
        rows_B = np.empty(self.rows, np.int64)
        for number, corpus in enumerate(self._corpora):
            mine = np.flatnonzero(corpus_B == number)
            rows_B[mine] = corpus.draw(rng, len(mine))
        return rows_B


class _Weighted:
    """The utterances of a corpus in groups, and how likely a group is, and each of its utterances."""

    def __init__(
        self, members: np.ndarray, groups_N: np.ndarray, sessions_N: np.ndarray | None, lone: float
    ) -> None:
        self._members = members[np.argsort(groups_N[members], kind="stable")]
        _, group_M, counts = np.unique(groups_N[self._members], return_inverse=True, return_counts=True)
        weight_M = np.ones(len(members))
        if sessions_N is not None:
            _, session_M, said = np.unique(sessions_N[self._members], return_inverse=True, return_counts=True)
            weight_M = 1 / said[session_M]
        # one more with each group
        self._ends_M = np.cumsum(weight_M / np.bincount(group_M, weight_M)[group_M])
        shares = np.where(counts == 1, lone, 1.0)  # the same of all, where all have one
        self.shares = shares / shares.sum()

    def draw(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """Return utterance numbers; no group comes twice as long as there are enough of them."""
        group = rng.choice(len(self.shares), rows, replace=rows > len(self.shares), p=self.shares)
        place = np.searchsorted(self._ends_M, group + rng.random(rows) * (1 - 1e-9), side="right")
        return self._members[np.minimum(place, len(self._members) - 1)]


def _turns(sessions_N: np.ndarray) -> np.ndarray:
    """Return for each utterance how many of its session come before it."""
    order = np.argsort(sessions_N, kind="stable")
    _, starts, counts = np.unique(sessions_N[order], return_index=True, return_counts=True)
    turns = np.empty(len(order), np.int64)
    turns[order] = np.arange(len(order)) - np.repeat(starts, counts)
    return turns


def corpora_of(speaker_names: list[str], speakers_N: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the names of the corpora of prepared speech, and the number of each utterance's corpus (N,).

    Corpora that were prepared together have their place before each speaker's name ("LibriSpeech/1034");
    where no name has one, everything is one corpus, "".

    >>> corpora_of(["a/1", "a/2", "b/1"], np.array([0, 2, 1]))
    (['a', 'b'], array([0, 1, 0]))
    """
    corpora = [name.rpartition("/")[0] for name in speaker_names]
    names = sorted(set(corpora))
    number = {name: i for i, name in enumerate(names)}
    return names, np.array([number[corpus] for corpus in corpora])[speakers_N]


def sessions_of(packed: Packed) -> np.ndarray:
    """Return the number of each utterance's session (N,); a speaker without such labels has one."""
    labels = packed.manifest()["session"].to_pylist()
    keys = [f"{speaker} {label}" for speaker, label in zip(packed.speakers_N.tolist(), labels, strict=True)]
    return np.unique(keys, return_inverse=True)[1]


def groups_of(packed: Packed, by_language: bool) -> np.ndarray:
    """Return a number for each speaker's corpus, or corpus and language: the one most often said of them.

    Languages of fewer than LEAST_RIVALS speakers are one group: among two or three, telling apart is no task.
    """
    _, corpus_N = corpora_of(packed.speaker_names, packed.speakers_N)
    label_N = packed.manifest()["language"].to_pylist() if by_language else [""] * packed.n
    said = Counter(zip(packed.speakers_N.tolist(), corpus_N.tolist(), label_N, strict=True))
    group: dict[int, str] = {}
    for (speaker, corpus, language), _ in said.most_common():
        group.setdefault(speaker, f"{corpus} {language}")
    sizes = Counter(group.values())
    names = [group[speaker] for speaker in sorted(group)]
    merged = [name if sizes[name] >= LEAST_RIVALS else name.partition(" ")[0] for name in names]
    return np.unique(merged, return_inverse=True)[1]


def shares_of(names: list[str], shares: Mapping[str, float]) -> dict[int, float]:
    """Return shares by the number of a corpus from shares by its name, or the last part of it.

    Raise BadConfig for a name that no corpus has, and for shares of one together or more.
    """
    fixed = {}
    for wanted, share in shares.items():
        found = [i for i, name in enumerate(names) if wanted in (name, name.rpartition("/")[2])]
        if not found:
            raise BadConfig(
                f"data.shares: no corpus {wanted!r} in the prepared speech. There is: "
                f"{', '.join(map(repr, names))}.{did_you_mean(wanted, names)}"
            )
        fixed |= {number: share / len(found) for number in found}
    if sum(fixed.values()) >= 1:
        raise BadConfig(f"data.shares: together they are {sum(fixed.values()):g}; below 1 is needed.")
    return fixed


def _need(members: np.ndarray, least: int) -> None:
    if len(members) < least:
        what = "speakers" if least > 1 else "utterances"
        raise NotEnoughSpeakers(
            f"got {len(members)} {what} to draw batches from; {least} or more are needed. Add recordings, or "
            'set data.short_utterances = "repeat" if short ones were left out.'
        )
