"""File names of RAVDESS and CREMA-D, and the six classes they share. Standard library only.

RAVDESS: https://zenodo.org/records/1188976, CREMA-D: https://github.com/CheyneyComputerScience/CREMA-D.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

DATASETS = ("ravdess", "crema")
CLASSES = ("angry", "disgust", "fearful", "happy", "neutral", "sad")

RAVDESS_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
CREMA_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
CREMA_SENTENCES = (
    *("IEO", "TIE", "IOM", "IWW", "TAI", "MTI"),
    *("IWL", "ITH", "DFA", "ITS", "TSI", "WSI"),
)

SYNONYMS = {
    "angry": ("angry", "anger", "ang"),
    "disgust": ("disgust", "disgusted", "disgusting", "dis"),
    "fear": ("fear", "fearful", "fea", "afraid", "scared"),
    "happy": ("happy", "happiness", "hap", "joy", "joyful"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised", "surprising", "sur"),
    "neutral": ("neutral", "neutrality", "neu"),
    "contempt": ("contempt", "contemptuous"),
}
"""The emotions of facial expression data sets, in the words of FER2013, and how others spell them."""

NEGATIONS = frozenset({"no", "non", "not", "without"})
"""Words that deny an emotion in the name of a folder."""

_MEANINGS = {word: emotion for emotion, words in SYNONYMS.items() for word in words}

KNOWN_BAD = {
    "1064_TIE_SAD_XX": "has no duration",
    "1076_MTI_SAD_XX": "shows an error picture",
    "1076_MTI_NEU_XX": "is very short",
    "1064_IEO_DIS_MD": "is a minute of all emotions",
}
"""CREMA-D files that its own README lists as broken."""

_RAVDESS = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])", re.ASCII)
_CREMA = re.compile(
    rf"(10(?!00)[0-8]\d|109[01])_({'|'.join(CREMA_SENTENCES)})_({'|'.join(CREMA_EMOTIONS)})"
    r"_(XX|LO|MD|HI)",
    re.ASCII,
)


class BadName(ValueError):
    """A file name is valid in neither data set's naming scheme."""


class _Named:
    """What the names of both data sets tell. Their fields are written in order, joined by `separator`."""

    dataset: ClassVar[str]
    separator: ClassVar[str]
    words: ClassVar[Mapping[str, str]]

    emotion: str
    person: str

    @property
    def emotion_name(self) -> str:
        """The emotion in words; `calm` and `surprised` of RAVDESS are not among the six classes."""
        return self.words[self.emotion]

    @property
    def actor(self) -> str:
        """The actor, with the data set as prefix."""
        return f"{self.dataset}-{self.person}"

    @property
    def stratum(self) -> str:
        """The stratum for splits: the data set, if names do not contain the sex."""
        return self.dataset

    @property
    def take(self) -> str:
        """The performance: the whole name."""
        return str(self)

    def __str__(self) -> str:
        return self.separator.join(vars(self).values())


@dataclass(frozen=True)
class Ravdess(_Named):
    """A RAVDESS name `MM-VV-EE-II-SS-RR-AA`; each field is the two digits of the name."""

    modality: str
    vocal: str
    emotion: str
    intensity: str
    statement: str
    repetition: str
    person: str

    dataset = "ravdess"
    separator = "-"
    words = RAVDESS_EMOTIONS

    @property
    def stratum(self) -> str:
        """The stratum for splits, by sex: actors with odd numbers are men."""
        return f"ravdess-{int(self.person) % 2}"

    @property
    def take(self) -> str:
        """The performance: the name without modality (01 and 02 show the same pictures)."""
        return str(self)[3:]


@dataclass(frozen=True)
class Crema(_Named):
    """A CREMA-D name such as `1001_DFA_ANG_XX`: actor, sentence, emotion, level."""

    person: str
    sentence: str
    emotion: str
    level: str

    dataset = "crema"
    separator = "_"
    words = CREMA_EMOTIONS


Name = Ravdess | Crema


def meaning(word: str) -> str:
    """The emotion in the words of SYNONYMS that a label means, such as happy for `Happiness`; else empty."""
    return _MEANINGS.get(word.strip().lower(), "")


def in_name(name: str) -> str:
    """The one emotion that a folder's name contains as a word, such as `1_Happiness`; else empty.

    A name that denies it, such as `not_happy`, means no emotion.
    """
    words = re.findall("[a-z]+", name.lower())
    known = {meaning(word) for word in words} - {""}
    return known.pop() if len(known) == 1 and not NEGATIONS & {*words} else ""


def parse(stem: str) -> Name:
    """Parse a file name without suffix, in either scheme. Raises BadName."""
    name: Name
    if match := _RAVDESS.fullmatch(stem):
        name = Ravdess(*match.groups())
        if name.emotion == "01" and name.intensity == "02":
            raise BadName(f"{stem}: neutral has no strong intensity in RAVDESS")
    elif match := _CREMA.fullmatch(stem):
        name = Crema(*match.groups())
    else:
        raise BadName(
            f"{stem} is neither MM-VV-EE-II-SS-RR-AA (RAVDESS) nor actor_sentence_emotion_level (CREMA-D)"
        )
    return name
