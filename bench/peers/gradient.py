"""Writes the gradients of a small batch, for bench/gradient-check.ts. Called with a GradientSetup, the model and a device.

Of the precisions, float64 is computed on the CPU.
"""

import array
import json
import pathlib
import sys

import torch
from models import build, flat_gradient, load_flat
from precision import autocast, set_precision

setup = json.loads(sys.argv[1])
folder = pathlib.Path(setup["folder"])
output = pathlib.Path(setup["output"])
torch.set_num_threads(setup["threads"])


def read(name, dtype):
    return torch.frombuffer(bytearray((folder / name).read_bytes()), dtype=dtype)


def gradient(precision):
    exact = precision == "float64"
    device, dtype = ("cpu", torch.float64) if exact else (setup["device"], torch.float32)
    if not exact:
        set_precision(precision)
    model = build(setup["model"], setup["width"], setup["classes"])
    load_flat(model, read("weights.f32", torch.float32), setup["layout"])
    model.to(device, dtype)
    images = read("images.u8", torch.uint8).reshape(setup["batch"], 3, 32, 32).to(device)
    labels = read("labels.u8", torch.uint8).long().to(device)
    with autocast(precision, device):
        logits = model((images.to(dtype) / 255 - 0.5) / 0.25)
        # As autocast does on a GPU; on a CPU not in every version.
        loss = torch.nn.functional.cross_entropy(logits if exact else logits.float(), labels)
    loss.backward()
    return flat_gradient(model, setup["length"], setup["layout"])


for precision in setup["precisions"]:
    # Not through numpy, which torch does without.
    values = array.array("f", gradient(precision).tolist())
    (output / f"gradient-{precision}.f32").write_bytes(values.tobytes())
