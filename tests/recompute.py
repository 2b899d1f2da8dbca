"""Recomputes a table from the Parquet files of a store, sharing nothing with the harness but the files.

Usage: recompute.py PLAN.json STORE CELLS.csv, where PLAN.json is what `harness plan --json` prints. Exits with 1, and
says which, when a cell of the report is not the mean and the 95% confidence interval of what the store holds.
"""

import csv
import json
import math
import sys

import polars

T95 = {2: 12.706204736432095, 3: 4.302652729696142, 4: 3.182446305284263, 5: 2.7764451051977987}


def main():
    plan, store, cells = sys.argv[1:]
    values = {}
    for run in json.load(open(plan))["runs"]:
        seen = polars.read_parquet(f"{store}/{run['id']}/observations.parquet")
        assert set(seen["run"]) == {run["id"]}
        for measurement in run["measurements"]:
            found = seen.filter(
                (polars.col("on") == measurement["on"]) & (polars.col("metric") == measurement["measure"])
            )
            values.setdefault((run["method"], measurement["measure"]), []).append(found["value"][-1])
    wrong = checked = 0
    for cell in csv.DictReader(open(cells)):
        sample = values[cell["method"], cell["column"]]
        n = len(sample)
        mean = math.fsum(sample) / n
        sd = math.sqrt(math.fsum((x - mean) ** 2 for x in sample) / (n - 1))
        interval = T95[n] * sd / math.sqrt(n)
        ours, spread = float(cell["ours"]), float(cell["ours_ci95"])
        checked += 1
        if abs(ours - mean) > 1e-9 * abs(mean) or abs(spread - interval) > 1e-9 * max(interval, 1e-9):
            wrong += 1
            print(f"{cell['method']} {cell['column']}: report {ours} ± {spread}, Parquet {mean} ± {interval}")
    print(f"{checked} cells checked, {wrong} wrong")
    sys.exit(wrong > 0 or checked == 0)


main()
