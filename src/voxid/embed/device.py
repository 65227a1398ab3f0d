"""Which device to compute on."""

from __future__ import annotations

import torch

from voxid.errors import DeviceUnavailable


def pick_device(name: str = "auto") -> torch.device:
    """Return the torch device called `name`; "auto" is the first there is of cuda, mps, cpu.

    Raise DeviceUnavailable for a name torch does not know or a device this machine does not have.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    there = [*(["cuda"] if cuda else []), *mps, "cpu"]
    if name == "auto":
        return torch.device(there[0])
    if name not in there + cuda:
        known = ", ".join(["auto", *there, *cuda])
        raise DeviceUnavailable(f"no device {name!r} on this machine. There is: {known}.")
    return torch.device(name)
