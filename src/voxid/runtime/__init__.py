"""From waveform to embedding, without knowing the engine. `voxid.load` is the way in.

This file imports no torch; the engine does, when `load` needs it.
"""

from __future__ import annotations

import os
from pathlib import Path

from voxid.errors import MissingExtra, UnknownModel
from voxid.runtime.protocol import Embedded, EmbedInfo, Runtime

__all__ = ["EmbedInfo", "Embedded", "Runtime", "load"]


_WHERE_FROM = (
    "Give a folder that holds config.json and model.safetensors; "
    "`voxid train` and `voxid import-seed` write one."
)


def load(name_or_folder: str | os.PathLike[str], device: str = "cpu", *, mode: str | None = None) -> Runtime:
    """Return the runtime of a model folder, ready to embed.

    `device` is "cpu", "cuda", "mps" or "auto". `mode` ("sliding" or "full") replaces the model's own way of
    scoring; it changes the fingerprint. Raise UnknownModel, BadModel, BadConfig, DeviceUnavailable, and
    MissingExtra where torch is not installed.

    Example: `voxid.load("runs/bilstm").embed("me.wav")` is a float32 array of `dim` numbers.
    """
    if not isinstance(name_or_folder, str | os.PathLike) or not os.fspath(name_or_folder):
        raise UnknownModel(f"a model is named by a folder, got {name_or_folder!r}. {_WHERE_FROM}")
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        raise UnknownModel(
            f"no model {os.fspath(name_or_folder)!r}: voxid ships no model by a name yet, and there is no "
            f"such folder. {_WHERE_FROM}"
        )
    try:
        from voxid.runtime.torch_engine import TorchRuntime
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "safetensors"):
            raise
        raise MissingExtra(
            f"this model needs {error.name}, which is not installed. Run: pip install 'voxid[train]'."
        ) from None
    return TorchRuntime.load(folder, device=device, mode=mode)
