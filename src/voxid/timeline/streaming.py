"""A conversation as it is heard: samples in, turns out as they settle.

What is speech settles `HOLD_S` after it was heard, who talks in a window `WAIT_S` after it began to answer:
by then so much of the next window was heard that a change of speaker is seen from both sides. Windows lie
where those of the file do. Speakers are clustered as those of a file are; what is settled is kept together,
so nothing grows with the length but the embeddings, about 1 kB a second.

# S samples, T frames of 10 ms, W windows, K speakers, I items to be clustered, D embedding
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import NamedTuple

import numpy as np

from voxid.audio.speech import FRAME_S, SpeechMeter, net_s
from voxid.scoring import Calibration, Cohort, Side, unit_rows
from voxid.scoring.evidence import llr_table
from voxid.timeline.clustering import smoothed
from voxid.timeline.speakers import CHANGE, CLEAR_S, LEAST_SPEAKER_S, TRUST, cluster_sides, joined_means
from voxid.timeline.turns import TURN_PAUSE_S
from voxid.timeline.windows import BRIDGE_S, WINDOW_S, Windows, at_samples, laid, stretches_of
from voxid.types import SAMPLE_RATE

BLOCK_S = 0.2  # how often it looks
HOLD_S = 0.2
WAIT_S = 1.6
LATENCY_S = BLOCK_S + HOLD_S + WAIT_S  # a turn is told at most so long after its end
FIRST_S = 2.0  # before so much is heard, nobody knows how loud speech is
LEVELS_S = 60.0  # to twice that: how far back the levels of speech and room are measured
LOOSE_S = 60.0  # how long windows of a voice with little speech wait for more of it
CONTEXT = 8  # settled windows that the next ones are smoothed with
SETTLED_LLR = 20.0  # for who talks in these
KEPT_S = 1.0  # samples from so long before the first window that is not settled
UNLIKE_LLR = -1.0  # with every speaker so far: then less speech than usual makes a new one
NOBODY = -1


class Window(NamedTuple):
    """A window of the stream: seconds, the time it answers for, net speech of both, its embedding."""

    start_s: float
    end_s: float
    slot: tuple[float, float]
    net_s: float
    speech_s: float
    emb_D: np.ndarray


@dataclass(slots=True)
class LiveTurn:
    """A turn before it has a name: the windows of one speaker, by the speaker's number; None is a new one."""

    speaker: int | None
    start_s: float
    end_s: float = 0.0
    windows: list[Window] = field(default_factory=list)
    sure: list[float] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """How sure it is that this speaker of the stream talks here."""
        return float(np.mean(self.sure))

    @property
    def side(self) -> Side:
        """What its windows together sound like."""
        return together(self.windows)

    def goes_on(self, one: _Ahead) -> bool:
        """Whether a window is more of this turn."""
        return one.who == self.speaker and one.window.slot[0] - self.end_s < TURN_PAUSE_S

    def add(self, one: _Ahead) -> None:
        """Take one more window."""
        self.windows.append(one.window)
        self.sure.append(one.sure)
        self.end_s = one.window.slot[1]


class _Ahead(NamedTuple):
    """Who talks in a window that is not settled (None is somebody new), and whether it tells of the voice."""

    window: Window
    who: int | None
    sure: float
    own: bool


class _Speech:
    """What is speech: a frame settles `HOLD_S` after it was heard, and then stays as it is."""

    def __init__(self) -> None:
        self.settled = bytearray()
        self._heard = 0
        self._meters = [(0, SpeechMeter())]

    def add(self, wave_S: np.ndarray) -> None:
        """Take a block of whole frames, the last one aside."""
        if (self._heard - self._meters[-1][0]) * FRAME_S >= LEVELS_S:
            self._meters = [self._meters[-1], (self._heard, SpeechMeter())]
        for _, meter in self._meters:
            meter.add(wave_S)
        self._heard += round(wave_S.size / SAMPLE_RATE / FRAME_S)
        if self._heard * FRAME_S >= FIRST_S:
            self.settle(self._heard - round(HOLD_S / FRAME_S))

    def settle(self, upto: int | None = None) -> None:
        """Settle the frames up to one, or all that were heard."""
        begin, meter = self._meters[0]
        mask_T = meter.mask()[len(self.settled) - begin :]
        more = len(mask_T) if upto is None else max(0, upto - len(self.settled))
        self.settled += mask_T[:more].tobytes()


class LiveSpeaker:
    """The windows of one speaker of a stream, and what they sound like together."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self.windows = list(windows)

    def add(self, windows: Iterable[Window]) -> None:
        """Take more windows."""
        self.windows += windows
        for kept in ("side", "mean"):
            self.__dict__.pop(kept, None)

    @cached_property
    def side(self) -> Side:
        """What this speaker is compared by."""
        return together(self.windows)

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean of the unit-length embeddings."""
        return unit_rows(np.stack([window.emb_D for window in self.windows])).mean(axis=0)


class Live:
    """The speakers of a stream. `add` takes samples at 16 kHz and returns the turns that have settled.

    `speakers` has the voice of each, `known` the embeddings of all windows so far, as `windows_of` takes
    them.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[np.ndarray]], np.ndarray],
        calibration: Calibration,
        cohort: Cohort | None,
    ) -> None:
        self._embed, self._calibration, self._cohort = embed, calibration, cohort
        self.known: dict[tuple[int, int], np.ndarray] = {}
        self.speakers: dict[int, LiveSpeaker] = {}
        self.heard_s = 0.0
        self._speech, self._numbers = _Speech(), count()
        self._block_S = np.zeros(0, np.float32)  # less than a block
        self._wave_S, self._at = np.zeros(0, np.float32), 0  # samples that are still needed, and where
        self._from, self._taken = 0, 0  # the frame where unsettled speech begins; windows of it that are
        self._loose: list[Window] = []  # settled, of a voice that had too little speech to be a speaker
        self._new: list[Window] = []  # those of them that are the voice of somebody new
        self._context: list[tuple[Window, int]] = []
        self._ahead: list[_Ahead] = []
        self._open: LiveTurn | None = None
        self._keeps_on = False  # the open turn has the next window, whatever that turns out to sound like

    def add(self, wave_S: np.ndarray) -> list[LiveTurn]:
        """Return the turns that have settled after more samples, in order."""
        self._block_S, size = np.concatenate((self._block_S, wave_S)), round(BLOCK_S * SAMPLE_RATE)
        found: list[LiveTurn] = []
        while self._block_S.size >= size:
            self._hear(self._block_S[:size])
            self._block_S = self._block_S[size:]
            found += self._look(last=False)
        return found

    def end(self) -> list[LiveTurn]:
        """Return the turns that were not settled when the stream ended."""
        self._hear(self._block_S)
        self._speech.settle()
        return self._look(last=True)

    @property
    def net_speech_s(self) -> float:
        """Seconds of speech so far."""
        return sum(self._speech.settled) * FRAME_S

    @property
    def talking(self) -> LiveTurn | None:
        """Who talks now: the turn that is open, with what is not settled of it; None in a pause."""
        turn = self._open and replace(self._open, windows=[*self._open.windows], sure=[*self._open.sure])
        for one in self._ahead:
            if turn is None or not turn.goes_on(one):
                turn = LiveTurn(one.who, one.window.slot[0])
            turn.add(one)
        return turn

    def _hear(self, wave_S: np.ndarray) -> None:
        self._wave_S = np.concatenate((self._wave_S, wave_S))
        self.heard_s += wave_S.size / SAMPLE_RATE
        self._speech.add(wave_S)

    def _look(self, last: bool) -> list[LiveTurn]:
        """Return the turns that have settled since it last looked."""
        at_s = len(self._speech.settled) * FRAME_S
        mask_T = np.frombuffer(bytes(self._speech.settled[self._from :]), bool)
        stretches = stretches_of(mask_T, self.heard_s, self._from)
        silent_s = at_s - stretches[-1][1] if stretches else np.inf
        over, growing = last or silent_s >= TURN_PAUSE_S, not last and silent_s < BRIDGE_S
        slots, pool = self._laid(stretches)
        final = len(pool) - growing  # the last window of speech that goes on will be another one
        due = final if over else sum(slot[0] + WAIT_S <= at_s for *_, slot in pool[:final])
        is_late = self._open is not None and not self._keeps_on and self._open.end_s + WAIT_S <= at_s
        if due or is_late:
            self._ahead = self._decided(self._embedded(pool, mask_T))
        found: list[LiveTurn] = []
        for _ in range(due):
            found += self._settled(self._ahead.pop(0))
        self._taken += due
        if self._open is not None and (over or (is_late and not due)):
            self._keeps_on = not over and bool(self._ahead) and self._open.goes_on(self._ahead[0])
            if not self._keeps_on:
                found.append(self._open)
                self._open = None
        if over:
            self._from, self._taken, self._ahead = len(self._speech.settled), 0, []
        elif due < len(pool):  # stretches that have settled are not looked at again
            first_s = pool[due][2][0] + FRAME_S / 2
            begin_s = max(start for start, _ in stretches if start <= first_s)
            self._from = round(begin_s / FRAME_S)
            self._taken -= sum(start < begin_s - FRAME_S / 2 for start in slots)
        needed_s = min([at_s - WINDOW_S, *(start for start, *_ in pool[due : due + 1])]) - KEPT_S
        gone = max(0, int(needed_s * SAMPLE_RATE) - self._at)
        self._wave_S, self._at = self._wave_S[gone:], self._at + gone
        return found

    def _laid(
        self, stretches: list[tuple[float, float]]
    ) -> tuple[list[float], list[tuple[float, float, tuple[float, float]]]]:
        """Return where the slots of all windows begin; and start, end and slot of those not settled."""
        if not stretches:
            return [], []
        start_W, end_W, slot_WE = laid(stretches, self.heard_s)
        rows = zip(start_W.tolist(), end_W.tolist(), map(tuple, slot_WE.tolist()), strict=True)
        return slot_WE[:, 0].tolist(), list(rows)[self._taken :]

    def _embedded(
        self, rows: list[tuple[float, float, tuple[float, float]]], mask_T: np.ndarray
    ) -> list[Window]:
        """Return windows with their embeddings."""
        if not rows:
            return []
        start_W, end_W, slot_WE = (np.array(column) for column in zip(*rows, strict=True))
        keys = list(zip(*at_samples(start_W, end_W), strict=True))
        if new := [key for key in keys if key not in self.known]:
            waves = [self._wave_S[first - self._at : after - self._at] for first, after in new]
            self.known |= zip(new, self._embed(waves), strict=True)
        begin_s = self._from * FRAME_S
        net_W = net_s(mask_T, *(slot_WE.T - begin_s)).tolist()
        speech_W = np.maximum(net_s(mask_T, start_W - begin_s, end_W - begin_s), FRAME_S).tolist()
        return [
            Window(*row, net, speech, self.known[key])
            for row, net, speech, key in zip(rows, net_W, speech_W, keys, strict=True)
        ]

    def _decided(self, pool: list[Window]) -> list[_Ahead]:
        """Return who talks in each window that is not settled."""
        if not pool:
            return []
        clear = [window for window in pool if window.speech_s >= CLEAR_S]
        loose = [*self._loose, *(clear if clear or self.speakers else pool)]
        label_L, number_of = self._clustered(loose)
        states: dict[int | None, Side] = {number: own.side for number, own in self.speakers.items()}
        net_C = np.bincount(label_L, [window.net_s for window in loose], minlength=1)
        net_C[[label for label in number_of if label < net_C.size]] = -1
        new = int(net_C.argmax())
        some = [window for window, label in zip(loose, label_L, strict=True) if label == new]
        if some and (not states or net_C[new] >= LEAST_SPEAKER_S or self._is_unlike(some)):
            states[None], number_of[new] = together(some), None
        own = {
            window.start_s: number_of.get(label, NOBODY)
            for window, label in zip(loose, label_L.tolist(), strict=True)
        }
        self._new = [window for window in self._loose if own[window.start_s] is None]
        order = list(states)
        context = [(window, number) for window, number in self._context if number in states]
        windows = _windows_of([*(window for window, _ in context), *pool])
        sides = _side_by_side(states.values())
        fits_WK = llr_table(self._calibration, windows.side, sides, self._cohort)
        for w, (_, number) in enumerate(context):  # that is settled
            fits_WK[w] = np.where(np.arange(len(order)) == order.index(number), SETTLED_LLR, -SETTLED_LLR)
        post_WK = smoothed(fits_WK, windows.pause_s, change=CHANGE, trust=TRUST)[len(context) :]
        best = [(order[int(post_K.argmax())], float(post_K.max())) for post_K in post_WK]
        return [
            _Ahead(window, who, sure, own.get(window.start_s, NOBODY) == who)
            for window, (who, sure) in zip(pool, best, strict=True)
        ]

    def _is_unlike(self, some: list[Window]) -> bool:
        """Whether little speech is enough: it is clearly nobody who has talked so far."""
        sides = _side_by_side(own.side for own in self.speakers.values())
        return bool(llr_table(self._calibration, together(some), sides, self._cohort).max() < UNLIKE_LLR)

    def _clustered(self, loose: list[Window]) -> tuple[np.ndarray, dict[int, int | None]]:
        """Return the clusters of loose windows, and whose they are; speakers of one cluster become one."""
        voices = list(self.speakers.values())
        means = [own.mean for own in voices] + [unit_rows(window.emb_D[None])[0] for window in loose]
        weight_I = np.array([*(len(own.windows) for own in voices), *[1] * len(loose)], float)
        label_I = joined_means(np.stack(means), weight_I, self._calibration, self._cohort)
        number_of: dict[int, int | None] = {}
        for number, label in zip(list(self.speakers), label_I.tolist(), strict=False):
            kept = number_of.setdefault(label, number)
            if kept is not None and kept != number:
                self.speakers[kept].add(self.speakers.pop(number).windows)
                self._context = [(window, kept if n == number else n) for window, n in self._context]
                if self._open is not None and self._open.speaker == number:
                    self._open.speaker = kept
        return label_I[len(voices) :], number_of

    def _settled(self, one: _Ahead) -> list[LiveTurn]:
        """Return the turn that ended before a window, if one did; the window is its speaker's from now on."""
        if self._keeps_on and self._open is not None:  # as was decided when the turn would have been late
            one = one._replace(who=self._open.speaker, own=one.own and one.who == self._open.speaker)
        self._keeps_on, number = False, one.who
        if number is None:  # somebody new, from now on known by a number
            number = next(self._numbers)
            self.speakers[number] = LiveSpeaker(self._new)
            gone = {window.start_s for window in self._new}
            self._loose, self._new = [w for w in self._loose if w.start_s not in gone], []
            self._ahead = [a._replace(who=number) if a.who is None else a for a in self._ahead]
        if one.own or not self.speakers[number].windows:
            self.speakers[number].add([one.window])
        elif one.window.speech_s >= CLEAR_S:
            self._loose.append(one.window)
        since_s = one.window.start_s - LOOSE_S
        self._loose = [window for window in self._loose if window.start_s >= since_s]
        self._context = [*self._context[1 - CONTEXT :], (one.window, number)]
        one, ended = one._replace(who=number), []
        if self._open is None or not self._open.goes_on(one):
            if self._open is not None:
                if one.window.slot[0] - self._open.end_s < BRIDGE_S:
                    self._open.end_s = one.window.slot[0]
                ended = [self._open]
            self._open = LiveTurn(number, one.window.slot[0])
        self._open.add(one)
        return ended


def together(windows: Sequence[Window]) -> Side:
    """Return what the windows of one speaker are compared by."""
    return cluster_sides(_windows_of(windows), np.zeros(len(windows), int))


def _windows_of(rows: Sequence[Window]) -> Windows:
    start_W, end_W, slot, net_W, speech_W, emb = zip(*rows, strict=True)
    side = Side.of(np.stack(emb), np.array(speech_W))
    return Windows(np.array(start_W), np.array(end_W), np.array(slot), np.array(net_W), side)


def _side_by_side(sides: Iterable[Side]) -> Side:
    """Return sides as one value, each worth one clip."""
    joined = Side.joined(sides)
    return Side.of(joined.emb_ND, joined.speech_s_N)
