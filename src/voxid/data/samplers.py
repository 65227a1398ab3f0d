"""Which utterances make the batch of a step, when a loss does not ask for triplets.

Every sampler is a pure function of (seed, step, rank, world size): `batch(step)` are utterance numbers, and a
resumed training needs no state. All ranks draw the same batch of the whole world, and each takes its part: as
long as the data lasts, no two processes of a step get the same utterance.

N utterances, B rows of one process' batch, W rows of the whole world's batch
"""

from __future__ import annotations

import numpy as np

from voxid.data.triplets import ROWS, generator
from voxid.errors import NotEnoughSpeakers

SHUFFLE = 2**62  # beyond any step: numbers that belong to an epoch, or to the whole training


class UniformSampler:
    """All utterances, once each an epoch, in an order shuffled anew for every epoch.

    `numbers` are the utterances to draw from. What does not fill a last batch of an epoch is left for
    another. With fewer utterances than a batch has rows, they are repeated to fill it.

    >>> sampler = UniformSampler(np.arange(10), rows=5, seed=0)
    >>> sorted([*sampler.batch(0).tolist(), *sampler.batch(1).tolist()])
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, numbers: np.ndarray, rows: int, seed: int, rank: int = 0, world: int = 1) -> None:
        _need(numbers, 1)
        self.numbers, self.rows, self.seed, self.rank, self.world = numbers, rows, seed, rank, world
        self.steps = max(1, len(numbers) // (rows * world))  # of an epoch
        self._kept = (-1, numbers)  # an epoch and its order; one value, so that threads cannot mix them up

    def batch(self, step: int) -> np.ndarray:
        """Return utterance numbers, int64 (B,)."""
        epoch, place = divmod(step, self.steps)
        kept, order = self._kept
        if epoch != kept:
            order = generator(self.seed, SHUFFLE + epoch, ROWS).permutation(self.numbers)
            order = np.resize(order, max(len(order), self.rows * self.world))
            self._kept = (epoch, order)
        first = (place * self.world + self.rank) * self.rows
        return order[first : first + self.rows]


class SpeakerSampler:
    """Every speaker equally often: `speakers` of them a batch, with `each` of their utterances.

    Speakers come in an order shuffled anew for each pass over them, their utterances in turn, in a shuffled
    order of their own: no utterance comes twice before all others of its speaker have come. A speaker of
    fewer than `each` utterances gives the same one twice (other crops of it, in training). Rows of a speaker
    are neighbours. With `each` above one, two speakers are needed: raise NotEnoughSpeakers.

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
        rank: int = 0,
        world: int = 1,
    ) -> None:
        shuffled = generator(seed, SHUFFLE, ROWS).permutation(numbers)
        by_speaker = np.argsort(speakers_N[shuffled], kind="stable")
        self._utterances = shuffled[by_speaker]  # speaker after speaker
        _, self._starts, self._counts = np.unique(
            speakers_N[self._utterances], return_index=True, return_counts=True
        )
        _need(numbers, 1)
        _need(self._counts, 2 if each > 1 else 1)
        self.speakers, self.each, self.seed, self.rank, self.world = speakers, each, seed, rank, world
        self.rows = speakers * each
        self._passes: dict[int, np.ndarray] = {}  # the last few orders of speakers

    def batch(self, step: int) -> np.ndarray:
        """Return utterance numbers, int64 (B,), speaker after speaker."""
        first = (step * self.world + self.rank) * self.speakers
        visit = first + np.arange(self.speakers)
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

    A temperature of 1 leaves the corpora their sizes, a high one makes them equal. Inside a corpus every
    utterance is as likely as any other, and n counts utterances; with `by_speaker` every speaker is, and n
    counts speakers: a thousand recordings of few voices are no reason to hear those more often.

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
        rank: int = 0,
        world: int = 1,
    ) -> None:
        _need(numbers, 1)
        self.rows, self.seed, self.rank, self.world = rows, seed, rank, world
        corpora = [numbers[corpus_N[numbers] == corpus] for corpus in np.unique(corpus_N[numbers])]
        self._groups = [_by_speaker(members, speakers_N, by_speaker) for members in corpora]
        sizes = np.array([len(counts) for _, _, counts in self._groups], dtype=np.float64)
        weights = (sizes / sizes.max()) ** (1 / temperature)
        self.shares = weights / weights.sum()

    def batch(self, step: int) -> np.ndarray:
        """Return utterance numbers, int64 (B,)."""
        rng = generator(self.seed, step, ROWS)
        everyone = self.rows * self.world
        corpus_W = rng.choice(len(self.shares), everyone, p=self.shares)
        rows_W = np.empty(everyone, np.int64)
        for corpus, (utterances, starts, counts) in enumerate(self._groups):
            mine = np.flatnonzero(corpus_W == corpus)
            group = rng.choice(len(counts), len(mine), replace=len(mine) > len(counts))
            rows_W[mine] = utterances[starts[group] + rng.integers(counts[group])]
        return rows_W[self.rank * self.rows : (self.rank + 1) * self.rows]


def _by_speaker(
    members: np.ndarray, speakers_N: np.ndarray, by_speaker: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (utterances, starts, counts) of the groups that are equally likely: speakers, or utterances."""
    if not by_speaker:
        return members, np.arange(len(members)), np.ones(len(members), np.int64)
    ordered = members[np.argsort(speakers_N[members], kind="stable")]
    _, starts, counts = np.unique(speakers_N[ordered], return_index=True, return_counts=True)
    return ordered, starts, counts


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


def _need(members: np.ndarray, least: int) -> None:
    if len(members) < least:
        what = "speakers" if least > 1 else "utterances"
        raise NotEnoughSpeakers(
            f"got {len(members)} {what} to draw batches from; {least} or more are needed. Add recordings, or "
            'set data.short_utterances = "repeat" if short ones were left out.'
        )
