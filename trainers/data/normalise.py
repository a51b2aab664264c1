"""Per-feature normalisation: fitted on the training split, applied exactly once.

z = (x - mean) / std with std = max(std, 1e-3 * median(std)): a feature that hardly varies must not
be blown up.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np

FLOOR = 1e-3
"""The least std, as a share of the median one."""

TAG = "z-score per feature, train split"


class NormalisedTwice(Exception):
    """Features came to the normalisation that had gone through it."""


class Sample(Protocol):
    """A frozen dataclass with features (T, F) and the mark of who normalised them."""

    @property
    def features(self) -> np.ndarray: ...

    @property
    def normalised(self) -> str | None: ...


S = TypeVar("S", bound=Sample)


def digest(names: Iterable[str]) -> str:
    """A hash of a set of names, whatever their order."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()


def floored(std: np.ndarray) -> np.ndarray:
    """Standard deviations (F,) with the least one raised to the floor."""
    least = FLOOR * float(np.median(std))
    return np.asarray(np.maximum(std, least if least > 0 else 1.0))


@dataclass(frozen=True)
class Normaliser:
    """Mean and std (F,) float32, and a hash of the samples they were taken from."""

    mean: np.ndarray
    std: np.ndarray
    fitted_on: str

    def apply(self, sample: S) -> S:
        """The sample with z-scored features and the mark. Raises NormalisedTwice."""
        if sample.normalised is not None:
            raise NormalisedTwice(f"already normalised by: {sample.normalised}")
        values = (sample.features - self.mean) / self.std
        return replace(sample, features=values, normalised=TAG)  # type: ignore[type-var]

    def as_dict(self) -> dict[str, Any]:
        """For the manifest; a float32 survives JSON exactly."""
        return {
            "kind": TAG,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "fitted_on": self.fitted_on,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Normaliser":
        """Back from the manifest."""
        if value["kind"] != TAG:
            raise ValueError(f"this version knows no normalisation `{value['kind']}`")
        mean, std = (np.array(value[key], dtype=np.float32) for key in ("mean", "std"))
        return cls(mean, std, value["fitted_on"])


def fit(arrays: Iterable[np.ndarray], names: Sequence[str]) -> Normaliser:
    """Statistics over all time steps of the (T, F) arrays, which belong to `names`."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for values in arrays:
        wide = values.astype(np.float64)
        count += len(wide)
        total = total + wide.sum(0)
        squares = squares + np.square(wide).sum(0)
    mean = total / count
    std = floored(np.sqrt(np.maximum(squares / count - np.square(mean), 0.0)))
    return Normaliser(mean.astype(np.float32), std.astype(np.float32), digest(names))
