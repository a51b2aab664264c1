"""The names of MediaPipe's blendshapes, in its order, and of the emotions. Standard library only.

The order is that of the Face Landmarker's output: `_neutral`, then ARKit's 51 in alphabetical order.
"""


def _pairs(*stems: str) -> tuple[str, ...]:
    return tuple(f"{stem}{side}" for stem in stems for side in ("Left", "Right"))


ALL = (
    "_neutral",
    *_pairs("browDown"),
    "browInnerUp",
    *_pairs("browOuterUp"),
    "cheekPuff",
    *_pairs("cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp"),
    *_pairs("eyeSquint", "eyeWide"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose"),
    *_pairs("mouthDimple", "mouthFrown"),
    *("mouthFunnel", "mouthLeft"),
    *_pairs("mouthLowerDown", "mouthPress"),
    *("mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper"),
    *_pairs("mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer"),
)

_CHOSEN = (*range(1, 6), *range(9, 21), 25, 30, 31, *range(34, 39), 40, 42, *range(44, 50))

SETS: dict[int, tuple[str, ...]] = {
    33: tuple(ALL[i] for i in _CHOSEN),
    34: tuple(ALL[i] for i in sorted((*_CHOSEN, 24))),
    52: ALL,
}
"""Maps each value of the option `columns` to blendshape names. The sets of 33 and 34 vary with emotion."""

FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The emotions in the order of FER2013's label numbers, 0 to 6."""

_FERPLUS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
_AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
_RAF_DB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")

LABEL, GROUP, SPLIT, FILE = "label", "group", "split", "file"
EXTRA = (LABEL, GROUP, SPLIT, FILE)
"""Columns that are not blendshapes. Only `label` is required."""

OTHER = "unknown"
LABELS = (*FER2013, "contempt", OTHER)

NUMBERS: dict[str, dict[str, str]] = {
    "none": {},
    "fer2013": {str(i): name for i, name in enumerate(FER2013)},
    "ferplus": dict(zip("01234567", _FERPLUS, strict=True)),
    "affectnet": dict(zip("01234567", _AFFECTNET, strict=True)),
    "raf-db": dict(zip("1234567", _RAF_DB, strict=True)),
    "raf-db-0": dict(zip("0123456", _RAF_DB, strict=True)),
}
"""Each data set's label numbers and their emotions: values of the option `label_numbers`."""

SPELLINGS = {
    **{name: name for name in EXTRA},
    **dict.fromkeys(("path", "paths", "filename", "image"), FILE),
    **dict.fromkeys(
        ("file_name", "filepath", "file_path", "image_path", "image_id", "subdirectory_filepath"), FILE
    ),
    **dict.fromkeys(("emotion", "class", "target", "expression"), LABEL),
    **dict.fromkeys(("usage", "set", "subset", "partition"), SPLIT),
    **dict.fromkeys(
        ("subject", "subject_id", "person", "person_id", "actor", "participant", "identity"), GROUP
    ),
}
"""Other names of the columns EXTRA, in lower case."""

COUNTED = tuple(f"b{i}" for i in range(52))
"""Names that some files give to the 52 blendshapes, in MediaPipe's order."""
