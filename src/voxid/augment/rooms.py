"""Rooms that exist only as numbers: impulse responses of a shoebox by the image method, and a decaying tail.

Early reflections are exact: every image of the source in the walls (Allen and Berkley 1979), each at its
fractional delay. After TAIL_S the images are so many that they sound as noise does, so the rest is Gaussian
noise that decays at the reverberation time (Sabine's and Eyring's rule gives the walls the same one).

Shapes: S samples, I images, P taps of an interpolator, 3 the axes of the room.
"""

from __future__ import annotations

import numpy as np

from voxid.types import SAMPLE_RATE

SOUND_M_S = 343.0
TAIL_S = 0.05  # from here on, noise
MATCH_S = 0.02  # before it, over which the noise takes its loudness from the images
TAPS = 16  # of the windowed sinc that lays an image between two samples
FROM_WALL_M = 0.4
SIZE_M = np.array([[2.5, 2.5, 2.2], [9.0, 7.0, 3.6]])  # least and largest room


def random_room(rng: np.random.Generator, rt60_s: float, samples: int) -> np.ndarray:
    """Return the impulse response, float32 (S,), of a random room with a talker and a microphone in it."""
    size_3 = rng.uniform(*SIZE_M)
    source_3, microphone_3 = rng.uniform(FROM_WALL_M, size_3 - FROM_WALL_M, size=(2, 3))
    return room_response(size_3, source_3, microphone_3, rt60_s, samples, rng)


def room_response(
    size_3: np.ndarray,
    source_3: np.ndarray,
    microphone_3: np.ndarray,
    rt60_s: float,
    samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the impulse response, float32 (S,), between two points of a shoebox room (metres).

    `rt60_s` is the time in which the sound decays by 60 dB. Sample 0 is the moment the sound leaves the
    source; 1 is its pressure at one metre.
    """
    early = min(samples, round(TAIL_S * SAMPLE_RATE))
    reflectivity = wall_reflectivity(size_3, rt60_s)
    delay_I, gain_I = images(size_3, source_3, microphone_3, reflectivity, TAIL_S)
    response_S = np.zeros(samples)
    response_S[:early] = _lay(delay_I, gain_I, early)
    if samples > early:
        decay_S = 10 ** (-3 * np.arange(samples) / (rt60_s * SAMPLE_RATE))
        window = slice(max(0, early - round(MATCH_S * SAMPLE_RATE)), early)
        level = np.sqrt(np.mean((response_S[window] / decay_S[window]) ** 2))
        response_S[early:] = level * decay_S[early:] * rng.standard_normal(samples - early)
    return response_S.astype(np.float32)


def wall_reflectivity(size_3: np.ndarray, rt60_s: float) -> float:
    """Return the part of the pressure that walls reflect in a room of that reverberation time (Eyring)."""
    volume = float(np.prod(size_3))
    surface = 2 * float(size_3[0] * size_3[1] + size_3[1] * size_3[2] + size_3[0] * size_3[2])
    return float(np.exp(-0.5 * 0.161 * volume / (surface * rt60_s)))


def images(
    size_3: np.ndarray, source_3: np.ndarray, microphone_3: np.ndarray, reflectivity: float, seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (delay_I, gain_I) in samples and in pressure at one metre, of all images within `seconds`.

    >>> size, source, microphone = np.full(3, 5.0), np.array([1.0, 2.5, 2.5]), np.array([3.0, 2.5, 2.5])
    >>> delay, gain = images(size, source, microphone, 0.5, 0.01)
    >>> round(float(delay[0]) * 343 / 16_000, 9), float(gain[0])  # the source itself, 2 m away
    (2.0, 0.5)
    """
    reach = SOUND_M_S * seconds
    along, bounces = [], []
    for size, source, microphone in zip(size_3, source_3, microphone_3, strict=True):
        n = np.arange(-int(reach // (2 * size)) - 1, int(reach // (2 * size)) + 2)
        along.append(np.concatenate([2 * n * size + source, 2 * n * size - source]) - microphone)
        bounces.append(np.concatenate([np.abs(2 * n), np.abs(2 * n - 1)]))
    squares = [a.reshape(-1, *(1,) * (2 - axis)) ** 2 for axis, a in enumerate(along)]
    count = sum(b.reshape(-1, *(1,) * (2 - axis)) for axis, b in enumerate(bounces))
    distance = np.sqrt(squares[0] + squares[1] + squares[2])
    near = distance < reach
    distance_I, count_I = distance[near], np.asarray(count)[near]
    order = np.argsort(distance_I, kind="stable")
    distance_I = np.maximum(distance_I[order], 0.1)  # a mouth is no closer to a microphone
    return distance_I / SOUND_M_S * SAMPLE_RATE, reflectivity ** count_I[order] / distance_I


def _lay(delay_I: np.ndarray, gain_I: np.ndarray, samples: int) -> np.ndarray:
    """Return the sum of impulses at fractional delays, (S,): each a sinc under a Hann window."""
    first_I = np.floor(delay_I).astype(np.int64) - TAPS // 2 + 1
    place_IP = first_I[:, None] + np.arange(TAPS)
    away_IP = place_IP - delay_I[:, None]
    value_IP = gain_I[:, None] * np.sinc(away_IP) * np.cos(np.pi * away_IP / TAPS) ** 2
    inside = (place_IP >= 0) & (place_IP < samples)
    return np.bincount(place_IP[inside], value_IP[inside], minlength=samples)
