"""Measures a finished run again with transformers and PyTorch, in double precision, and compares.

    measured_again.py RUN_FOLDER START_FOLDER DATA_FOLDER TOKENIZER_FOLDER

RUN_FOLDER is a run of the store: `spec.yaml` says how examples are read, `metrics.json` what was measured. The network
is read with `from_pretrained` from it, and the one that training started from, for CKA, from START_FOLDER. Nothing here
is shared with the programs under test. Prints every measurement with both values; exits with 1 if any is off.
"""

import json
import math
import sys
from pathlib import Path

import polars
import torch
import torch.nn.functional as F
import yaml
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

run, start, data, tokenizer = map(Path, sys.argv[1:5])
spec = yaml.safe_load((run / "spec.yaml").read_text())
metrics = json.loads((run / "metrics.json").read_text())
tokenizer = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
pairs = spec["input"].get("sentence_pairs")
kind = AutoModelForSequenceClassification if pairs else AutoModelForCausalLM


def network(folder):
    model, report = kind.from_pretrained(folder, dtype=torch.float64, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    return model.eval()


def examples(portion):
    """(ids, label) of every example; no label for a language model."""
    config, split = portion.split("/")
    if pairs:
        tokenizer.enable_truncation(pairs["max_length"], strategy="longest_first")
        frame = polars.concat(polars.read_parquet(p) for p in sorted((data / config).glob(f"{split}-*.parquet")))
        columns = [frame[pairs[c]].to_list() for c in ("first", "second", "label")]
        return [(tokenizer.encode(a, b).ids, label) for a, b, label in zip(*columns)]
    text = "\n".join(line.strip() for line in (data / config / f"{split}.txt").read_text().splitlines())
    ids, length = tokenizer.encode(text).ids, spec["input"]["text_blocks"]["length"]
    return [(ids[i : i + length], None) for i in range(0, len(ids), length) if len(ids[i : i + length]) > 1]


def loss(model, ids, label):
    """Summed cross entropy, its number of terms, and whether the class is right."""
    ids = torch.tensor([ids])
    logits = model(ids).logits
    if label is None:
        return F.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum"), ids.shape[1] - 1, False
    return F.cross_entropy(logits, torch.tensor([label])), 1, logits.argmax().item() == label


def mean_loss(model, given):
    with torch.no_grad():
        sums = [loss(model, *example)[:2] for example in given]
    return sum(s.item() for s, _ in sums) / sum(n for _, n in sums)


def first_tokens(model, given):
    with torch.no_grad():
        return torch.stack([model.base_model(torch.tensor([ids])).last_hidden_state[0, 0] for ids, _ in given])


def cka(model, given, knobs):
    x, y = first_tokens(network(start), given), first_tokens(model, given)
    if knobs["centred"]:
        x, y = x - x.mean(0), y - y.mean(0)
    return ((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())).item()


def sharpness(model, given, knobs):
    theta = list(model.parameters())
    origin = [p.detach().clone() for p in theta]
    width = [knobs["epsilon"] * (p.abs() + 1 if knobs["box"] == "absolute" else (p + 1).abs()) for p in origin]
    before = mean_loss(model, given)
    batches = [given[i : i + knobs["batch"]] for i in range(0, len(given), knobs["batch"])]
    for i in range(0, len(batches) // knobs["accumulation"] * knobs["accumulation"], knobs["accumulation"]):
        model.zero_grad()
        for batch in batches[i : i + knobs["accumulation"]]:
            found = [loss(model, *example) for example in batch]
            (sum(s for s, _, _ in found) / sum(n for _, n, _ in found)).backward()
        with torch.no_grad():
            for p, o, w in zip(theta, origin, width):
                if p.grad is not None:
                    p.copy_(torch.clamp(p + knobs["lr"] * p.grad, o - w, o + w))
    after = mean_loss(model, given)
    return 100 * (after - before) / (1 + before)


compared, wrong = 0, 0
for portion, values in metrics["values"].items():
    # Training leaves out a last block that is not full, so its count is another.
    if portion in ("training", spec["select"], "+".join(spec["train"])):
        continue
    given = examples(portion)
    for name, ours in values.items():
        model = network(run)
        knobs = json.loads(name[name.index("{") :]) if "{" in name else {}
        if name == "accuracy":
            with torch.no_grad():
                found = 100 * sum(loss(model, *example)[2] for example in given) / len(given)
        elif name == "perplexity":
            found = math.exp(mean_loss(model, given))
        elif name == "loss":
            found = mean_loss(model, given)
        elif name == "examples":
            found = len(given)
        elif name == "tokens":
            continue
        elif name.startswith("cka"):
            found = cka(model, given, knobs)
        elif name.startswith("sharpness"):
            found = sharpness(model, given, knobs)
        else:
            raise SystemExit(f"what is {name}?")
        # A difference of two losses in single precision carries the rounding of both.
        tolerance = 1e-2 if name.startswith("sharpness") else 1e-4
        off = abs(found - ours) / max(abs(found), 1e-9)
        print(f"{portion} {name}: ours {ours:.9g}, reference {found:.9g}, {off:.1e} apart")
        compared, wrong = compared + 1, wrong + (off > tolerance)
assert compared, "nothing was measured"
sys.exit(1 if wrong else 0)
