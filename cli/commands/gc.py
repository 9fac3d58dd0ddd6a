"""``warmset gc``: what the local store does not need goes; it says why, and what stays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.amounts import Size, ago
from cli.local import open_store, output_option, root_option, show_json, size_text

if TYPE_CHECKING:
    from api.digest import Digest
    from cache.store.capacity import Step, Stored
    from cache.store.store import Store

_WHY = {
    "quarantine": "its bytes went wrong",
    "blob": "no model has this file",
    "partial": "a pull that nobody took up again",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that goes, with what that gives back, or stays, with what it takes."""

    kind: str
    name: str
    bytes: int
    inodes: int
    why: str


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--free", type=Size(), help="Also remove the least recently used models until so much is free.")
@click.option("--idle", type=click.FloatRange(0), default=24.0, show_default=True, help="Hours that leftovers stay.")
@root_option
@output_option
def command(dry_run: bool, free: int | None, idle: float, root: Path, output: str) -> None:
    """Remove what the local store does not need: leftovers of interrupted pulls, files that no model has, and models
    that no reference names any more.

    With --free, models that are named go too, least recently used first, until the disk has so much free. What is
    mounted stays. Ends with exit code 8 when that is not enough, and then removes no model.

    \b
    warmset gc --dry-run
    warmset gc --free 200GiB -o json
    """
    from api.errors import InsufficientCache, Paused
    from cache.store.capacity import Amount, Eviction, plan_eviction, steps_of, what_holds
    from cache.store.holdings import holdings
    from cache.store.pause import is_paused

    with open_store(root) as store:
        paused = is_paused(store.root)
        if paused and not dry_run:
            raise Paused(f"the cache at {root} is paused", hint="warmset resume ends the pause")
        leftovers = store.leftovers(idle_s=idle * 3600)
        names = _names(store)
        trees = holdings(store, hold=lambda tree: names.get(tree, "") if free is None else "")
        if free is None:
            unnamed = [tree for tree in trees if not tree.hold]
            kept = tuple(tree for tree in trees if tree.hold)
            plan = Eviction(steps_of(unnamed, of=trees), Amount(0, 0), kept)
        else:
            short = free - store.disk().bytes_free - sum(left.bytes for left in leftovers)
            plan = plan_eviction(trees, Amount(max(0, short), 0))
        if not dry_run:
            store.trim(idle_s=idle * 3600)
            for step in plan.steps:
                store.remove_tree(step.stored.tree)
    goes = [Row(left.kind, left.path.name, left.bytes, left.inodes, _WHY[left.kind]) for left in leftovers]
    goes += [_going(step, name=names.get(step.stored.tree, ""), wanted=free is not None) for step in plan.steps]
    _show(goes, [_staying(tree, enough=not plan.missing) for tree in plan.kept], dry_run=dry_run, output=output)
    if paused:
        click.echo("paused: nothing goes before `warmset resume`", err=True)
    if plan.missing:
        raise InsufficientCache(
            f"{size_text(free or 0)} cannot be made free, {size_text(plan.missing.bytes)} would still be missing; "
            f"models here: {what_holds(plan.kept) or 'none'}",
            missing_bytes=plan.missing.bytes,
            hint="unmount what is not needed, or remove other files from that disk",
        )


def _going(step: Step, *, name: str, wanted: bool) -> Row:
    used = f"least recently used ({ago(step.stored.last_used)}), {name or 'not named'}"
    why = used if wanted else "no reference names it"
    return Row("tree", str(step.stored.tree), step.frees.bytes, step.frees.inodes, why)


def _staying(tree: Stored, *, enough: bool) -> Row:
    why = tree.hold or ("not needed for that much" if enough else "removing it would not be enough")
    return Row("tree", str(tree.tree), tree.bytes, len(tree.blobs), why)


def _names(store: Store) -> dict[Digest, str]:
    return {record.tree: f"named {record.key}" for record in store.pull_records()}


def _show(goes: list[Row], stays: list[Row], *, dry_run: bool, output: str) -> None:
    freed, inodes = sum(row.bytes for row in goes), sum(row.inodes for row in goes)
    if output == "json":
        show_json(
            {
                "dryRun": dry_run,
                "bytesFreed": freed,
                "inodesFreed": inodes,
                "removed": [asdict(row) for row in goes],
                "kept": [asdict(row) for row in stays],
            }
        )
        return
    for row in goes:
        click.echo(
            f"{'would remove' if dry_run else 'removed'} {row.kind} {row.name[:19]}  {size_text(row.bytes)}  {row.why}"
        )
    for row in stays:
        click.echo(f"kept {row.kind} {row.name[:19]}  {size_text(row.bytes)}  {row.why}")
    click.echo(f"{size_text(freed)} and {inodes} inodes {'would be ' if dry_run else ''}freed")
