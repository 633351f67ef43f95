"""The `prefgen` command. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings

import typer

from prefgen.cli import (
    data,
    embedding,
    exporting,
    generating,
    measuring,
    profiles,
    publishing,
    starting,
    study,
    training,
)

app = typer.Typer(
    name="prefgen",
    help="Pictures made for one particular person, from the pictures they like and dislike.",
    epilog="Data go to stdout, everything else to stderr; every verb takes --json.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(generating.demo)
app.command()(generating.generate)
app.command()(starting.start)
app.add_typer(profiles.app, name="profile", help="Make, look at, change and share a person's profile.")
app.command()(profiles.explain)
app.command()(profiles.rank)
app.command()(exporting.export)
app.command()(publishing.push)
app.command()(embedding.embed)
app.command()(measuring.bench)
app.command()(measuring.probe)
app.command()(measuring.info)
app.add_typer(study.app, name="study", help="Ask people blindly which of two methods' pictures they prefer.")
app.command()(training.train)
app.add_typer(data.app, name="data", help="Bring people's opinions in from datasets, folders or simulated people.")

PERSONS_MISTAKE, OUR_MISTAKE, STOPPED = 2, 1, 130


def run(arguments: list[str] | None = None) -> None:
    """The console entry point: runs a verb, prints any error as `error:` and `hint:`, and exits."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # the libraries' advice to programmers; our own warnings are logged
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it looks for kernels on the hub as it is imported
    sys.exit(status_of(arguments))


def status_of(arguments: list[str] | None = None) -> int:
    """Runs a verb and returns the exit status: 0, 2 for a person's mistake, 1 for ours, 130 when stopped by Ctrl-C."""
    _quieten()
    try:
        result = app(args=arguments, prog_name="prefgen", standalone_mode=False)
    except KeyboardInterrupt:
        result = STOPPED
    except typer.Abort:
        result = STOPPED
    except Exception as error:
        return _told(error)
    if result == STOPPED:
        print("stopped", file=sys.stderr)
    return result if isinstance(result, int) else 0


def _quieten() -> None:
    """Keeps the libraries' chatter off the terminal unless somebody asked for it."""
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("DIFFUSERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)


LESS_MEMORY = (
    "paint fewer pictures at once (-n), show fewer, or take --dtype bfloat16; in training a smaller "
    "--batch, --gradient-checkpointing or --load-4bit (prefgen train --dry-run tells what a preset takes)"
)


def _told(error: Exception) -> int:
    """Prints an error in one line, a hint in another, and says which status it means."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader left: nothing more to print, nor to complain about
        return OUR_MISTAKE
    if hasattr(error, "format_message"):  # a usage error of click's, wherever this typer keeps its click
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "prefgen"
        return _print(error.format_message(), f"{path} --help", PERSONS_MISTAKE)  # pyright: ignore
    if "prefgen.core.errors" in sys.modules:  # else it was never imported, so the error is none of ours
        from prefgen.core.errors import PrefGenError

        if isinstance(error, PrefGenError):
            return _print(error.message, error.hint, PERSONS_MISTAKE)
    from prefgen.core.errors import is_out_of_memory

    if is_out_of_memory(error):
        return _print("there was not enough memory", LESS_MEMORY, PERSONS_MISTAKE)
    if os.environ.get("PREFGEN_TRACEBACK"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return _print(f"{name}{error.strerror}", None, PERSONS_MISTAKE)
    return _print(f"{type(error).__name__}: {error}", "PREFGEN_TRACEBACK=1 shows where; please report it", OUR_MISTAKE)


def _print(message: str, hint: str | None, status: int) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    if hint:
        print("hint:", " ".join(hint.split()), file=sys.stderr)
    return status
