"""The one place where a device is chosen."""

import os

import torch


def pick_device(preference: str = "auto") -> torch.device:
    """Choose where tensors live: a CUDA GPU when there is one, else the CPU.

    Args:
        preference: "auto", or any torch device name such as "cpu" or "cuda:1"; the environment variable
            MEDLIB_DEVICE overrides "auto".

    Raises:
        ValueError: the name is not a device, or the device is not on this machine.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if preference == "auto":
        preference = os.environ.get("MEDLIB_DEVICE") or "auto"
    if preference == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(preference)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {preference!r} cannot be used here ({str(error).splitlines()[0]}). Use 'auto' or 'cpu'."
        ) from error
    return device
