"""Training steps of PyTorch, for bench/peers.ts. Called with
{variant, model, width, classes, batch, processes, threads, device, precision, images}.

Inside the clock, as on our side: a batch assembled from uint8 images in memory (gather, random crop with padding 4,
flip, normalise), forward, loss, correct count, backward, SGD with momentum 0.9 and weight decay 5e-4 (fused on GPUs).

Variants: torch (contiguous), torch-channels-last, torch-compile (in its default mode), torch-compile-graph (in the mode
"reduce-overhead": the model's passes are CUDA graphs), torch-ddp, and torch-cuda-graph: all but the assembly of the batch
is one CUDA graph. All but the first are channels_last.

Nothing is launched before the first steps are asked for, beyond the copy of data and weights to the device: other
processes may be busy until then, and cuDNN chooses its algorithms by what they take.
"""

import json
import os
import resource
import sys
import time

import torch
from models import build, parameter_count
from precision import autocast, set_precision
from protocol import serve
from torch.nn import functional

PADDING = 4
SIZE = 32
LEARNING_RATE = 1e-3
# Before a step is captured: they allocate momentum, and choose convolutions.
STEPS_BEFORE_CAPTURE = 5
COMPILE_MODES = {"torch-compile": "default", "torch-compile-graph": "reduce-overhead"}


class Trainer:
    """One process: `rank` of `setup["processes"]`, each with its share of the batch."""

    def __init__(self, setup, rank):
        torch.set_num_threads(setup["threads"])
        torch.manual_seed(rank)
        cuda = setup["device"] == "cuda"
        self.precision = setup["precision"]
        set_precision(self.precision)
        self.device = torch.device(f"cuda:{rank}" if cuda else "cpu")
        self.format = torch.contiguous_format if setup["variant"] == "torch" else torch.channels_last
        if cuda:
            torch.backends.cudnn.benchmark = True
        processes = setup["processes"]
        self.batch = setup["batch"] * (rank + 1) // processes - setup["batch"] * rank // processes
        self.images = torch.randint(0, 256, (setup["images"], 3, SIZE, SIZE), dtype=torch.uint8).to(self.device)
        self.rows = torch.arange(self.batch, device=self.device)
        self.labels = torch.randint(0, setup["classes"], (setup["images"],)).to(self.device)
        self.model = build(setup["model"], setup["width"], setup["classes"]).to(self.device)
        self.model = self.model.to(memory_format=self.format).train()
        self.parameters = parameter_count(self.model)
        options = {"fused": True} if cuda else {}
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=5e-4, **options
        )
        self.forward = self.model
        self.compiled_graph = setup["variant"] == "torch-compile-graph"
        if self.compiled_graph:
            # Else it goes on without graphs, and says so in a log only. Read when torch.compile is loaded.
            os.environ["TORCHINDUCTOR_CUDAGRAPH_OR_ERROR"] = "1"
        if setup["variant"] in COMPILE_MODES:
            self.forward = torch.compile(self.model, mode=COMPILE_MODES[setup["variant"]])
        if setup["variant"] == "torch-ddp":
            self.forward = torch.nn.parallel.DistributedDataParallel(self.model)
        self.correct = torch.zeros((), dtype=torch.long, device=self.device)
        self.step = self.first_captured_step if setup["variant"] == "torch-cuda-graph" else self.eager_step

    def assemble(self, images=None, labels=None):
        """A batch, in new tensors or in those that are given."""
        if images is None:
            shape = (self.batch, 3, SIZE, SIZE)
            images = torch.empty(shape, device=self.device, memory_format=self.format)
            labels = torch.empty(self.batch, dtype=torch.long, device=self.device)
        indices = torch.randint(0, len(self.labels), (self.batch,), device=self.device)
        top, left = torch.randint(0, 2 * PADDING + 1, (2, self.batch), device=self.device)
        flip = torch.rand(self.batch, 1, 1, 1, device=self.device) < 0.5
        # uint8, as they lie in memory: [batch, 3, 40, 40], then a view [batch, 3, top, left, 32, 32] of every crop.
        padded = functional.pad(self.images[indices], (PADDING,) * 4)
        crops = padded.unfold(2, SIZE, 1).unfold(3, SIZE, 1)[self.rows, :, top, left]
        images.copy_(torch.where(flip, crops.flip(3), crops))
        torch.index_select(self.labels, 0, indices, out=labels)
        # (pixel / 255 - 0.5) / 0.25
        return images.mul_(4 / 255).sub_(2), labels

    def train(self, images, labels, **options):
        # Before the forward pass: what is left of gradients would be the memory of torch.compile's last step.
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision, self.device, **options):
            logits = self.forward(images)
            # As autocast does on a GPU; on a CPU not in every version.
            loss = functional.cross_entropy(logits.float(), labels)
        loss.backward()
        self.optimizer.step()
        self.correct += (logits.argmax(1) == labels).sum()

    def eager_step(self):
        if self.compiled_graph:
            torch.compiler.cudagraph_mark_step_begin()
        self.train(*self.assemble())

    def first_captured_step(self):
        """As PyTorch's documentation on CUDA graphs does it for a whole network; later steps replay."""
        batch = self.assemble()
        # What autocast has in its cache would belong to the graph's memory.
        options = {"cache_enabled": False} if self.precision == "bfloat16" else {}
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(STEPS_BEFORE_CAPTURE):
                self.train(*batch, **options)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # So that the graph's own memory holds them.
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.train(*batch, **options)

        def replay():
            self.assemble(*batch)
            graph.replay()

        self.step = replay
        replay()

    def steps(self, count):
        start = self.clock()
        for _ in range(count):
            self.step()
        return 1000 * (self.clock() - start)

    def clock(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def memory(self):
        """Peaks of this process, in bytes."""
        host = {"peakBytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
        if self.device.type != "cuda":
            return {**host, "devicePeakBytes": None}
        allocated = torch.cuda.max_memory_allocated(self.device)
        reserved = torch.cuda.max_memory_reserved(self.device)
        return {**host, "devicePeakBytes": {"allocatedPeak": allocated, "reservedPeak": reserved}}


def added(peaks):
    """Of several processes."""
    devices = [peak["devicePeakBytes"] for peak in peaks]
    on_device = None
    if None not in devices:
        on_device = {key: sum(device[key] for device in devices) for key in devices[0]}
    return {"peakBytes": sum(peak["peakBytes"] for peak in peaks), "devicePeakBytes": on_device}


def run_rank(setup, rank, store, connection):
    """A process of DistributedDataParallel: answers the number of steps with time and memory."""
    import torch.distributed as distributed

    try:
        # No port that another run could hold: the processes meet in a file.
        distributed.init_process_group(
            setup["backend"], init_method=f"file://{store}", rank=rank, world_size=setup["processes"]
        )
        trainer = Trainer(setup, rank)
        connection.send({"parameters": trainer.parameters})
        while True:
            count = connection.recv()
            distributed.barrier()
            milliseconds = trainer.steps(count)
            connection.send({"milliseconds": milliseconds, "memory": trainer.memory()})
    except EOFError:
        pass
    except Exception as error:
        connection.send({"error": f"{type(error).__name__}: {error}"})


class Processes:
    """As many processes as we have workers, over Gloo (NCCL on GPUs)."""

    def __init__(self, setup):
        import multiprocessing
        import tempfile

        context = multiprocessing.get_context("spawn")
        self.folder = tempfile.TemporaryDirectory()
        store = f"{self.folder.name}/store"
        self.connections, self.processes = [], []
        for rank in range(setup["processes"]):
            ours, theirs = context.Pipe()
            process = context.Process(target=run_rank, args=(setup, rank, store, theirs), daemon=True)
            process.start()
            theirs.close()
            self.connections.append(ours)
            self.processes.append(process)
        self.parameters = self.receive()[0]["parameters"]

    def receive(self):
        answers = []
        for rank, connection in enumerate(self.connections):
            try:
                answer = connection.recv()
            except EOFError:
                self.processes[rank].join()
                code = self.processes[rank].exitcode
                raise RuntimeError(f"process {rank} ended with exit code {code}") from None
            if "error" in answer:
                raise RuntimeError(f"process {rank}: {answer['error']}")
            answers.append(answer)
        return answers

    def steps(self, count):
        for connection in self.connections:
            connection.send(count)
        answers = self.receive()
        return {
            "milliseconds": max(answer["milliseconds"] for answer in answers),
            **added([answer["memory"] for answer in answers]),
        }


def main():
    setup = json.loads(sys.argv[1])
    setup["backend"] = "nccl" if setup["device"] == "cuda" else "gloo"
    variant = setup["variant"]
    trainer = None

    def introduce():
        nonlocal trainer
        if variant in COMPILE_MODES and not hasattr(torch, "compile"):
            raise RuntimeError(f"torch {torch.__version__} has no torch.compile")
        trainer = Processes(setup) if variant == "torch-ddp" else Trainer(setup, 0)
        return {"parameters": trainer.parameters}

    def answer(request):
        # What launching took is not told: PyTorch's queue, once full, makes the host wait for the device.
        unknown = {"hostMilliseconds": None}
        if variant == "torch-ddp":
            return {**trainer.steps(request["steps"]), **unknown}
        return {"milliseconds": trainer.steps(request["steps"]), **trainer.memory(), **unknown}

    serve(introduce, answer)


if __name__ == "__main__":
    main()
