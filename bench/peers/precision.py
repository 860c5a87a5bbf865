"""The precisions of our configs, as a user of PyTorch asks for them."""

import contextlib

import torch

PRECISIONS = ["float32", "tf32", "bfloat16"]


def set_precision(name):
    """Of matrix products and convolutions in float32, in the whole process."""
    if name not in PRECISIONS:
        raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, got {name}")
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    # On by default, whatever the above says.
    torch.backends.cudnn.allow_tf32 = name == "tf32"


def autocast(name, device, **options):
    """Around the forward pass: weights stay in float32."""
    if name != "bfloat16":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16, **options)
