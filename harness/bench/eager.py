"""Sets `harness bench` beside the usual eager PyTorch code of the same methods: same networks, threads and libtorch.

    python3 harness/bench/eager.py target/debug/harness-worker gpt-small [--rounds 7] [--threads 1] [--method sam ...]

The eager side is what the methods' public implementations do: torch.optim.Adam, a loop over parameters for every norm,
perturbation and restoration, deep copies for stored models. Both sides are timed in turn, method by method; the fastest
round counts. Needs Python's torch of the same version.
"""

import argparse
import copy
import json
import re
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

RHO = {"sam": 0.05, "asam": 0.5, "asam_trpo": 0.5, "asam_r3f": 0.5, "asam_mesa": 0.5}
SIGMA, GAMMA, ETA, LAMBDA, DECAY = 0.1, 0.1, 0.1, 0.1, 0.999


class Block(nn.Module):
    def __init__(self, width, heads, hidden, causal, eps):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.ln1, self.ln2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(self.ln1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(*qkv, is_causal=self.causal)
        x = x + self.out(a.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh" if self.causal else "none"))


class Gpt(nn.Module):
    def __init__(self, layers, width, batch, length, vocabulary=50257):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(width, width // 64, 4 * width, True, 1e-5) for _ in range(layers))
        nn.init.normal_(self.wte.weight, std=0.02)
        self.data = torch.randint(vocabulary, (batch, length))

    def embed(self, data):
        return self.wte(data)

    def logits(self, e):
        x = e + self.wpe
        for block in self.blocks:
            x = block(x)
        return F.linear(x, self.wte.weight)

    def loss(self, logits):
        return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), self.data[:, 1:].reshape(-1))


class Vit(nn.Module):
    def __init__(self, layers=4, width=64, heads=4, hidden=256, image=32, patch=8, classes=10, batch=16):
        super().__init__()
        self.project = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (image // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads, hidden, False, 1e-12) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width, 1e-12), nn.Linear(width, classes)
        self.data, self.labels = torch.randn(batch, 3, image, image), torch.randint(classes, (batch,))

    def embed(self, data):
        return data

    def logits(self, e):
        x = self.project(e).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])

    def loss(self, logits):
        return F.cross_entropy(logits, self.labels)


NETWORKS = {
    "vit-tiny": Vit,
    "gpt-small": lambda: Gpt(4, 256, 2, 64),
    "gpt-base": lambda: Gpt(12, 768, 1, 64),
}


def kl(target, current):
    p, q = F.log_softmax(target, -1), F.log_softmax(current, -1)
    return F.kl_div(q, p, reduction="sum", log_target=True) / (current.numel() / current.shape[-1])


class Trainer:
    def __init__(self, name, network):
        self.name, self.net = name, network()
        self.adam = torch.optim.Adam(self.net.parameters(), lr=2e-5, betas=(0.9, 0.99))
        stored = name.endswith(("trpo", "mesa", "theta_prev", "theta_0"))
        self.stored = copy.deepcopy(self.net).eval() if stored else None

    def noised(self, grad):
        e = self.net.embed(self.net.data)
        with torch.set_grad_enabled(grad):
            return self.net.logits(e.detach() + self.z if not grad else e + self.z)

    def target(self):
        with torch.no_grad():
            if self.stored is not None:
                return self.stored.logits(self.stored.embed(self.stored.data))
        return self.noised(grad=False)

    def objective(self, target=None):
        logits = self.net.logits(self.net.embed(self.net.data))
        loss = self.net.loss(logits)
        if self.name.endswith(("trpo", "mesa", "r3f")):
            target = self.noised(grad=False) if self.name.endswith("r3f") else target
            loss = loss + LAMBDA * kl(target, logits)
        return loss, logits

    def perturb(self, radius, kind, fisher=None):
        parameters = [p for p in self.net.parameters() if p.grad is not None]
        with torch.no_grad():
            if kind == "fisher":
                w = [1 / (1 + ETA * f * f) for f in fisher or [p.grad for p in parameters]]
                norm = torch.stack([(p.grad * wi * p.grad).sum() for p, wi in zip(parameters, w)]).sum().sqrt()
                steps = [GAMMA * wi * p.grad / (norm + 1e-12) for p, wi in zip(parameters, w)]
            elif kind == "plain":
                norm = torch.stack([p.grad.norm() for p in parameters]).norm()
                steps = [p.grad * (radius / (norm + 1e-12)) for p in parameters]
            else:
                norm = torch.stack([(p.abs() * p.grad).norm() for p in parameters]).norm()
                steps = [p.pow(2) * p.grad * (radius / (norm + 1e-12)) for p in parameters]
            saved = [p.detach().clone() for p in parameters]
            for p, step in zip(parameters, steps):
                p.add_(step)
        self.adam.zero_grad()
        return parameters, saved

    def step(self):
        net, name = self.net, self.name
        self.z = SIGMA * torch.randn_like(net.embed(net.data))
        self.adam.zero_grad()
        target = self.target() if self.stored is not None and not name.startswith("tram") else None
        loss, logits = self.objective(target)
        loss.backward()
        if name not in ("base", "trpo", "r3f", "mesa"):
            fisher = None
            if name == "tram_fisher":
                clean = [p.grad.clone() for p in net.parameters()]
                self.adam.zero_grad()
                net.loss(self.noised(grad=True)).backward()
                fisher = [p.grad.clone() for p in net.parameters()]
                for p, g in zip(net.parameters(), clean):
                    p.grad = g
            kind = "plain" if name == "sam" else "fisher" if name in ("fsam", "tram_fisher") else "adaptive"
            with torch.no_grad():
                radius = kl(self.target(), logits) if name.startswith("tram") and not fisher else RHO.get(name, 0.0)
            parameters, saved = self.perturb(radius, kind, fisher)
            self.objective(target)[0].backward()
            with torch.no_grad():
                for p, old in zip(parameters, saved):
                    p.copy_(old)
        with torch.no_grad():
            if name.endswith(("trpo", "theta_prev")):
                for old, p in zip(self.stored.parameters(), net.parameters()):
                    old.copy_(p)
            self.adam.step()
            if name.endswith("mesa"):
                for old, p in zip(self.stored.parameters(), net.parameters()):
                    old.mul_(DECAY).add_(p, alpha=1 - DECAY)


METHODS = """base sam asam fsam trpo r3f mesa asam_trpo asam_r3f asam_mesa tram_theta_prev tram_theta_0 tram_x
tram_fisher""".split()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worker")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", action="append", choices=METHODS)
    parser.add_argument("--peak", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(2)
    if arguments.peak:
        trainer = Trainer(arguments.peak, NETWORKS[arguments.network])
        for _ in range(3):
            trainer.step()
        # Not getrusage: its maximum counts what the parent held when it started this process.
        print(1024 * int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read()).group(1)))
        return
    print(f"{arguments.network}, torch {torch.__version__}, {arguments.threads} threads, fastest of {arguments.rounds} rounds")
    print(f"{'method':<16} {'ours ms':>9} {'eager ms':>9} {'faster':>7} {'ours MiB':>9} {'eager MiB':>9}")
    for method in arguments.method or METHODS:
        command = [arguments.worker, "bench", arguments.network, "--method", method, "--json"]
        command += ["--rounds", str(arguments.rounds), "--threads", str(arguments.threads)]
        trainer = Trainer(method, NETWORKS[arguments.network])
        best = float("inf")
        ours = []
        # Ours before and after, so that a machine that changes its pace changes both.
        for _ in range(2):
            ours.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["rows"][0])
            for round in range(arguments.rounds + 1):
                start = time.perf_counter()
                trainer.step()
                best = min(best, time.perf_counter() - start) if round else best
        peak = [sys.executable, __file__, arguments.worker, arguments.network, "--peak", method]
        peak = int(subprocess.run(peak + ["--threads", str(arguments.threads)], check=True, capture_output=True).stdout)
        seconds = min(row["seconds"] for row in ours)
        mib = ours[0]["peak_bytes"] / 2**20
        print(f"{method:<16} {1e3 * seconds:>9.2f} {1e3 * best:>9.2f} {best / seconds:>6.2f}x {mib:>9.0f} {peak / 2**20:>9.0f}", flush=True)


main()
