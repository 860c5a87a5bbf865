"""Writes the gradient of a small batch, for bench/gradient-check.ts. Called with a GradientSetup and the model."""

import array
import json
import pathlib
import sys

import torch
from models import build, flat_gradient, load_flat

setup = json.loads(sys.argv[1])
folder = pathlib.Path(setup["folder"])
torch.set_num_threads(setup["threads"])


def read(name, dtype):
    return torch.frombuffer(bytearray((folder / name).read_bytes()), dtype=dtype)


model = build(setup["model"], setup["width"], setup["classes"])
load_flat(model, read("weights.f32", torch.float32), setup["layout"])
images = read("images.u8", torch.uint8).reshape(setup["batch"], 3, 32, 32)
labels = read("labels.u8", torch.uint8).long()
logits = model((images.float() / 255 - 0.5) / 0.25)
torch.nn.functional.cross_entropy(logits, labels).backward()
gradient = flat_gradient(model, setup["length"], setup["layout"])
# Not through numpy, which torch does without.
(folder / "gradient.f32").write_bytes(array.array("f", gradient.tolist()).tobytes())
