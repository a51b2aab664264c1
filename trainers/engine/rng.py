"""Random numbers as pure functions of counters, so that a checkpoint needs no generator state.

The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
"""

import numpy as np

ORDER, INTERVAL, SAMPLE, WEIGHTS, CLIP, BALANCE, STEP = range(1, 8)
"""First counter of `derive_seed` for each use: order of an epoch, bootstrap, augmentation of a sample,
initial weights, clips of a video, balanced sampling, one optimizer step."""

GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def derive_seed(seed: int, *counters: int) -> int:
    """A 64-bit integer that depends on the seed, on every counter and on the order of the counters."""
    state = _mix((seed + GOLDEN) & _MASK)
    for counter in counters:
        state = _mix(((state ^ (counter & _MASK)) + GOLDEN) & _MASK)
    return state


def dropout_key(seed: int, epoch: int, index: int) -> int:
    """The 32-bit key for CounterDropout of one sample in one epoch."""
    return derive_seed(seed, SAMPLE, epoch, index) & 0xFFFFFFFF


def permutation(size: int, key: int) -> np.ndarray:
    """A permutation of 0..size-1 (int64) that is a pure function of `key`."""
    value = np.arange(size, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(key & _MASK)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(value ^ (value >> np.uint64(31)), kind="stable")
