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

LABEL, GROUP, SPLIT, FILE = "label", "group", "split", "file"
EXTRA = (LABEL, GROUP, SPLIT, FILE)
"""Columns that are not blendshapes. Only `label` is required."""

OTHER = "unknown"
LABELS = (*FER2013, OTHER)
