"""`internvl COMMAND ...`: finds the command, runs it, turns errors into one line and an exit code.

Each command is a plain function `command(...)` with Typer annotations in `internvl/cli/<name>.py`, or several of
them in a table SUBCOMMANDS with a HELP of them all; this file knows only their names and one-line
descriptions, so that `internvl --help` imports none of them.

Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Abort, TyperException

from internvl.errors import InternVLError
from internvl.version import __version__

#: Name of the command (and of its module in this package) -> the first line of its docstring.
COMMANDS = {
    "chat": "Ask about pictures and videos: one question, or a conversation.",
    "serve": "Serve OpenAI's API over one model.",
    "demo": "Ask about pictures in a browser.",
    "batch": "Answer a file of requests: OpenAI batch lines in, answers out.",
    "data": "Make training data: generated samples, and pairs of answers.",
    "train": "Train or fine-tune a model as a recipe (TOML) says.",
    "eval": "Measure a model: known questions, figures, a report of failures.",
    "models": "List the released checkpoints and the memory that each needs.",
    "plan": "Show what a request costs before it runs: tiles, tokens, memory.",
    "doctor": "Check machine and installation, and say how to mend each problem.",
    "convert": "Rewrite a checkpoint in the other layout: GitHub or transformers.",
}

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


class _LazyCommand(TyperCommand):
    """A line in the list of commands; its module is imported when it is run or its own help is asked for."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        assert self.name is not None
        module = importlib.import_module(f"internvl.cli.{self.name}")
        app = typer.Typer(add_completion=False, rich_markup_mode=_markup_mode())
        subcommands = getattr(module, "SUBCOMMANDS", None)
        if subcommands is None:
            app.command(self.name, help=module.command.__doc__)(module.command)
        else:
            app.callback(help=module.HELP)(_no_options)
            for name, function in subcommands.items():
                app.command(name, help=function.__doc__)(function)
        command = typer.main.get_command(app)
        if _markup_mode():
            _escape_markup(command)
        return command.make_context(info_name, args, parent=parent, **extra)


class _LazyGroup(TyperGroup):
    """The group of all commands, from the table."""

    def __init__(self, **attrs: Any) -> None:
        attrs["commands"] = {
            name: _LazyCommand(name=name, callback=None, help=text, rich_markup_mode=_markup_mode())
            for name, text in COMMANDS.items()
        }
        super().__init__(**attrs)


def _no_options() -> None:
    """What a group of subcommands does by itself."""


def _markup_mode() -> Any:
    """Boxes and colours for a terminal; plain text (and no import of rich) for a pipe or a file."""
    return "rich" if sys.stdout.isatty() else None


def _escape_markup(command: Any) -> None:
    """Keep brackets in help texts, e.g. "[default: the model's]", which rich would take for a style."""
    from rich.markup import escape

    for holder in (command, *command.params):
        if isinstance(getattr(holder, "help", None), str):
            holder.help = escape(holder.help)
    for subcommand in getattr(command, "commands", {}).values():
        _escape_markup(subcommand)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"internvl {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="INTERNVL_DEBUG", help="Show the traceback of an error.", show_default=False
        ),
    ] = False,
) -> None:
    """Run, serve, train and measure the InternVL family of vision-language models."""
    context.obj["debug"] = debug


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Without arguments: the help."""
    app = typer.Typer(cls=_LazyGroup, rich_markup_mode=_markup_mode())
    app.callback()(_options)
    settings = {"debug": False}
    try:
        result = typer.main.get_command(app).main(
            list(arguments) or ["--help"], prog_name="internvl", standalone_mode=False, obj=settings
        )
        sys.stdout.flush()
    except InternVLError as error:
        if settings["debug"]:
            raise
        _print_error(str(error))
        return EXIT_FAILED
    except TyperException as error:  # wrong usage: unknown command, option or value
        _print_error(error.format_message())
        context = getattr(error, "ctx", None)
        print(f"Try '{context.command_path if context else 'internvl'} --help'.", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone: what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return result if isinstance(result, int) else 0


def _print_error(message: str) -> None:
    """One line on stderr; its first word is red on a terminal."""
    typer.echo(typer.style("error:", fg="red", bold=True) + f" {message}", err=True)


def main() -> NoReturn:
    """Entry point of the `internvl` command and of `python -m internvl`."""
    sys.exit(run(sys.argv[1:]))
