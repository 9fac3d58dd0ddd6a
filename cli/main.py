"""The ``warmset`` console script: a table of commands, imported only when used, and one way to report errors.

Exit codes: 0 done; 1 a defect of ours; 2 wrong usage; 130 interrupted; the others stand with each error class
in api/errors.py and in docs/cli.md.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys

import click

from api.errors import WarmsetError

# Name -> line shown by `warmset --help`. The module is cli.commands.<name>, but for MODULES.
COMMANDS = {
    "push": "Upload a folder as a ModelPack artifact.",
    "pull": "Bring a model into the local store, and into a folder.",
    "ls": "List the models in the local store.",
    "verify": "Check the bytes of stored models against their digests.",
    "rm": "Remove a model from the local store.",
    "gc": "Remove what the local store does not need, or make room.",
    "import": "Take files that already lie on this machine into the local store.",
    "pause": "Let a cache begin no pull and evict nothing.",
    "resume": "End a pause.",
    "purge": "Remove a cache from its disk.",
    "plan": "Show which nodes groups would get, and why not the others.",
    "warm": "Keep a model warm on nodes of the cluster.",
    "cool": "Let nodes of the cluster give a model up.",
    "status": "Show what is warm, and where.",
    "wait": "Wait until a WarmSet is warm.",
    "explain": "Say why a pod, a WarmSet or a node is not warm.",
    "agent": "Run the node agent, in a cluster or stand-alone.",
    "nodes": "Show what each node of the cluster holds.",
    "node": "Show what the agent on this machine holds.",
    "csi": "Run the CSI node driver.",
    "controller": "Run the controller.",
    "completion": "Print what lets a shell complete commands and names.",
}
MODULES = {"import": "import_"}  # a keyword names no module


class LazyGroup(click.Group):
    """Imports a command's module when it runs: `warmset pull` must not pay for the controller's libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cli.commands.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="warmset")
def warmset() -> None:
    """Keep model weights warm on the nodes that are about to need them.

    \b
    On a laptop or in a job:   warmset pull oci://registry.example.com/models/llama:v1 ./llama
    In a cluster:              warmset warm llama --groups 2 --size 4 --wait
    """


def main() -> None:
    """Run the command; a named failure becomes one line on stderr and its exit code."""
    try:
        warmset.main(standalone_mode=False, complete_var="_WARMSET_COMPLETE")
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except WarmsetError as error:
        _report(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`warmset ls | head`): not an error, and nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _report(error: WarmsetError) -> None:
    if _wants_json():
        click.echo(json.dumps({"error": {"reason": error.reason, "message": error.message, "hint": error.hint}}))
    click.echo(f"error: {error.reason}: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


def _wants_json() -> bool:
    arguments = sys.argv[1:]
    return "--output=json" in arguments or any(
        option in ("-o", "--output") and value == "json" for option, value in itertools.pairwise(arguments)
    )


if __name__ == "__main__":
    main()
