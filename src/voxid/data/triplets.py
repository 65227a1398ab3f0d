"""Which utterances make the batch of a step: a pure function of (seed, step), so resume needs no state."""

# N utterances, B triplets of a batch

from __future__ import annotations

import numpy as np

from voxid.errors import NotEnoughSpeakers


def generator(seed: int, step: int, purpose: int, rank: int = 0) -> np.random.Generator:
    """Return the random numbers of one step and one purpose; nothing else ever draws from them.

    Every process of a training with several has its own, by its rank.
    """
    return np.random.default_rng([seed, step, purpose, rank] if rank else [seed, step, purpose])


TRIPLETS, CROPS, TORCH, AUGMENT, ROWS, SPEEDS, WAVES, WINDOW = range(8)  # purposes


class TripletSampler:
    """Draws triplets (anchor, positive, negative) of utterance numbers.

    As in the original, speakers are drawn uniformly, however much they spoke: the anchor's speaker among
    those with two utterances or more, the negative's among all others. A triplet costs the same for any N.

    `speakers_N` are speaker numbers; `allowed_N` (optional) leaves utterances out. Raise NotEnoughSpeakers
    when there is no pair of one speaker, or no second speaker.

    >>> sampler = TripletSampler(np.array([0, 0, 1]), triplets=4, seed=0)
    >>> sampler.batch(0)[:, 2].tolist()  # speaker 1 has one utterance: always the negative
    [2, 2, 2, 2]
    """

    def __init__(
        self, speakers_N: np.ndarray, triplets: int, seed: int, allowed_N: np.ndarray | None = None
    ) -> None:
        self.triplets = triplets
        self.seed = seed
        numbers = np.arange(len(speakers_N)) if allowed_N is None else np.flatnonzero(allowed_N)
        speakers = speakers_N[numbers]
        by_speaker = np.argsort(speakers, kind="stable")
        self._utterances = numbers[by_speaker]  # utterance numbers, speaker after speaker
        _, self._starts, self._counts = np.unique(speakers[by_speaker], return_index=True, return_counts=True)
        self._pairable = np.flatnonzero(self._counts >= 2)
        if len(self._counts) < 2 or not len(self._pairable):
            raise NotEnoughSpeakers(
                f"got {len(numbers)} utterances of {len(self._counts)} speakers, {len(self._pairable)} of "
                "them with two or more. Triplets need two speakers, and one of them with two utterances: add "
                "recordings, or check that the corpus' layout was read as you meant it."
            )

    def batch(self, step: int) -> np.ndarray:
        """Return utterance numbers, int64 (B, 3): anchor and positive of one speaker, negative of another."""
        rng = generator(self.seed, step, TRIPLETS)
        same_B = self._pairable[rng.integers(len(self._pairable), size=self.triplets)]
        other_B = _skip(rng.integers(len(self._counts) - 1, size=self.triplets), same_B)
        anchor_B = rng.integers(self._counts[same_B])
        positive_B = _skip(rng.integers(self._counts[same_B] - 1), anchor_B)
        negative_B = rng.integers(self._counts[other_B])
        speaker_B3 = np.stack([same_B, same_B, other_B], axis=1)
        place_B3 = np.stack([anchor_B, positive_B, negative_B], axis=1)
        return self._utterances[self._starts[speaker_B3] + place_B3]


def _skip(draw_B: np.ndarray, taken_B: np.ndarray) -> np.ndarray:
    """Turn uniform draws from n - 1 values into uniform draws from n values without `taken`."""
    return draw_B + (draw_B >= taken_B)
