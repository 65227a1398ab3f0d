"""The models that come with voxid: one folder each, as `voxid export` writes it. No torch."""

from __future__ import annotations

from pathlib import Path

from voxid.model.card import CONFIG_FILE


def shipped() -> dict[str, Path]:
    """Return the folders of the models that come with voxid, by name, sorted."""
    here = Path(__file__).resolve().parent
    return {path.name: path for path in sorted(here.iterdir()) if (path / CONFIG_FILE).is_file()}
