"""Arguments and file names with shell syntax, sent over a real sshd."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.host.chaos import Line, Trials

EVIL = ["'", '"', "$(touch canary)", "`touch canary`", "\n", ";touch canary;", "&&touch canary", "|", "\\"]
EVIL += [
    "#",
    "~",
    "*",
    "$HOME",
    "-",
    " ",
    "é",
    "世",
    "{}",
    "!",
    "\r",
    "\t",
    "%s",
    "-e touch canary",
    "..",
    "=",
]
LETTER = st.characters(min_codepoint=33, max_codepoint=0xD7FF, exclude_categories=["C"])
WORD = st.lists(st.sampled_from(EVIL) | LETTER, max_size=6).map("".join)
NAME = WORD.filter(lambda name: name.strip(". \r\n\t") and "/" not in name)
NAMES = st.tuples(*[NAME] * 4, NAME.filter(lambda name: "\\" not in name)).map(list)  # no \ in an output
SEES = """
import json, os, sys
from pathlib import Path
def below(folder):
    files = [path for path in Path(folder).rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes().decode() for path in files}
config, env = json.loads(os.environ['GPUJOB_CONFIG']), os.environ
print(json.dumps([sys.argv[1:], config, below(env['GPUJOB_DATA_A']), below(env['GPUJOB_DATA_B'])]))
Path(config['out']).write_text('out')
"""


def deployed(line: Line, words: list[str], names: list[str], value: str) -> list[Any]:
    """Deploy a script with these arguments, folders and files; return what the script received."""
    base, there = line.client.project / "base", line.machine.home / names[0]
    shutil.rmtree(base, ignore_errors=True)
    code, data = base / names[1], base / f"{names[2]}.data"
    for folder in (code, data, there):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / names[3]).write_text(value, "utf-8", newline="")
    (code / "sees.py").write_text(SEES)
    keys = {"name": "words", "command": [sys.executable, "sees.py", *words], "code": f"./{names[1]}"}
    keys |= {"config": {value: words}, "data": {"a": f"./{data.name}", "b": f"host:~/{names[0]}"}}
    (base / "words.yaml").write_text(json.dumps(keys | {"outputs": [f"{names[4]}.out"]}))
    sets = (
        "--set",
        f"config.set={json.dumps(value)}",
        "--set",
        f"config.out={json.dumps(names[4] + '.out')}",
    )
    result = line.run("deploy", "base/words.yaml", *sets, "--follow")
    shutil.rmtree(there)
    assert result.code == 0, (result.err, keys)
    received: list[Any] = json.loads(result.out.splitlines()[-1])
    return received


def test_arguments_and_file_names_arrive_unchanged_without_shell_expansion(
    line: Line, trials: Trials
) -> None:
    @settings(
        max_examples=trials(2, 100),
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        database=None,
        suppress_health_check=[*HealthCheck],
        report_multiple_bugs=False,
    )
    @example(
        ["$(touch canary)", "; touch canary #", "' touch canary '"], ["$(touch canary)"] * 5, "`touch canary`"
    )
    @given(st.lists(WORD, max_size=4), NAMES, WORD)
    def tried(words: list[str], names: list[str], value: str) -> None:
        folder = {names[3]: value}
        expected = {value: words, "set": value, "out": f"{names[4]}.out"}
        assert deployed(line, words, names, value) == [words, expected, folder, folder]
        assert line.run("fetch", "--to", "got").code == 0
        assert (line.client.project / "got/outputs" / f"{names[4]}.out").read_text() == "out"
        shutil.rmtree(line.client.project / "got")
        assert [path for path in line.client.home.rglob("*") if path.name == "canary"] == []

    tried()
