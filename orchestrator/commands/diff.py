"""`gpujob diff RUN RUN2`: what differs in code, configuration, data, environment and metrics."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.commands import collect
from orchestrator.commands.collect import RunData
from orchestrator.context import Context
from orchestrator.core import rundetails, shell
from orchestrator.core.rundetails import RunDetails, TreeDetails
from orchestrator.core.text import counted
from orchestrator.errors import Exit, UsageError
from orchestrator.view import compare_answers as answers
from orchestrator.view.console import Paint, print_table

GROUPS = ("code", "config", "data", "environment", "metrics")
_UNCHANGED = ("PATH", "PYTHONPATH", "VIRTUAL_ENV")  # follow from the environment and the trainers' code
Facts = dict[tuple[str, str], str]


def diff(ctx: Context, first: str, second: str, on: str | None) -> int:
    """0 whether or not they differ."""
    pair: list[RunData] = []
    collect.visit(ctx, [first, second], on, pair.append)
    if pair[0].id == pair[1].id:
        raise UsageError(f"{first} and {second} are the same run", pair[0].id, "gpujob runs")
    left, right = (dict(facts(data)) for data in pair)
    keys = sorted({**left, **right}, key=lambda key: (GROUPS.index(key[0]), key[1]))
    changed = [
        answers.Difference(group=key[0], what=key[1], a=left.get(key), b=right.get(key))
        for key in keys
        if left.get(key) != right.get(key)
    ]
    same = len(keys) - len(changed)
    if ctx.json:
        ctx.answer(answers.Diff(a=pair[0].id, b=pair[1].id, differences=tuple(changed), same=same))
        return Exit.DONE
    _print(ctx, pair, changed, same)
    return Exit.DONE


def facts(data: RunData) -> Iterator[tuple[tuple[str, str], str]]:
    """What is compared, by group and name. The values of variables may be secret and are not shown."""
    record = data.details
    yield from _code(record)
    for key, value in rundetails.flat(record.config):
        yield ("config", key), str(value)
    for name, part in record.data.items():
        yield ("data", name), f"{part.fingerprint[:16]} ({counted(part.files, 'file')}, {part.bytes} bytes)"
    yield from _environment(data)
    for name, number in collect.latest_metrics(data.facts.events).items():
        yield ("metrics", name), f"{number:.6g}"


def _code(record: RunDetails) -> Iterator[tuple[tuple[str, str], str]]:
    yield ("code", "command"), shell.show_command(list(record.argv))
    yield ("code", "trainer"), record.trainer or "none"
    for name, tree in (("tree", record.code), ("trainers", record.trainers)):
        if isinstance(tree, TreeDetails):
            yield ("code", name), tree.tree[:16]
            if name == "tree":
                yield ("code", "commit"), (tree.commit or "none") + (" with changes" if tree.dirty else "")


def _environment(data: RunData) -> Iterator[tuple[tuple[str, str], str]]:
    record = data.details
    python = msgspec.to_builtins(record.python) if record.python else {}
    for name, value in python.items():
        shown = f"{len(value.splitlines())} lines" if name == "requirements" and value else value
        yield ("environment", f"python.{name}"), str(shown)
    for name in {*record.env, *record.pass_env}.difference(_UNCHANGED):
        yield ("environment", f"variable {name}"), f"set ({_mark(record.env.get(name, ''))})"
    for name, value in rundetails.flat(msgspec.to_builtins(record.resources)):
        yield ("environment", f"resources.{name}"), str(value)
    if record.image:
        yield (
            ("environment", "image"),
            f"{record.image.name} ({record.image.id.removeprefix('sha256:')[:16]})",
        )
    yield ("environment", "client"), record.client or "unknown"
    yield ("environment", "target"), data.target


def _mark(value: str) -> str:
    """Tells values apart without showing them."""
    import hashlib  # noqa: PLC0415

    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:6]


def _print(ctx: Context, pair: list[RunData], changed: list[answers.Difference], same: int) -> None:
    paint = Paint(ctx.env, ctx.stdout)
    for group in GROUPS:
        rows = [[one.what, one.a or "-", one.b or "-"] for one in changed if one.group == group]
        if rows:
            ctx.out(paint(group, "bold"))
            print_table(ctx, [["", pair[0].id, pair[1].id], *rows])
    if not changed:
        ctx.out("nothing differs")
    ctx.talk(f"{len(changed)} differ, {same} are the same")
    commits = [data.details.code.commit if data.details.code else None for data in pair]
    if all(commits) and commits[0] != commits[1]:
        ctx.talk(f"the code: git diff {commits[0]} {commits[1]}")
