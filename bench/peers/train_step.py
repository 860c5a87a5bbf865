"""Training steps of PyTorch, for bench/peers.ts. Called with
{variant, model, width, classes, batch, processes, threads, device, images}.

Inside the clock, as on our side: a batch assembled from uint8 images in memory (gather, random crop with padding 4,
flip, normalise), forward, loss, correct count, backward, SGD with momentum 0.9 and weight decay 5e-4.
"""

import json
import resource
import sys
import time

import torch
from models import build, parameter_count
from protocol import serve
from torch.nn import functional

PADDING = 4
SIZE = 32
LEARNING_RATE = 1e-3


class Trainer:
    """One process: `rank` of `setup["processes"]`, each with its share of the batch."""

    def __init__(self, setup, rank):
        torch.set_num_threads(setup["threads"])
        torch.manual_seed(rank)
        cuda = setup["device"] == "cuda"
        self.device = torch.device(f"cuda:{rank}" if cuda else "cpu")
        self.format = torch.contiguous_format if setup["variant"] == "torch" else torch.channels_last
        if cuda:
            torch.backends.cudnn.benchmark = True
        processes = setup["processes"]
        self.batch = setup["batch"] * (rank + 1) // processes - setup["batch"] * rank // processes
        images = torch.randint(0, 256, (setup["images"], 3, SIZE, SIZE), dtype=torch.uint8)
        padded = functional.pad(images, (PADDING,) * 4).to(self.device)
        # [images, 3, top, left, 32, 32]: a view of every crop.
        self.crops = padded.unfold(2, SIZE, 1).unfold(3, SIZE, 1)
        self.labels = torch.randint(0, setup["classes"], (setup["images"],)).to(self.device)
        self.model = build(setup["model"], setup["width"], setup["classes"]).to(self.device)
        self.model = self.model.to(memory_format=self.format).train()
        self.parameters = parameter_count(self.model)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=5e-4
        )
        self.forward = self.model
        if setup["variant"] == "torch-compile":
            self.forward = torch.compile(self.model)
        if setup["variant"] == "torch-ddp":
            self.forward = torch.nn.parallel.DistributedDataParallel(self.model)
        self.correct = torch.zeros((), dtype=torch.long, device=self.device)

    def assemble(self):
        indices = torch.randint(0, len(self.labels), (self.batch,), device=self.device)
        top, left = torch.randint(0, 2 * PADDING + 1, (2, self.batch), device=self.device)
        flip = torch.rand(self.batch, 1, 1, 1, device=self.device) < 0.5
        crops = self.crops[indices, :, top, left]
        pixels = torch.where(flip, crops.flip(3), crops).to(torch.float32, memory_format=self.format)
        # (pixel / 255 - 0.5) / 0.25
        return pixels.mul_(4 / 255).sub_(2), self.labels[indices]

    def step(self):
        images, labels = self.assemble()
        logits = self.forward(images)
        loss = functional.cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.correct += (logits.argmax(1) == labels).sum()

    def steps(self, count):
        start = time.perf_counter()
        for _ in range(count):
            self.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return 1000 * (time.perf_counter() - start)


def peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
            connection.send({"milliseconds": milliseconds, "bytes": peak_bytes()})
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
            "peakBytes": sum(answer["bytes"] for answer in answers),
        }


def main():
    setup = json.loads(sys.argv[1])
    setup["backend"] = "nccl" if setup["device"] == "cuda" else "gloo"
    variant = setup["variant"]
    trainer = None

    def introduce():
        nonlocal trainer
        if variant == "torch-compile" and not hasattr(torch, "compile"):
            raise RuntimeError(f"torch {torch.__version__} has no torch.compile")
        trainer = Processes(setup) if variant == "torch-ddp" else Trainer(setup, 0)
        return {"parameters": trainer.parameters}

    def answer(request):
        if variant == "torch-ddp":
            return trainer.steps(request["steps"])
        return {"milliseconds": trainer.steps(request["steps"]), "peakBytes": peak_bytes()}

    serve(introduce, answer)


if __name__ == "__main__":
    main()
