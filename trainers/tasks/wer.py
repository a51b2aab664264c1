"""Word error rate: substitutions, deletions and insertions. Standard library only."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Errors(NamedTuple):
    """Edits of a least-cost alignment, and the reference's number of words; sentences can be added up."""

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def edits(self) -> int:
        """The sum of substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Edits per reference word, which can exceed 1; for an empty reference 0 or 1."""
        return self.edits / self.words if self.words else float(self.edits > 0)


def errors(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> Errors:
    """Count the edits that turn the reference into the hypothesis (Levenshtein distance).

    Where several alignments cost the same, the one with the most substitutions is counted.
    """
    # A cell is (cost, substitutions, deletions, insertions).
    above = [(i, 0, 0, i) for i in range(len(hypothesis) + 1)]
    for row, expected in enumerate(reference, 1):
        line = [(row, 0, row, 0)]
        for column, actual in enumerate(hypothesis, 1):
            cost, s, d, i = above[column - 1]
            best = (cost, s, d, i) if expected == actual else (cost + 1, s + 1, d, i)
            cost, s, d, i = above[column]
            if cost + 1 < best[0]:
                best = (cost + 1, s, d + 1, i)
            cost, s, d, i = line[column - 1]
            if cost + 1 < best[0]:
                best = (cost + 1, s, d, i + 1)
            line.append(best)
        above = line
    _, s, d, i = above[-1]
    return Errors(s, d, i, len(reference))
