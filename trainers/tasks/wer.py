"""Word error rate: substitutions, deletions and insertions. Standard library only."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from trainers.data import phoenix_scoring


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
    """Count the edits that turn the reference into the hypothesis (Levenshtein distance)."""
    return _align(reference, hypothesis, 1, 1)


def pairs(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str]]:
    """The words of a least-cost alignment in order: (expected, actual); one is empty if it has no other."""
    costs = [list(range(len(hypothesis) + 1))]
    for row, expected in enumerate(reference, 1):
        line, above = [row], costs[-1]
        for column, actual in enumerate(hypothesis, 1):
            single = min(line[-1], above[column]) + 1
            line.append(min(single, above[column - 1] + (expected != actual)))
        costs.append(line)
    row, column, aligned = len(reference), len(hypothesis), list[tuple[str, str]]()
    while row or column:
        cost = costs[row][column]
        expected, actual = reference[row - 1] if row else "", hypothesis[column - 1] if column else ""
        if row and column and cost == costs[row - 1][column - 1] + (expected != actual):
            row, column = row - 1, column - 1
        elif column and cost == costs[row][column - 1] + 1:
            column, expected = column - 1, ""
        else:
            row, actual = row - 1, ""
        aligned.append((expected, actual))
    return aligned[::-1]


def sclite_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    """Count the edits of the alignment that NIST's sclite chooses, which ignores case.

    A substitution costs 4, a deletion or an insertion 3, so that it may need more edits than `errors`.
    """
    return _align([word.lower() for word in reference], [word.lower() for word in hypothesis], 4, 3)


def official_errors(annotation: str, hypothesis: Sequence[str], protocol: str) -> Errors:
    """The errors of one sentence as the official evaluation of its corpus counts them."""
    reference = phoenix_scoring.reference(annotation, protocol)
    return sclite_errors(reference, phoenix_scoring.hypothesis(hypothesis))


def _align(reference: Sequence[Hashable], hypothesis: Sequence[Hashable], pair: int, single: int) -> Errors:
    """The edits of a least-cost alignment: `pair` is the cost of a substitution, `single` of the others.

    Where several cost the same, a pair of words is preferred to an insertion, and that to a deletion.
    """
    # A cell is (cost, substitutions, deletions, insertions).
    above = [(single * i, 0, 0, i) for i in range(len(hypothesis) + 1)]
    for row, expected in enumerate(reference, 1):
        line = [(single * row, 0, row, 0)]
        for column, actual in enumerate(hypothesis, 1):
            cost, s, d, i = above[column - 1]
            best = (cost, s, d, i) if expected == actual else (cost + pair, s + 1, d, i)
            cost, s, d, i = line[column - 1]
            if cost + single < best[0]:
                best = (cost + single, s, d, i + 1)
            cost, s, d, i = above[column]
            if cost + single < best[0]:
                best = (cost + single, s, d + 1, i)
            line.append(best)
        above = line
    _, s, d, i = above[-1]
    return Errors(s, d, i, len(reference))
