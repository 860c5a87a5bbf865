"""Times matrix products of torch, for bench/peak.ts. Called with {threads, device, precision}.

On a CPU two ways to the same product: torch.matmul, whose BLAS may be a slow one (Debian's), and a 1x1 convolution,
which the convolution library multiplies. On a GPU torch.matmul of several sizes. The fastest is the peak. Matrices are
random: a GPU multiplies zeros, for which it needs less power, faster than anything that occurs.
"""

import json
import sys
import time

import torch
from precision import set_precision
from protocol import serve

SIZE = 1024
# Enough to tell the faster one, and soon over with a slow one.
TRIAL_SIZE = 512
TRIALS = 5
REPETITIONS = 2
GPU_SIZES = [2048, 4096, 8192]
# Of one measurement: launched without waiting in between.
GPU_PRODUCTS = 20

setup = json.loads(sys.argv[1])
device = torch.device(setup["device"])
precision = setup["precision"]
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
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    # Around 0, as activations and gradients are.
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return lambda: torch.matmul(a, b)


def convolution(size):
    """The same product over maps of `size` positions together: [16, size, 8, size / 128] and [size, size, 1, 1].

    On one thread, torch hands a 1x1 convolution to oneDNN only from 16 images on, and else to BLAS.
    """
    x = torch.rand(16, size, 8, size // 128, device=device).contiguous(memory_format=torch.channels_last)
    filters = torch.rand(size, size, 1, 1, device=device).contiguous(memory_format=torch.channels_last)
    return lambda: torch.nn.functional.conv2d(x, filters)


def choose_on_cpu():
    """The faster way, tried on a smaller product: its name, and a function that multiplies once."""
    ways = {"matmul": matmul, "1x1 convolution": convolution}
    trials = {name: way(TRIAL_SIZE) for name, way in ways.items()}
    # In turn, so that a disturbance meets both.
    times = [{name: fastest(product) for name, product in trials.items()} for _ in range(TRIALS)]
    name = min(ways, key=lambda way: min(time[way] for time in times))
    return name, ways[name](SIZE)


def repeated(product):
    def run():
        for _ in range(GPU_PRODUCTS):
            product()

    return run


def choose_on_gpu():
    """The size of most operations a second, and a function that multiplies GPU_PRODUCTS times."""
    products = {size: repeated(matmul(size)) for size in GPU_SIZES}
    for product in products.values():
        fastest(product)
    return min((fastest(product) / size**3, size, product) for size, product in products.items())[1:]


def introduce():
    global chosen
    set_precision(precision)
    if device.type == "cpu":
        name, chosen = choose_on_cpu()
        size, count = SIZE, 1
        place = f"{setup['threads']} thread{'s' * (setup['threads'] > 1)}"
    else:
        size, chosen = choose_on_gpu()
        name, count = "matmul", GPU_PRODUCTS
        place = f"{device} ({torch.cuda.get_device_name(device)})"
    fastest(chosen)
    return {
        "description": f"{precision} {name} of {size}x{size}, torch {torch.__version__}, {place}",
        "flops": 2 * count * size**3,
    }


def answer(_):
    return {"milliseconds": 1000 * fastest(chosen)}


with torch.no_grad():
    serve(introduce, answer)
