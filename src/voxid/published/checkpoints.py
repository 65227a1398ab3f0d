"""Checkpoint files of others, opened without trusting them: tensors and plain values, never code."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from voxid.errors import BadCheckpoint, RunExists
from voxid.model.network import CONFIG_FILE, WEIGHTS_FILE

CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model")  # keys under which tensors lie
PREFIXES = ("module.", "__S__.", "speaker_encoder.", "embedding_model.")  # of all names, said for nothing


def read(path: Path, origin: str) -> dict[str, Any]:
    """Return the dict in a .pt, .ckpt, .bin, .model or .safetensors file.

    Raise BadCheckpoint when it is missing or damaged, would run code, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load(path.read_bytes()))
        _check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of archives it then refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
    except BadCheckpoint:
        raise
    except PermissionError as error:
        raise BadCheckpoint(f"cannot read {path}: {error.strerror}. Check that you may read it.") from None
    except Exception as error:  # bytes that are not a checkpoint fail anywhere in torch's reader
        if called := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise BadCheckpoint(
                f"{path} was not opened: it would run or build {called[1]!r}. A checkpoint may hold only "
                "tensors, lists, dicts and numbers. Do not open it elsewhere unless you trust its maker."
            ) from None
        raise BadCheckpoint(
            f"{path} is damaged or is not a torch checkpoint ({type(error).__name__}). "
            f"Expected a file of {origin}; download it again."
        ) from None
    return content if isinstance(content, dict) else {"": content}


def tensors_of(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the named tensors in what `read` gave, without what wraps them.

    Raise BadCheckpoint where there are none, or they are not dense.
    """
    for key in CONTAINERS:
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        got = f"keys {sorted(map(str, content))[:6]}" if any(content) else "another value"
        raise BadCheckpoint(f"{path} holds no tensors: it holds {got}. Give the file with the weights.")
    if odd := [name for name, tensor in tensors.items() if tensor.layout is not torch.strided]:
        raise BadCheckpoint(f"{path} holds tensors that are not dense: {', '.join(odd[:4])}.")
    check_size(tensors, path)
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def check_size(tensors: dict[str, Tensor], path: Path) -> None:
    """Raise BadCheckpoint when the tensors are more than the file: a view can claim any size."""
    if sum(tensor.nbytes for tensor in tensors.values()) > path.stat().st_size:
        raise BadCheckpoint(f"{path} claims more weights than it has bytes. Download the file again.")


def source_of(path: Path) -> dict[str, Any]:
    """Return what metadata says of the file that a model came from."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = {"name": path.stem, "imported_from": path.name, "source_sha256": digest}
    try:  # `voxid download` says there what the catalogue knows
        said = json.loads((path.parent / "source.json").read_text(encoding="utf-8"))
        return found | {"name": said["name"], "licence": said["licence"], "trained_on": said["trained_on"]}
    except (OSError, ValueError, KeyError, TypeError):
        return found


def _check_sums(path: Path) -> None:
    """Raise BadCheckpoint when a record of the archive does not have its checksum: torch does not look."""
    if not zipfile.is_zipfile(path):
        return  # torch's format before 1.6 has no checksums
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise BadCheckpoint(
                f"{path} is damaged: the checksum of {damaged!r} inside it is wrong. Download the file again."
            )


def keep_other_models(out: Path) -> None:
    """Raise RunExists where `out` holds a model that importing again could not bring back."""
    if not (out / CONFIG_FILE).exists() and not (out / WEIGHTS_FILE).exists():
        return
    try:
        metadata = json.loads((out / CONFIG_FILE).read_bytes())["metadata"]
        earlier_import = "imported_from" in metadata
    except (OSError, ValueError, KeyError, TypeError):
        earlier_import = False
    if not earlier_import:
        raise RunExists(f"{out} holds another model already. Choose another folder with -o.")
