"""Rewrite the files that are made from other files. `make generate` runs this; the tests hold both together."""

from __future__ import annotations

from pathlib import Path

from api import crd

ROOT = Path(__file__).resolve().parent.parent


def generate_crds() -> None:
    folder = ROOT / "deploy" / "chart" / "crds"
    for plural, manifest in crd.manifests().items():
        (folder / f"{plural}.yaml").write_text(crd.render(manifest))


def main() -> None:
    generate_crds()


if __name__ == "__main__":
    main()
