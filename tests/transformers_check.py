"""Reads an exported model with Hugging Face's transformers and compares its logits with ours.

    python3 tests/transformers_check.py MODEL_FOLDER CHECK.safetensors RESAVED_FOLDER

CHECK holds the inputs of a batch and our `logits`. What transformers writes of the same model goes to
RESAVED_FOLDER/whole and, in shards, to RESAVED_FOLDER/sharded. Exit status 3: a library is missing.
"""

import sys

try:
    import torch
    import transformers
    from safetensors.torch import load_file
except ImportError as error:
    print(f"not there: {error}", file=sys.stderr)
    sys.exit(3)

CLASSES = {
    "gpt2": "AutoModelForCausalLM",
    "xlm-roberta": "AutoModelForSequenceClassification",
    "vit": "AutoModelForImageClassification",
}
TOLERANCE = 1e-5


def main(folder, check, resaved):
    family = transformers.AutoConfig.from_pretrained(folder).model_type
    auto = getattr(transformers, CLASSES[family])
    model, report = auto.from_pretrained(folder, output_loading_info=True)
    left = {what: keys for what, keys in report.items() if keys}
    if left:
        sys.exit(f"{family}: transformers did not take every weight: {left}")
    tensors = load_file(check)
    ours = tensors.pop("logits")
    with torch.no_grad():
        theirs = model.eval()(**tensors).logits
    gap = (ours - theirs).abs().max().item()
    print(f"{family}: logits {list(ours.shape)} differ by {gap:.2e} at most")
    if not gap <= TOLERANCE:
        sys.exit(f"{family}: more than {TOLERANCE}")
    model.save_pretrained(f"{resaved}/whole")
    model.save_pretrained(f"{resaved}/sharded", max_shard_size="100KB")


main(*sys.argv[1:])
