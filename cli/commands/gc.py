"""``warmset gc``: what the local store does not need goes; it says why, and what stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.amounts import Size
from cli.local import open_store, output_option, root_option, show_json, size_text

if TYPE_CHECKING:
    from api.digest import Digest
    from cache.store.store import Store

_WHY = {
    "quarantine": "its bytes went wrong",
    "blob": "no model has this file",
    "partial": "a pull that nobody took up again",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that goes, or stays."""

    kind: str
    name: str
    bytes: int
    why: str

    def json(self) -> dict[str, object]:
        return {"kind": self.kind, "name": self.name, "bytes": self.bytes, "why": self.why}


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
    from cache.store.capacity import Amount, plan_eviction, what_holds
    from cache.store.holdings import holdings
    from cache.store.pause import is_paused

    with open_store(root) as store:
        if is_paused(store.root) and not dry_run:
            raise Paused(f"the cache at {root} is paused", hint="warmset resume ends the pause")
        leftovers = store.leftovers(idle_s=idle * 3600)
        names = _names(store)
        gone = [Row(left.kind, left.path.name, left.bytes, _WHY[left.kind]) for left in leftovers]
        trees = holdings(store, hold=lambda tree: names.get(tree, "") if free is None else "")
        if free is None:
            need = Amount(sum(tree.bytes for tree in trees), sum(len(tree.blobs) for tree in trees))
            going = [tree for tree in trees if not tree.hold]
            rows = [Row("tree", str(tree.tree), tree.bytes, "no reference names it") for tree in going]
            kept, missing = [tree for tree in trees if tree.hold], need.less(need)
        else:
            need = Amount(max(0, free - store.disk().bytes_free - sum(left.bytes for left in leftovers)), 0)
            plan = plan_eviction(trees, need)
            going = [step.stored for step in plan.steps]
            rows = [
                Row("tree", str(s.stored.tree), s.frees.bytes, f"least recently used: {names.get(s.stored.tree, '-')}")
                for s in plan.steps
            ]
            kept, missing = list(plan.kept), plan.missing
        stays = [Row("tree", str(tree.tree), tree.bytes, tree.hold or "not needed for that much") for tree in kept]
        if not dry_run:
            store.trim(idle_s=idle * 3600)
            for tree in going:
                store.remove_tree(tree.tree)
    _show(gone + rows, stays, dry_run=dry_run, output=output)
    if missing:
        raise InsufficientCache(
            f"{size_text(missing.bytes)} are missing: {what_holds(kept)}",
            missing_bytes=missing.bytes,
            hint="unmount what is not needed, or remove other files from that disk",
        )


def _names(store: Store) -> dict[Digest, str]:
    return {record.tree: f"named {record.key}" for record in store.pull_records()}


def _show(goes: list[Row], stays: list[Row], *, dry_run: bool, output: str) -> None:
    freed = sum(row.bytes for row in goes)
    if output == "json":
        show_json(
            {
                "dryRun": dry_run,
                "bytesFreed": freed,
                "removed": [row.json() for row in goes],
                "kept": [row.json() for row in stays],
            }
        )
        return
    for row in goes:
        click.echo(
            f"{'would remove' if dry_run else 'removed'} {row.kind} {row.name[:19]}  {size_text(row.bytes)}  {row.why}"
        )
    for row in stays:
        click.echo(f"kept {row.kind} {row.name[:19]}  {size_text(row.bytes)}  {row.why}")
    click.echo(f"{size_text(freed)} {'would be' if dry_run else ''} freed".replace("  ", " "))
