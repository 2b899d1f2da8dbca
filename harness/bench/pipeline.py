"""Sets the worker's data preparation and evaluation beside the usual Python code, in one run and on the same cores.

    python3 -m pip install --target target/bench --no-deps --requirement harness/setup/bench-requirements.txt
    PYTHONPATH=target/bench:target/python python3 harness/bench/pipeline.py target/debug/harness-worker

Three rows:

* text: lines to blocks of 1024 tokens. Python: datasets' `load_dataset("text")`, then a fast tokenizer and the joining
  into blocks as `map(batched=True, num_proc=2)`, which is the recipe of transformers' own language-modelling example;
* images: Parquet of JPEG to normalised tensors of 224x224. Python: PIL and torchvision in a DataLoader of 2 workers;
* evaluation: loss of a GPT-2 of 4 layers and width 256. Python: eager PyTorch, no gradients.

Text and images are generated. Each side is timed in turn, ours before and after; the fastest round counts. Starting a
program and importing libraries are left out on both sides, whatever is done once per data set is in.

The worker's side of the bargain, each printing one JSON object {"seconds", "items", "per_second"}:

    harness-worker pipeline text FOLDER PORTION TOKENIZER_FOLDER --cache DIR    items: tokens in whole blocks
    harness-worker pipeline images FOLDER PORTION                               items: images
    harness-worker pipeline evaluate                                            items: tokens; "batch", "length"
"""

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = 1024
SIZE = 224
WORKERS = 2


# --- Input -------------------------------------------------------------------------------------


def words(count, generator):
    """Made-up words, of which the first are the commonest, with their weights."""
    syllables = [c + v + e for c in "bcdfghklmnprstvw" for v in "aeiou" for e in ("", "n", "r", "st")]
    made = ["".join(generator.choices(syllables, k=1 + generator.randrange(4))) for _ in range(count)]
    return made, [1 / (rank + 10) for rank in range(count)]


def generate_text(folder, megabytes):
    """`folder/train.txt`: lines of a few hundred characters, some of them empty."""
    generator = random.Random(0)
    vocabulary, weights = words(30_000, generator)
    folder.mkdir(parents=True)
    with open(folder / "train.txt", "w") as file:
        size = 0
        while size < megabytes * 1_000_000:
            drawn = generator.choices(vocabulary, weights, k=20_000)
            while drawn:
                count = generator.randrange(0, 90)
                size += file.write(" ".join(drawn[:count]) + ".\n" * bool(count) or "\n")
                del drawn[: count or 1]


def generate_tokenizer(folder, text):
    """A byte-level BPE of GPT-2's kind and size, learnt from the text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=50257, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    with open(text) as file:
        tokenizer.train_from_iterator((line for line, _ in zip(file, range(20_000))), trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": BLOCK}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def generate_images(folder, count):
    """`folder/data/train-00000-of-00001.parquet` as the Hub keeps images: bytes of JPEG, and a class."""
    import numpy
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    generator = numpy.random.default_rng(0)
    images = []
    for _ in range(count):
        height, width = generator.integers(256, 512, 2)
        # Smooth, because noise alone is no picture and takes JPEG longer.
        coarse = generator.integers(0, 256, (12, 12, 3), dtype=numpy.uint8)
        picture = numpy.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC), dtype=numpy.int16)
        picture = (picture + generator.integers(-12, 13, picture.shape)).clip(0, 255).astype(numpy.uint8)
        encoded = io.BytesIO()
        Image.fromarray(picture).save(encoded, "JPEG", quality=90)
        images.append({"bytes": encoded.getvalue(), "path": None})
    classes = {"names": [str(label) for label in range(10)], "_type": "ClassLabel"}
    about = {"info": {"features": {"image": {"_type": "Image"}, "label": classes}}}
    schema = pyarrow.schema(
        {
            "image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
            "label": pyarrow.int64(),
        },
        metadata={"huggingface": json.dumps(about)},
    )
    columns = {"image": images, "label": [label % 10 for label in range(count)]}
    (folder / "data").mkdir(parents=True)
    table = pyarrow.table(columns, schema=schema)
    pyarrow.parquet.write_table(table, folder / "data" / "train-00000-of-00001.parquet", row_group_size=100)


# --- Python's side: each returns (seconds, items) ----------------------------------------------


def prepare_text(folder, tokenizer_folder, cache):
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_folder))

    def tokenize(batch):
        return {"input_ids": tokenizer(batch["text"], return_attention_mask=False)["input_ids"]}

    def join(batch):
        ids = [token for line in batch["input_ids"] for token in line]
        whole = len(ids) // BLOCK * BLOCK
        return {"input_ids": [ids[i : i + BLOCK] for i in range(0, whole, BLOCK)]}

    begun = time.perf_counter()
    text = datasets.load_dataset("text", data_files=str(folder / "train.txt"), split="train", cache_dir=str(cache))
    tokens = text.map(tokenize, batched=True, num_proc=WORKERS, remove_columns=["text"])
    blocks = tokens.map(join, batched=True, num_proc=WORKERS)
    return time.perf_counter() - begun, len(blocks) * BLOCK


class Pictures:
    """A data set for a DataLoader, decoded and transformed one by one."""

    def __init__(self, folder):
        import datasets
        from torchvision import transforms

        files = str(folder / "data" / "train-*.parquet")
        self.rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))
        self.transform = transforms.Compose(
            [
                transforms.Resize((SIZE, SIZE)),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return self.transform(row["image"].convert("RGB")), row["label"]


def prepare_images(folder):
    import torch

    pictures = Pictures(folder)
    begun = time.perf_counter()
    count = 0
    for images, _ in torch.utils.data.DataLoader(pictures, batch_size=32, num_workers=WORKERS):
        count += len(images)
    return time.perf_counter() - begun, count


def evaluate(batch, length):
    import torch
    import transformers
    import torch.nn.functional as F

    config = transformers.GPT2Config(n_layer=4, n_embd=256, n_head=4, n_positions=max(length, BLOCK))
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(config.vocab_size, (batch, length))
    rounds = 8
    with torch.no_grad():
        model(ids)
        begun = time.perf_counter()
        for _ in range(rounds):
            logits = model(ids).logits[:, :-1]
            F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1)).item()
    return time.perf_counter() - begun, rounds * batch * length


# --- Side by side ------------------------------------------------------------------------------


def ask(worker, *words):
    """What the worker measured."""
    command = [worker, "pipeline", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("%s: %s" % (" ".join(command), done.stderr.strip()))
    return json.loads(done.stdout)


def side_by_side(name, unit, rounds, ours, theirs):
    """Prints a row. `ours` measures as the worker does; `theirs`, given that, returns (seconds, items)."""
    best, told = 0.0, ours()
    fastest = told["per_second"]
    for _ in range(rounds):
        seconds, items = theirs(told)
        best = max(best, items / seconds)
        fastest = max(fastest, ours()["per_second"])
    note = "" if items == told["items"] else "  (%d and %d %s)" % (told["items"], items, unit)
    print("%-12s %-8s %12.0f %12.0f %7.2fx%s" % (name, unit, fastest, best, fastest / best, note), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worker")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=20, help="of text")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer; one of GPT-2's kind is learnt otherwise")
    parser.add_argument("--only", action="append", choices=["text", "images", "evaluation"])
    arguments = parser.parse_args()
    wanted = arguments.only or ["text", "images", "evaluation"]

    # Both sides, and whatever they start, on the same cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:WORKERS])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(WORKERS)
    os.environ.update(OMP_WAIT_POLICY="passive", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

    import torch

    torch.set_num_threads(WORKERS)
    print("torch %s, %d cores, fastest of %d rounds" % (torch.__version__, WORKERS, arguments.rounds))
    print("%-12s %-8s %12s %12s %8s" % ("", "", "ours/s", "Python/s", "faster"))
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)

        def fresh(name):
            shutil.rmtree(place / name, ignore_errors=True)
            (place / name).mkdir()
            return place / name

        if "text" in wanted:
            text, tokenizer = place / "text", arguments.tokenizer or place / "tokenizer"
            generate_text(text, arguments.megabytes)
            if not arguments.tokenizer:
                generate_tokenizer(tokenizer, text / "train.txt")
            ours = lambda: ask(arguments.worker, "text", text, "train", tokenizer, "--cache", fresh("ours"))
            theirs = lambda _: prepare_text(text, tokenizer, fresh("theirs"))
            side_by_side("text", "tokens", arguments.rounds, ours, theirs)
        if "images" in wanted:
            images = place / "images"
            generate_images(images, arguments.images)
            ours = lambda: ask(arguments.worker, "images", images, "train")
            side_by_side("images", "images", arguments.rounds, ours, lambda _: prepare_images(images))
        if "evaluation" in wanted:
            ours = lambda: ask(arguments.worker, "evaluate")
            theirs = lambda told: evaluate(told.get("batch", 1), told.get("length", BLOCK))
            side_by_side("evaluation", "tokens", arguments.rounds, ours, theirs)


if __name__ == "__main__":
    main()
