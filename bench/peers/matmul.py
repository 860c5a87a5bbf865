"""Times matrix products of torch, for bench/peak.ts. Called with {threads, device}.

Two ways to the same product: torch.matmul, whose BLAS may be a slow one (Debian's), and a 1x1 convolution, which
the convolution library multiplies. The faster one is the peak.
"""

import json
import sys
import time

import torch
from protocol import serve

SIZE = 1024
# Enough to tell the faster one, and soon over with a slow one.
TRIAL_SIZE = 512
TRIALS = 5
REPETITIONS = 2

setup = json.loads(sys.argv[1])
device = torch.device(setup["device"])
torch.set_num_threads(setup["threads"])
chosen = None


def clock():
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def fastest(product):
    times = []
    for _ in range(REPETITIONS):
        start = clock()
        product()
        times.append(clock() - start)
    return min(times)


def matmul(size):
    a, b = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    return lambda: torch.matmul(a, b)


def convolution(size):
    """The same product over maps of `size` positions together: [16, size, 8, size / 128] and [size, size, 1, 1].

    On one thread, torch hands a 1x1 convolution to oneDNN only from 16 images on, and else to BLAS.
    """
    x = torch.rand(16, size, 8, size // 128, device=device).contiguous(memory_format=torch.channels_last)
    filters = torch.rand(size, size, 1, 1, device=device).contiguous(memory_format=torch.channels_last)
    return lambda: torch.nn.functional.conv2d(x, filters)


def introduce():
    global chosen
    ways = {"matmul": matmul, "1x1 convolution": convolution}
    trials = {name: way(TRIAL_SIZE) for name, way in ways.items()}
    # In turn, so that a disturbance meets both.
    times = [{name: fastest(product) for name, product in trials.items()} for _ in range(TRIALS)]
    name = min(ways, key=lambda way: min(time[way] for time in times))
    chosen = ways[name](SIZE)
    fastest(chosen)
    threads = f"{setup['threads']} thread{'s' * (setup['threads'] > 1)}" if device.type == "cpu" else str(device)
    return {
        "description": f"float32 {name} of {SIZE}x{SIZE}, torch {torch.__version__}, {threads}",
        "flops": 2 * SIZE**3,
    }


def answer(_):
    return {"milliseconds": 1000 * fastest(chosen)}


with torch.no_grad():
    serve(introduce, answer)
