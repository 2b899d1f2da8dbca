"""The reference libraries give the golden values, so that these are known to be theirs.

    PYTHONPATH=target/python python3 tests/python_test.py
"""

import json
import os
import sys
import unittest
from pathlib import Path

MODELS = Path(__file__).resolve().parent / "golden" / "models"
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
# In CI they must be there; elsewhere `make python` provides them.
try:
    import torch
    import transformers
    from safetensors.torch import load_file
except ImportError as error:
    if os.environ.get("CI"):
        raise
    print("skipped: %s; `make python` provides it" % error, file=sys.stderr)
    torch = None

CLASSES = {
    "gpt2": "AutoModelForCausalLM",
    "xlmr": "AutoModelForSequenceClassification",
    "vit": "AutoModelForImageClassification",
}


@unittest.skipIf(torch is None, "the reference libraries are not there")
class PythonTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        transformers.utils.logging.disable_progress_bar()

    def models(self):
        """Every golden model as its library loads it, with its cases."""
        for index in sorted(MODELS.glob("*-tiny/golden/index.json")):
            known = json.loads(index.read_text())
            folder = index.parent.parent
            auto = getattr(transformers, CLASSES[known["kind"]])
            model = auto.from_pretrained(str(folder), attn_implementation="eager").eval()
            yield folder.name, model, known["cases"], index.parent

    def test_transformers_give_the_golden_logits_losses_and_gradients(self):
        found = 0
        for name, model, cases, golden in self.models():
            for case in cases:
                with self.subTest("%s %s" % (name, case["name"])):
                    inputs = load_file(str(golden / (case["name"] + ".inputs.safetensors")))
                    outputs = load_file(str(golden / (case["name"] + ".outputs.safetensors")))
                    noise = inputs.pop("noise", None)
                    if noise is not None:
                        inputs["inputs_embeds"] = model.get_input_embeddings()(inputs.pop("input_ids")) + noise
                    model.zero_grad()
                    out = model(**inputs)
                    kept = inputs.get("attention_mask", torch.ones(1)).bool()
                    if out.logits.dim() == 3 and "attention_mask" in inputs:
                        out.logits, outputs["logits"] = out.logits[kept], outputs["logits"][kept]
                    torch.testing.assert_close(out.logits, outputs["logits"], atol=5e-5, rtol=0)
                    torch.testing.assert_close(out.loss, outputs["loss"].view(()), atol=1e-5, rtol=0)
                    out.loss.backward()
                    grads = golden / (case["name"] + ".grads.safetensors")
                    if grads.exists():
                        self.check_gradients(model, load_file(str(grads)))
                    found += 1
        self.assertGreater(found, 0)

    def check_gradients(self, model, grads):
        # All at once, because newer versions call parts of a network by other names than its file.
        ours = [p.grad for p in model.parameters() if p.grad is not None]
        self.assertAlmostEqual(norm(ours), norm(grads.values()), delta=1e-4)


def norm(tensors):
    return torch.stack([tensor.double().norm() for tensor in tensors]).norm().item()


if __name__ == "__main__":
    unittest.main()
