"""Keys of groups (persons, actors, signers), so that two spellings of one name are one group.

Standard library only.
"""

import re
import unicodedata


def key(name: str) -> str:
    """The name without case, surrounding spaces and leading zeros; `12.0` is `12`, as pandas writes it."""
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    text = re.sub(r"^([0-9]+)\.0+$", r"\1", text)
    return re.sub(r"(?<![0-9.])0+(?=[0-9])", "", text)
