"""Per-feature normalisation, fitted on the training split and applied exactly once.

z = (x - mean) / std with std = max(std, 1e-3 * median(std)), so that features that hardly vary are not
amplified.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np

FLOOR = 1e-3
"""The minimum std, as a fraction of the median std."""

TAG = "z-score per feature, train split"


class NormalisedTwice(Exception):
    """Features that are already normalised were to be normalised again."""


class Sample(Protocol):
    """A frozen dataclass with features (T, F); `normalised` names the applied normalisation, or is None."""

    @property
    def features(self) -> np.ndarray: ...

    @property
    def normalised(self) -> str | None: ...


S = TypeVar("S", bound=Sample)


def digest(names: Iterable[str]) -> str:
    """The SHA-256 of a set of names, independent of their order."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()


def floored(std: np.ndarray) -> np.ndarray:
    """Standard deviations (F,) raised to at least FLOOR times their median."""
    least = FLOOR * float(np.median(std))
    return np.asarray(np.maximum(std, least if least > 0 else 1.0))


@dataclass(frozen=True)
class Normaliser:
    """Mean and std (F,) float32, and a hash of the names of the samples they were computed from."""

    mean: np.ndarray
    std: np.ndarray
    fitted_on: str

    def apply(self, sample: S) -> S:
        """A copy of the sample with normalised features, marked as normalised. Raises NormalisedTwice."""
        if sample.normalised is not None:
            raise NormalisedTwice(f"already normalised by: {sample.normalised}")
        values = (sample.features - self.mean) / self.std
        return replace(sample, features=values, normalised=TAG)  # type: ignore[type-var]

    def as_dict(self) -> dict[str, Any]:
        """The statistics as JSON for the manifest; float32 values are preserved exactly."""
        return {
            "kind": TAG,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "fitted_on": self.fitted_on,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Normaliser":
        """Create a normaliser from the result of `as_dict`.

        Raises ValueError for another kind, and for other than two equally long lists with each std above 0.
        """
        if value["kind"] != TAG:
            raise ValueError(f"this version knows no normalisation `{value['kind']}`")
        mean, std = (np.array(value[key], dtype=np.float32) for key in ("mean", "std"))
        if (
            mean.ndim != 1
            or mean.shape != std.shape
            or not np.isfinite([mean, std]).all()
            or (std <= 0).any()
        ):
            raise ValueError(f"mean {mean.shape} and std {std.shape} are no statistics")
        return cls(mean, std, value["fitted_on"])


def fit(arrays: Iterable[np.ndarray], names: Sequence[str]) -> Normaliser:
    """Compute the statistics over all time steps of arrays (T, F); `names` are the samples' names."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for values in arrays:
        wide = values.astype(np.float64)
        count += len(wide)
        total = total + wide.sum(0)
        squares = squares + np.square(wide).sum(0)
    mean = total / count
    std = floored(np.sqrt(np.maximum(squares / count - np.square(mean), 0.0)))
    return Normaliser(mean.astype(np.float32), std.astype(np.float32), digest(names))
