"""The command `trimtab` and how it ends: 0 fits, 1 error, 2 does not fit."""

from __future__ import annotations

import gc
import logging
import sys
from typing import Annotated

import typer

from trimtab._version import __version__
from trimtab.cli import (
    certs,
    cloud,
    compile,
    design,
    doctor,
    edge,
    export,
    inspect,
    load,
    machine,
    partition,
    partition_study,
    profile,
    run,
    serve,
    show,
    symmetry,
    train,
)
from trimtab.cli.output import fail
from trimtab.errors import (
    BudgetInfeasibleError,
    MissingExtraError,
    TrimtabError,
    UsageError,
)

__all__ = ["app", "main"]

_INTERRUPTED = 130
# What typer ends with after Ctrl-C, as shells do.

app = typer.Typer(
    name="trimtab",
    help="Take a PyTorch network to serving inside hard budgets, by analysis.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("inspect")(inspect.inspect)
app.command("compile")(compile.compile_network)
app.command("export")(export.export)
app.command("run")(run.run)
app.command("train")(train.train)
app.command("cloud")(cloud.cloud)
app.command("edge")(edge.edge)
app.command("certs")(certs.certs)
app.command("load")(load.load)
app.command("doctor")(doctor.doctor)
app.command("profile")(profile.profile)
app.command("show")(show.show)
app.add_typer(design.app, name="design")
app.add_typer(machine.app, name="machine")
partition.app.command("study")(partition_study.study)
partition.app.command("replay")(partition_study.replay)
app.add_typer(partition.app, name="partition")
app.add_typer(serve.app, name="serve")
app.add_typer(symmetry.app, name="symmetry")


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
    except OSError as error:
        code = fail(_from_system(error), as_json=as_json, code=1)
    except ModuleNotFoundError as error:
        package, _, part = str(error.name).partition(".")
        if package != "trimtab" or not part or "." in part:
            raise  # not a part as a whole
        code = fail(_without(str(error.name)), as_json=as_json, code=1)
    except Exception as error:
        show_usage = getattr(error, "show", None)  # a wrong option or command
        if show_usage is None:
            raise
        if as_json:
            wrong = UsageError(
                str(getattr(error, "message", error)).rstrip("."),
                where="command line",
                remedy="see trimtab --help",
            )
            code = fail(wrong, as_json=True, code=1)
        else:
            show_usage()
            code = 1  # 2 means: does not fit
    if code == _INTERRUPTED:
        sys.stderr.write("stopped\n")
    sys.exit(code or 0)


def _without(module: str) -> TrimtabError:
    """Return the error of a part that somebody has left out of the installation."""
    return MissingExtraError(
        f"the part `{module.split('.')[1]}` of trimtab",
        rule="it is not in this installation",
        where=module,
        remedy="install trimtab whole",
    )


def _from_system(error: OSError) -> TrimtabError:
    return TrimtabError(
        "reading or writing",
        rule=error.strerror or str(error),
        where=str(error.filename or "standard output"),
        remedy="make room or give permission there, or choose another place",
    )
