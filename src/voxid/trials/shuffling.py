"""Random orders that need no memory: the place of any item is computed, not looked up.

A pseudo-random permutation: a Feistel network (Luby and Rackoff, 1988) on the smallest even number of bits
that holds the range, walked on while it leads outside (Black and Rogaway, 2002).

# K items
"""

from __future__ import annotations

import numpy as np

ROUNDS = 10  # 4 are enough for large ranges; in ranges of a dozen items some orders would be too frequent
CHUNK = 1 << 20  # items computed together
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def keys(seed: int, purpose: int, number_K: np.ndarray) -> np.ndarray:
    """Return a uint64 key for each number; seeds and purposes give unrelated keys."""
    base = np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0]
    return _hash(np.asarray(number_K).astype(np.uint64) * _GOLDEN + base)


def shuffled(place_K: np.ndarray, size_K: np.ndarray, key_K: np.ndarray) -> np.ndarray:
    """Return which of `size` items stands at `place` in the random order of `key`, int64 (K,).

    Places run from 0 to size - 1; for one key and size every item stands at exactly one place.

    >>> key = keys(seed=1, purpose=0, number_K=np.zeros(5))
    >>> sorted(shuffled(np.arange(5), np.full(5, 5), key).tolist())
    [0, 1, 2, 3, 4]
    """
    item_K = np.asarray(place_K).astype(np.int64)
    size_K, key_K = np.broadcast_to(size_K, item_K.shape), np.broadcast_to(key_K, item_K.shape)
    for begin in range(0, item_K.size, CHUNK):
        now = slice(begin, begin + CHUNK)
        item_K[now] = _walk(item_K[now].astype(np.uint64), size_K[now].astype(np.uint64), key_K[now])
    return item_K


def _walk(item_K: np.ndarray, size_K: np.ndarray, key_K: np.ndarray) -> np.ndarray:
    """Return the items after as many turns of the network as lead back into the range; in place."""
    bits_K = np.ceil(np.log2(np.maximum(size_K, 2).astype(np.float64)) / 2).astype(np.uint64)
    todo = np.arange(item_K.size)
    while todo.size:
        item_K[todo] = _feistel(item_K[todo], bits_K[todo], key_K[todo])
        todo = todo[item_K[todo] >= size_K[todo]]
    return item_K


def _feistel(item_K: np.ndarray, bits_K: np.ndarray, key_K: np.ndarray) -> np.ndarray:
    mask_K = (np.uint64(1) << bits_K) - np.uint64(1)
    high_K, low_K = item_K >> bits_K, item_K & mask_K
    for turn in range(ROUNDS):
        mixed_K = _hash((low_K * np.uint64(ROUNDS) + np.uint64(turn)) * _GOLDEN + key_K)
        high_K, low_K = low_K, high_K ^ (mixed_K & mask_K)
    return (high_K << bits_K) | low_K


def _hash(value_K: np.ndarray) -> np.ndarray:
    """Return well mixed bits of each value: the finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    value_K = (value_K ^ (value_K >> np.uint64(30))) * _MIX[0]
    value_K = (value_K ^ (value_K >> np.uint64(27))) * _MIX[1]
    return value_K ^ (value_K >> np.uint64(31))
