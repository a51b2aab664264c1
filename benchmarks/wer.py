"""The official word errors compared with those of NIST's sclite, on annotations with noisy hypotheses.

python -m benchmarks.wer CORPUS SCRIPTS    CORPUS: PHOENIX-2014 or 2014-T, as for the data folder `phoenix`;
                                           SCRIPTS: a folder with the corpus's preprocess.sh, mergectmstm.py;
                                           needs sclite (Debian: sctk)
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from trainers.data import phoenix
from trainers.tasks import wer

NOISE = (0.0, 0.1, 0.3, 1.0)


def main() -> None:
    corpus, scripts = Path(sys.argv[1]), Path(sys.argv[2]).absolute()
    sclite = shutil.which("sclite") or "/usr/lib/sctk/bin/sclite"
    for protocol, files in phoenix.protocols(corpus).items():
        sentences = sorted(phoenix.read(files), key=lambda sentence: sentence.id)
        for split in ("val", "test"):
            chosen = [sentence for sentence in sentences if sentence.split == split]
            for noise in NOISE:
                said = noisy(chosen, noise)
                errors = [wer.official_errors(s.annotation, said[s.id], protocol) for s in chosen]
                ours = tuple(sum(column) for column in zip(*errors, strict=True))
                theirs = counts(sclite, scripts, chosen, said, protocol)
                verdict = "equal" if ours == theirs else "different"
                sys.stdout.write(f"{protocol} {split} {noise}: {ours}, sclite {theirs}: {verdict}\n")


def noisy(sentences: list[phoenix.Sentence], noise: float) -> dict[str, list[str]]:
    """A hypothesis per sentence: its glosses with the given share of substitutions, deletions, insertions."""
    draw = random.Random(0)
    words = sorted({gloss for sentence in sentences for gloss in sentence.glosses})
    said: dict[str, list[str]] = {}
    for sentence in sentences:
        said[sentence.id] = []
        for gloss in sentence.glosses:
            chance = draw.random()
            if chance >= noise / 3:
                said[sentence.id].append(draw.choice(words) if chance < 2 * noise / 3 else gloss)
            if chance > 1 - noise / 3:
                said[sentence.id].append(draw.choice(words))
    return said


def counts(
    sclite: str, scripts: Path, sentences: list[phoenix.Sentence], said: dict[str, list[str]], protocol: str
) -> tuple[int, ...]:
    """Substitutions, deletions, insertions and words, as the official evaluation counts them."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        stm = "".join(f"{s.id} 1 s 0.0 1.79769e+308 {s.annotation}\n" for s in sentences)
        ctm = "".join(
            f"{id} 1 {at / 100:.2f} 0.01 {gloss}\n"
            for id, glosses in said.items()
            for at, gloss in enumerate(glosses)
        )
        (place / "raw.stm").write_text(stm)
        (place / "raw.ctm").write_text(ctm)
        clean = f"bash {scripts}/preprocess.sh"
        references = "cp raw.stm out.stm" if protocol == "14t" else f"{clean} raw.stm tmp out.stm"
        steps = (
            f"{references} && {clean} raw.ctm tmp out.ctm && sort -k1,1 -o out.stm out.stm "
            f"&& {sys.executable} {scripts}/mergectmstm.py out.ctm out.stm"
        )
        subprocess.run(
            ["bash", "-c", steps],
            cwd=place,
            check=True,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        command = [sclite, "-h", "out.ctm", "ctm", "-r", "out.stm", "stm", "-f", "0", "-o", "dtl", "stdout"]
        text = subprocess.run(command, cwd=place, check=True, capture_output=True, text=True).stdout
    edits = (re.search(rf"Percent {kind}\w*\s*=.*\(\s*(\d+)\)", text) for kind in ("Sub", "Del", "Ins"))
    numbers = [*edits, re.search(r"Ref\. words\s*=.*\(\s*(\d+)\)", text)]
    return tuple(int(number[1]) for number in numbers if number)


if __name__ == "__main__":
    main()
