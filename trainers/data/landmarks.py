"""The layout of MediaPipe features: which columns belong to which named group.

Standard library only. A frame has 543 landmarks of 3 coordinates; the full width is the 1,629 raw
columns, their velocity, their acceleration, and the raw columns again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

RAW = 1629
FULL = 4 * RAW
LANDMARKS = RAW // 3

SIZES = {"pose": 99, "face": 1404, "left_hand": 63, "right_hand": 63}
"""Number of columns of each group."""

ORDERS = {
    "pose-face-hands": ("pose", "face", "left_hand", "right_hand"),
    "pose-hands-face": ("pose", "left_hand", "right_hand", "face"),
}
"""Name of a layout to the order in which an extractor writes the groups."""


class BadLayout(ValueError):
    """A layout does not cover each raw column exactly once."""


@dataclass(frozen=True)
class Layout:
    """The range [first, end) of raw columns of each group. Raises BadLayout."""

    groups: dict[str, tuple[int, int]]

    def __post_init__(self) -> None:
        if set(self.groups) != set(SIZES):
            raise BadLayout(f"the groups are {', '.join(SIZES)}, not {', '.join(self.groups)}")
        spans = sorted((*span, name) for name, span in self.groups.items())
        ends = [0, *(end for _, end, _ in spans)]
        for index, (first, end, name) in enumerate(spans):
            if first != ends[index] or end - first != SIZES[name]:
                raise BadLayout(
                    f"{name} is {first}:{end}; it has {SIZES[name]} columns and begins at {ends[index]}"
                )

    @classmethod
    def named(cls, name: str) -> "Layout":
        """Create the layout with this name in ORDERS."""
        groups, start = {}, 0
        for group in ORDERS[name]:
            groups[group] = (start, start + SIZES[group])
            start += SIZES[group]
        return cls(groups)

    @classmethod
    def from_dict(cls, value: dict[str, Sequence[int]]) -> "Layout":
        """Create a layout from the result of `as_dict`. Raises BadLayout."""
        try:
            return cls({name: (int(first), int(end)) for name, (first, end) in value.items()})
        except (AttributeError, TypeError, ValueError) as fault:
            raise BadLayout(f"a layout maps each group to [first, end]: {fault}") from fault

    def as_dict(self) -> dict[str, list[int]]:
        """The layout as JSON for index and manifest."""
        return {name: list(span) for name, span in self.groups.items()}

    @property
    def name(self) -> str:
        """The layout's name in ORDERS, or the names of its groups in order, joined by `-`."""
        order = tuple(sorted(self.groups, key=lambda group: self.groups[group]))
        return next((name for name, known in ORDERS.items() if known == order), "-".join(order))

    def columns(self, *groups: str) -> list[slice]:
        """The column slice of each group."""
        return [slice(*self.groups[group]) for group in groups]
