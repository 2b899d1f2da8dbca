"""Reads the training log of a run's folder with TensorBoard's own reader and with polars; prints both as JSON.

    PYTHONPATH=target/python python3 tests/read_training_log.py FOLDER
"""

import json
import math
import sys

import polars
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = sys.argv[1]
events = EventAccumulator(folder, size_guidance={"scalars": 0})
events.Reload()
scalars = {
    # A number that is not finite has no place in JSON.
    tag: [[seen.step, seen.value if math.isfinite(seen.value) else None] for seen in events.Scalars(tag)]
    for tag in events.Tags()["scalars"]
}
print(json.dumps({"scalars": scalars, "table": polars.read_parquet(folder + "/training.parquet").to_dicts()}))
