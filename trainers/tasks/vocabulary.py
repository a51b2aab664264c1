"""The vocabulary: glosses of the training split and their ids; id 0 is the blank.

Standard library only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

BLANK, UNKNOWN = "<blank>", "<unk>"


@dataclass(frozen=True)
class Vocabulary:
    """Maps glosses to ids and back. `words[0]` is the blank; `<unk>` exists only if requested."""

    words: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {word: id for id, word in enumerate(self.words)})
        if not self.words or self.words[0] != BLANK:
            raise ValueError(f"id 0 is {BLANK}, not {self.words[:1]}")
        if len(self._ids) != len(self.words):
            raise ValueError("a word appears twice in the vocabulary")

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], unknown: bool) -> "Vocabulary":
        """Create a vocabulary of the sentences' words in alphabetical order; with `unknown`, also `<unk>`."""
        words = sorted({word for sentence in sentences for word in sentence} - {BLANK, UNKNOWN})
        return cls((BLANK, *([UNKNOWN] if unknown else []), *words))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def targets(self, words: Sequence[str]) -> list[int]:
        """The ids of words, as a target for CTC; never contains the blank.

        An unknown word becomes `<unk>` if the vocabulary has it, else it is left out.
        """
        unknown = self._ids.get(UNKNOWN)
        ids = [self._ids.get(word, unknown) for word in words if word != BLANK]
        return [id for id in ids if id is not None]

    def missing(self, words: Sequence[str]) -> list[str]:
        """The words that are not in the vocabulary."""
        return [word for word in words if word not in self._ids]

    def glosses(self, ids: Iterable[int]) -> list[str]:
        """The words for ids."""
        return [self.words[id] for id in ids]
