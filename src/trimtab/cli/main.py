"""The command `trimtab` and how it ends: 0 fits, 1 error, 2 does not fit."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import Annotated

import typer

from trimtab._version import __version__
from trimtab.cli import inspect, machine, run, show
from trimtab.cli.output import fail
from trimtab.errors import BudgetInfeasibleError, TrimtabError

__all__ = ["app", "main"]

app = typer.Typer(
    name="trimtab",
    help="Take a PyTorch network to serving inside hard budgets, by analysis.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("inspect")(inspect.inspect)
app.command("run")(run.run)
app.command("show")(show.show)
app.add_typer(machine.app, name="machine")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trimtab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say what happens, on stderr.")
    ] = False,
) -> None:
    del version
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )


def main() -> None:
    """Run the command line and exit."""
    # What is imported never dies: looking for garbage in it takes up to a third of a
    # short command. `run` switches collection on again.
    gc.disable()
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
    except BudgetInfeasibleError as error:
        code = fail(error, as_json=as_json, code=2)
    except TrimtabError as error:
        code = fail(error, as_json=as_json, code=1)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; nothing was written\n")
        code = 130
    except BrokenPipeError:
        # The reader (head, less) has gone: the rest is not wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        show_usage = getattr(error, "show", None)  # a wrong option or command
        if show_usage is None:
            raise
        show_usage()
        code = 1  # 2 means: does not fit
    sys.exit(code or 0)
