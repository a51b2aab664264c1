"""Code, configuration, data and environment of the runs of a report, and the commands that repeat them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.core import rundetails, shell
from orchestrator.core.rundetails import RunDetails, TreeDetails
from orchestrator.core.text import counted, size
from orchestrator.view.report.html import Html, details, section, table, tag

if TYPE_CHECKING:
    from orchestrator.view.report.page import ReportRun


def sections(runs: Sequence[ReportRun]) -> Iterator[Html]:
    if len(runs) > 1:
        yield section("Configuration", *_differences(runs))
    yield section("Provenance", *(_provenance(run, is_open=len(runs) == 1) for run in runs))
    yield section("Reproduce", *(tag("pre", reproduce(run)) for run in runs))


def _differences(runs: Sequence[ReportRun]) -> Iterator[Html]:
    """What differs first; what is the same in all runs is folded."""
    configs = [dict(rundetails.flat(run.details.config)) for run in runs]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    different = [key for key in keys if len({shown(config.get(key)) for config in configs}) > 1]
    if different:
        rows = [[run.id, *(shown(c.get(k)) for k in different)] for run, c in zip(runs, configs, strict=True)]
        yield table(["run", *different], rows)
    else:
        yield tag("p", "All runs have the same configuration.", class_="dim")
    same = [[key, shown(configs[0].get(key))] for key in keys if key not in different]
    if same:
        yield details(f"the same in all runs: {len(same)}", table(["key", "value"], same, class_="facts"))


def _provenance(run: ReportRun, is_open: bool) -> Html:
    record = run.details
    rows = [[name, value] for name, value in facts(record) if value]
    rows += [[f"config.{key}", shown(value)] for key, value in rundetails.flat(record.config)]
    rows += [
        [f"data {name}", f"{counted(data.files, 'file')}, {size(data.bytes)}, fingerprint {data.fingerprint}"]
        for name, data in record.data.items()
    ]
    content = table(["what", "value"], rows, class_="facts")
    return content if is_open else details(run.id, content)


def facts(record: RunDetails) -> Iterator[tuple[str, str]]:
    """Names and values; environment variables by name alone, since a value may be a secret."""
    python = record.python
    yield "job file", record.source
    yield "started by", record.who or ""
    yield "client", f"gpujob {record.client}" if record.client else ""
    yield "command", shell.show_command(list(record.argv))
    yield "code", tree(record.code)
    yield "trainers", tree(record.trainers)
    yield "Python", f"{python.version} at {python.path}" if python else ""
    yield "PyTorch", f"{python.torch}, CUDA {python.cuda or 'none'}" if python and python.torch else ""
    yield "packages", ", ".join(python.packages) if python else ""
    yield "variables", ", ".join(sorted({*record.env, *record.pass_env} - {"PATH", "PYTHONPATH"}))


def tree(code: TreeDetails | None) -> str:
    if code is None:
        return ""
    commit = f", commit {code.commit}" if code.commit else ", not from a commit"
    return f"{code.tree[:16]}{commit}{' with changes' if code.dirty else ''}"


def reproduce(run: ReportRun) -> str:
    """The commands that start the same training again."""
    record, lines = run.details, []
    if record.code and record.code.commit:
        if record.code.dirty:
            lines.append(
                f"# the code had changes that are not in this commit; its tree is {record.code.tree[:16]}"
            )
        lines.append(shell.join(["git", "checkout", record.code.commit]))
    words = ["gpujob", "deploy", record.source or record.job or "JOB"]
    if run.target and not run.is_fetched:
        words += ["--on", run.target]
    for key, value in rundetails.flat(record.config):
        words += ["--set", f"config.{key}={shown(value)}"]
    for name, data in record.data.items():
        if data.source:
            words += ["--data", f"{name}={data.source}"]
    return "\n".join([*lines, shell.join(words)])


def shown(value: Any) -> str:
    """A value as --set takes it."""
    return value if isinstance(value, str) and value else json.dumps(value)
