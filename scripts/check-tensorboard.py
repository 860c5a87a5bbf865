"""Reads the event files of runs with TensorBoard's own code and compares them with the runs' other files.

python scripts/check-tensorboard.py RUNS, a folder of runs. See check-tensorboard.sh.
"""

import contextlib
import json
import math
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

SCALARS = {
    "loss/train": "trainLoss",
    "loss/validation": "validationLoss",
    "loss/test": "testLoss",
    "accuracy/train": "trainAccuracy",
    "accuracy/validation": "validationAccuracy",
    "accuracy/test": "testAccuracy",
    "learning_rate": "learningRate",
    "skipped_steps": "skippedSteps",
}


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def equal(tag, found, expected):
    assert found == expected, f"{tag}: expected {expected}, got {found}"


def close(tag, found, expected):
    """Scalars are float32."""
    assert len(found) == len(expected), f"{tag}: expected {len(expected)} values, got {len(found)}"
    for a, b in zip(found, expected):
        assert math.isclose(a, b, rel_tol=1e-6), f"{tag}: expected {b}, got {a}"


def check_run(run):
    # Keep every event; by default some are left out.
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
    events.Reload()
    metrics, timings, selections = (lines(run / f"{name}.jsonl") for name in ("metrics", "timings", "selections"))
    tags = events.Tags()
    expected = {**{tag: [line[key] for line in metrics] for tag, key in SCALARS.items()}}
    # What a run without validation images does not have is left out.
    expected = {tag: values for tag, values in expected.items() if values[0] is not None}
    expected["amplified_layers"] = [len(line["amplified"]) for line in metrics]
    expected["reduced_layers"] = [len(line["reduced"]) for line in metrics]
    expected["images_per_second"] = [line["imagesPerSecond"] for line in timings]
    equal("scalar tags", sorted(tags["scalars"]), sorted(expected))
    for tag, values in expected.items():
        found = events.Scalars(tag)
        equal(f"{tag} steps", [event.step for event in found], [line["epoch"] for line in metrics])
        close(tag, [event.value for event in found], values)
    equal("histogram tags", sorted(tags["histograms"]), sorted(["layers/G", "layers/Gprime", "layers/z"]))
    for tag in tags["histograms"]:
        for event, selection in zip(events.Histograms(tag), selections, strict=True):
            values = [layer[tag.removeprefix("layers/")] for layer in selection["layers"]]
            histogram = event.histogram_value
            equal(f"{tag} step", event.step, selection["epoch"])
            equal(f"{tag} count", (histogram.num, sum(histogram.bucket)), (len(values), len(values)))
            close(tag, [histogram.min, histogram.max, histogram.sum], [min(values), max(values), sum(values)])
            below = [sum(value < limit for value in values) for limit in histogram.bucket_limit[:-1]]
            running = [sum(histogram.bucket[: i + 1]) for i in range(len(below))]
            # A value on the edge of a bucket may fall on either side by rounding.
            assert max(abs(a - b) for a, b in zip(below, running)) <= 1, f"{tag}: buckets {histogram.bucket}"
    equal("text tags", tags["tensors"], ["layers/chosen"])
    for event, selection in zip(events.Tensors("layers/chosen"), selections, strict=True):
        [text] = tensor_util.make_ndarray(event.tensor_proto)
        chosen = [layer["name"] for layer in selection["layers"] if layer["chosen"]]
        names = [row.split("|")[1].strip() for row in text.decode().splitlines() if row.startswith("| ")]
        equal("chosen layers", [name for name in names if name != "layer"], chosen)
    print(f"{run.name}: {len(metrics)} epochs, {len(selections)} analyses: all values as in the other files")
    return sorted(expected)


def check_server(runs, tags):
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["-m", "tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([sys.executable, *command, "--load_fast=false"], stderr=subprocess.DEVNULL)
    try:
        names = sorted(run.name for run in runs.iterdir())
        scalars = wait_for(port, "scalars/tags", names)
        for name in names:
            equal("served scalar tags", sorted(scalars[name]), tags)
            histograms = get(port, "histograms/tags")[name]
            equal("served histogram tags", sorted(histograms), ["layers/G", "layers/Gprime", "layers/z"])
            equal("served text tags", get(port, "text/tags")[name], ["layers/chosen"])
            query = urllib.parse.urlencode({"run": name, "tag": "layers/z"})
            shown = get(port, f"histograms/histograms?{query}")
            query = urllib.parse.urlencode({"run": name, "tag": "layers/chosen"})
            texts = get(port, f"text/text?{query}")
            print(f"{name}: served {len(tags)} scalars, {len(histograms)} histograms of {len(shown)} analyses, and")
            print(" ".join(re.sub("<[^>]*>", " ", texts[-1]["text"]).split()))
    finally:
        server.terminate()
        server.wait()


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/{path}", timeout=10) as answer:
        return json.load(answer)


def wait_for(port, path, names, seconds=60):
    """Until the server has loaded these runs."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            answer = get(port, path)
            if sorted(answer) == names:
                return answer
        assert time.monotonic() < deadline, f"expected tensorboard to serve {names} within {seconds} s"
        time.sleep(0.5)


runs = pathlib.Path(sys.argv[1])
served = [check_run(run) for run in sorted(runs.iterdir())]
assert served, f"{runs}: expected a folder of runs"
check_server(runs, served[0])
print("tensorboard reads everything: ok")
