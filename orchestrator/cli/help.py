"""The help pages: commands in groups, two examples each, nothing cut. Plain text: Rich is not loaded."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from orchestrator import __version__
from orchestrator.cli import equivalents
from orchestrator.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])
Row = tuple[str, str]
Section = tuple[str, list[Row]]
_OF_TYPER = ("help", "install_completion", "show_completion")
_WIDEST, _NARROWEST = 100, 40
_NAME_COLUMN = 24
_TEXT_COLUMN = 28
"""A text that would get fewer columns than this starts on the line below its name."""


def command(app: typer.Typer, name: str, *examples: str, **settings: Any) -> Callable[[Function], Function]:
    """Registers a function as the command `name`; `examples` are what follows `gpujob ` in a shell."""
    return app.command(name, cls=settings.pop("cls", Command), epilog="\n".join(examples), **settings)


def _flag(*names: str, help: str, callback: Callable[..., None], is_eager: bool = False) -> TyperOption:
    return TyperOption(
        param_decls=list(names),
        is_flag=True,
        default=False,
        expose_value=False,
        is_eager=is_eager,
        callback=callback,
        help=help,
    )


def _sets(attribute: str) -> Callable[..., None]:
    """Sets an attribute of the Context when the flag is present, before or after the command."""

    def callback(ctx: typer.Context, _: TyperOption, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            setattr(ctx.obj, attribute, True)

    return callback


def _print_version(ctx: typer.Context, _: TyperOption, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.obj.out(f"gpujob {__version__}")
        raise typer.Exit


GLOBAL_OPTIONS = (
    _flag("--quiet", "-q", help="Print only results, warnings and errors.", callback=_sets("quiet")),
    _flag("--verbose", "-v", help="Print step times and the log path too.", callback=_sets("verbose")),
    _flag("--debug", help="Print the traceback of an error.", callback=_sets("debug")),
    _flag("--version", "-V", help="Print the version and exit.", callback=_print_version, is_eager=True),
)


class _NamesItself:
    """A usage error of the parser names the command whose help explains it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            words: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
            return words
        except Exception as error:
            if hasattr(error, "format_message") and getattr(error, "ctx", None) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise


class Command(_NamesItself, TyperCommand):
    """A command with the global options, and with our help page."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.params = [*self.params, *GLOBAL_OPTIONS]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = super().parse_args(ctx, args)
        for param in self.params:
            value = ctx.params.get(param.name)
            if value == "" or (isinstance(value, (list, tuple)) and "" in value):
                shown = (
                    param.human_readable_name.strip("[].") if param.param_type_name == "argument" else None
                )
                raise UsageError(
                    f"{shown or param.opts[0]} is empty",
                    "a variable of your shell may not be set",
                    f"{ctx.command_path} --help",
                )
        return words

    def get_help(self, ctx: Any) -> str:
        return _page(self, ctx, [])


class WithCommand(Command):
    """A command that takes the words of another program after `--`; they are in `ctx.meta`."""

    KEY = "gpujob.command"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[self.KEY], args = args[at + 1 :], args[:at]
        return super().parse_args(ctx, args)


class Group(_NamesItself, TyperGroup):
    """The same for a command that has commands. A command of another tool is answered with ours."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.params = [*self.params, *GLOBAL_OPTIONS]

    def get_help(self, ctx: Any) -> str:
        sections: dict[str, list[Row]] = {}
        for name, child in self.commands.items():
            summary = (child.help or "").partition("\n")[0]
            panel: str | None = getattr(child, "rich_help_panel", None)
            sections.setdefault(panel or "Commands", []).append((name, summary))
        return _page(self, ctx, list(sections.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        path = ctx.command_path.partition(" ")[2]
        if args and args[0] not in self.commands and (ours := equivalents.find(path, args[0])):
            raise UsageError(f"{ctx.command_path} has no command {args[0]!r}", "", ours)
        return super().resolve_command(ctx, args)


def _page(command: Command | Group, ctx: typer.Context, commands: list[Section]) -> str:
    width = max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))
    lines = _usage(command, ctx, width)
    for paragraph in (command.help or "").split("\n\n"):
        lines += ["", *_wrapped(" ".join(paragraph.split()), width, "  ", "  ")]
    for sections in (commands, _parameters(command, ctx)):
        column = min(_NAME_COLUMN, max((len(name) for _, rows in sections for name, _ in rows), default=0))
        for title, rows in sections:
            lines += ["", f"{title}:", *_table(rows, column, width)]
    if command.epilog:
        lines += ["", "Examples:"]
        for example in command.epilog.splitlines():
            lines += _wrapped(f"gpujob {example}", width, "  ", "      ")
    return "\n".join(lines)


def _usage(command: Command | Group, ctx: typer.Context, width: int) -> list[str]:
    arguments = [
        name if param.required else f"[{name.strip('[]')}]"
        for param in command.params
        if isinstance(param, TyperArgument) and (name := param.human_readable_name)
    ]
    last = "COMMAND [ARGS]..." if isinstance(command, Group) else ""
    last = "[-- COMMAND...]" if isinstance(command, WithCommand) else last
    words = ["Usage:", ctx.command_path, "[OPTIONS]", *arguments, last]
    return _wrapped(" ".join(filter(None, words)), width, "", "  ")


def _parameters(command: Command | Group, ctx: typer.Context) -> list[Section]:
    arguments: list[Row] = []
    options: list[Row] = []
    general: list[Row] = []
    for param in command.get_params(ctx):
        if isinstance(param, TyperArgument):
            arguments.append((param.human_readable_name.strip("[]"), param.help or ""))
        elif isinstance(param, TyperOption) and not param.hidden:
            is_general = param in GLOBAL_OPTIONS or param.name in _OF_TYPER
            (general if is_general else options).append((_names(param), param.help or ""))
    sections = [("Arguments", arguments), ("Options", options), ("Global options", general)]
    return [section for section in sections if section[1]]


def _names(param: TyperOption) -> str:
    names = ", ".join(sorted(param.opts, key=len))
    return names if param.is_flag else f"{names} {param.metavar or ''}".rstrip()


def _table(rows: Iterable[Row], column: int, width: int) -> list[str]:
    lines = []
    for name, text in rows:
        indent = " " * (column + 4)
        if width - len(indent) < _TEXT_COLUMN:
            lines += [f"  {name}", *_wrapped(text, width, "      ", "      ")]
        elif len(name) > column:
            lines += [f"  {name}", *_wrapped(text, width, indent, indent)]
        else:
            lines += _wrapped(text, width, f"  {name:{column}}  ", indent)
    return lines


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    wrapper = textwrap.TextWrapper(
        width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )
    return wrapper.wrap(text) or [first.rstrip()]
