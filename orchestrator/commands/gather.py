"""Gathers what a plan is made of: the job's code and data on the client, then the facts of the host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from orchestrator import __version__, files, gitignore, source
from orchestrator.commands import codechecks, environment, s3
from orchestrator.commands.jobs import Job
from orchestrator.context import Context
from orchestrator.core import commandchecks, hostchecks
from orchestrator.core.credentials import has_credential_name, is_of_credentials
from orchestrator.core.hostfacts import FolderFacts, HostFacts
from orchestrator.core.inputs import CodeTree, DataInput, Identity, PlanInputs, run_id
from orchestrator.errors import UsageError
from orchestrator.onhost import folders
from orchestrator.redirection import output_files
from orchestrator.scope import Scope, require_narrow
from orchestrator.settings_files import Setting
from orchestrator.source import Digests, Source
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Target


def new_identity(ctx: Context, job: str) -> Identity:
    now, token = ctx.now(), ctx.token()
    return Identity(run_id(job, now, token), now, ctx.who, token, __version__)


def digests(ctx: Context) -> Digests:
    return Digests(ctx.state_dir / "digests", ctx.now)


def sources(ctx: Context, job: Job, settings: Mapping[str, Setting]) -> dict[str, Source]:
    """The code trees that the job needs, by role, as they are on the client."""
    trees = {}
    if folder := job.code_folder:
        scope = _scope(ctx, job, ctx.path(settings["root"].value))
        trees["job"] = source.read(folder, digests(ctx), scope)
    if job.spec.trainer:
        trees["trainers"] = source.package(files.trainers_folder())
    return trees


def collect(
    ctx: Context,
    job: Job,
    trees: dict[str, Source],
    target: Target,
    *,
    share_gpu: bool = False,
    queue: bool = False,
) -> PlanInputs:
    """What the client knows, before a host was asked anything; see `with_facts`."""
    is_local, spec = target.is_local, job.spec
    codes = {role: _code(role, tree) for role, tree in trees.items()}
    names = [name for name in job.data if is_local or name not in job.on_host]
    notes = list[str]()
    data = tuple(
        s3.data_input(ctx, job, name) if name in job.in_s3 else _data(ctx, job, name, is_local, notes)
        for name in names
    )
    messages, imports = job.file.notes, tuple[str, ...]()
    if (code := trees.get("job")) is not None:
        messages += code.notes
        if spec.command:
            messages += codechecks.require(job, code, is_local)
            imports = () if spec.image else codechecks.frameworks(job, code)
    return PlanInputs(
        job=spec,
        source=job.file.source,
        target=target.label,
        identity=new_identity(ctx, spec.name),
        facts=None,
        code=codes.get("job"),
        trainers=codes.get("trainers"),
        data=data,
        warnings=(*messages, *notes),
        imports=imports,
        share_gpu=share_gpu,
        queue=queue,
        requirements=job.env.requirements,
        packages=job.packages,
        variables=job.env.variables,
        setup=environment.read_setup(job.file, trees, job.env.variables) if spec.setup else None,
        survives_logout=target.survives_logout,
    )


def with_facts(inputs: PlanInputs, host: Host, job: Job) -> PlanInputs:
    """The same inputs, with the host's facts and its own data folders, in one request."""
    facts = _facts(host, job, inputs)
    known = {data.name: data for data in inputs.data}
    data = tuple(
        known.get(name) or _on_host(host, job, name, facts.data_folders.get(name)) for name in job.data
    )
    complete = replace(inputs, target=host.label, facts=facts, data=data)
    if not complete.job.command:
        return complete
    python = hostchecks.choose(facts, complete)
    return replace(complete, warnings=inputs.warnings + commandchecks.warnings(complete, python))


def _facts(host: Host, job: Job, inputs: PlanInputs) -> HostFacts:
    spec, packages, commands = inputs.job, list(job.packages), list[str]()
    brings_own = bool(job.env.requirements is not None or spec.setup)  # an environment, with its commands
    pythons = list[str]()
    if spec.command:
        pythons = commandchecks.interpreters(spec) if inputs.imports else []
        packages += commandchecks.packages(inputs.imports)
        commands = [] if brings_own or spec.image else commandchecks.commands(spec)
    if spec.trainer or brings_own:
        pythons = host.pythons() if spec.env.python == "auto" else [spec.env.python]
    return helper.facts(
        host,
        pythons,
        gpus=bool(spec.resources.gpus),
        trees=[code.tree for code in inputs.trees],
        packages=packages,
        commands=commands,
        uploads={data.name: data.fingerprint for data in inputs.data if data.is_stored},
        folders={} if host.is_local else job.on_host,
        image=spec.image,
    )


def require_no_host_data(job: Job, target: Target) -> None:
    """UsageError for `host:` data where the host does not exist yet."""
    for name in job.on_host:
        raise _no_folder(job, name, target.label)


def _data(ctx: Context, job: Job, name: str, is_local: bool, notes: list[str]) -> DataInput:
    """`notes` gets a line about files that are not sent."""
    path, upload = str(job.data[name]), not is_local
    what = f"{job.file.where('data', name)}: data.{name}"
    if upload:
        require_narrow(job.data[name], ctx.home, what, f"--data {name}=FOLDER that holds the data alone")
    names, aims, litter = list[str](), list[str](), list[str]()
    looked_at = {"on_file": names.append, "on_link": aims.append, "on_litter": litter.append}
    try:
        folder = folders.describe(name, path, to_send=upload, **(looked_at if upload else {}))
    except folders.BadLink as error:
        raise UsageError(
            f"{what} cannot be sent: {error}",
            "links are sent as the files that they lead to",
            f"repair or remove {path}/{error.link}",
        ) from None
    wrong = sorted(one for one in names if has_credential_name(one))
    wrong += sorted(f"a link to {aim}" for aim in aims if has_credential_name(aim) or is_of_credentials(aim))
    if wrong:
        why = f"files that look like credentials are not sent: {', '.join(wrong[:5])}"
        raise UsageError(f"{what} cannot be sent: it holds {wrong[0]}", why, f"move it out of {path}")
    if litter:
        first = ", ".join(sorted(litter)[:3]) + (f" and {len(litter) - 3} more" if len(litter) > 3 else "")
        notes.append(f"data.{name}: what systems and programs leave in folders is not sent: {first}")
    return DataInput(name, path, folder.files, folder.bytes, folder.fingerprint, upload, Path(path).is_file())


def _scope(ctx: Context, job: Job, root: Path) -> Scope:
    """What is not sent of the job's code folder."""
    for index, pattern in enumerate(job.spec.exclude):
        if not gitignore.is_pattern(pattern):
            what = f"{job.file.where('exclude', str(index))}: exclude: {pattern!r} is no pattern"
            raise UsageError(what, "patterns are written as in .gitignore", "correct or remove that line")
    return Scope(
        exclude=tuple(job.spec.exclude),
        send_credentials=tuple(job.spec.send_credentials),
        outputs=output_files([ctx.stdout, ctx.stderr]),
        own=(ctx.state_dir, ctx.config_file.parent, root),
        home=ctx.home,
        env=ctx.env,
    )


def _on_host(host: Host, job: Job, name: str, folder: FolderFacts | None) -> DataInput:
    if folder is None:
        raise _no_folder(job, name, host.label)
    return DataInput(name, folder.path, folder.files, folder.bytes, folder.fingerprint)


def _no_folder(job: Job, name: str, target: str) -> UsageError:
    what = f"{job.file.where('data', name)}: there is no {job.on_host[name]} on {target}"
    return UsageError(what, "data at host:PATH is used in place", f"--data {name}=PATH")


def _code(role: str, of: Source) -> CodeTree:
    tree = of.tree
    return CodeTree(role, tree.hash, len(tree.entries), tree.size, of.commit, of.dirty, of.patch)
