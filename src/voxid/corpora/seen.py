"""What has been met before, in 18 to 36 bytes an entry, so that millions of recordings can be compared."""

from __future__ import annotations

from array import array


class Seen:
    """Which row first had a digest. Two different digests pass for one with odds of n^2 / 2^65.

    >>> seen = Seen()
    >>> seen.add(b"sixteen bytes...", row=7)
    >>> seen.find(b"sixteen bytes..."), seen.find(b"another digest..")
    (7, None)
    """

    def __init__(self) -> None:
        self._count = 0
        self._resize(1 << 10)

    def __len__(self) -> int:
        return self._count

    def find(self, digest: bytes) -> int | None:
        """Return the row that was added with `digest` (its first 8 bytes count), None when there is none."""
        slot = self._slot(_key(digest))
        return self._rows[slot] if self._keys[slot] else None

    def add(self, digest: bytes, row: int) -> None:
        """Remember `row` for `digest`, unless there is one already."""
        key = _key(digest)
        slot = self._slot(key)
        if self._keys[slot]:
            return
        self._keys[slot], self._rows[slot] = key, row
        self._count += 1
        if 3 * self._count > 2 * len(self._keys):
            keys, rows = self._keys, self._rows
            self._resize(2 * len(keys))
            for key, row in zip(keys, rows, strict=True):
                if key:
                    slot = self._slot(key)
                    self._keys[slot], self._rows[slot] = key, row

    def _resize(self, slots: int) -> None:
        self._keys = array("Q", bytes(8 * slots))  # 0 marks a free slot
        self._rows = array("i", bytes(4 * slots))

    def _slot(self, key: int) -> int:
        """Return the slot of `key`, or the free slot where it belongs (open addressing, linear probing)."""
        mask = len(self._keys) - 1
        slot = key & mask
        while self._keys[slot] not in (0, key):
            slot = (slot + 1) & mask
        return slot


def _key(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little") or 1
