"""The statistics of `harness` agree with scipy on random samples, with ties, zeros, constants and extreme sizes.

    PYTHONPATH=target/python python3 tests/scipy_test.py

The program is the one that `cargo build` made, or HARNESS. The seeds are fixed, so every run asks the same questions.
"""

import json
import os
import subprocess
import sys
import unittest
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HARNESS = Path(os.environ.get("HARNESS", TARGET / "debug" / "harness"))
# In CI they must be there; elsewhere `make python` and `cargo build` provide them.
try:
    import numpy
    from scipy import special, stats

    if not HARNESS.exists():
        raise ImportError("there is no %s" % HARNESS)
except ImportError as error:
    if os.environ.get("CI"):
        raise
    print("skipped: %s; `make python` and `cargo build` provide what is missing" % error, file=sys.stderr)
    stats = None


def ask(questions):
    """The program's answers, in the order of the questions."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([str(HARNESS), "stats"], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def samples(generator, smallest=2):
    """Samples of every kind: smooth, tied, with zeros, tiny, large, constant, far from zero."""
    for i in range(40):
        n = int(generator.integers(smallest, 30))
        yield "smooth %d" % i, generator.normal(0.3, 1.0, n)
    for i in range(40):
        n = int(generator.integers(smallest, 30))
        yield "tied %d" % i, generator.integers(-4, 6, n).astype(float)
    for i in range(10):
        yield "tiny %d" % i, generator.normal(0.0, 1.0, smallest)
    for i in range(10):
        yield "far %d" % i, 1e6 + generator.normal(0.0, 1.0, 12)
    for i in range(5):
        yield "huge %d" % i, generator.normal(0.01, 1.0, 20000)
    for i in range(5):
        yield "heavy %d" % i, generator.standard_cauchy(25)
    for value in (0.0, 2.5):
        yield "constant %g" % value, numpy.full(8, value)


@unittest.skipIf(stats is None, "scipy or the program is not there")
class ScipyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        warnings.simplefilter("ignore")

    def close(self, ours, theirs, relative=1e-9, absolute=1e-12):
        """Equal within a relative tolerance, and an absolute one for what cancels to nothing."""
        self.assertLessEqual(abs(ours - theirs), relative * abs(theirs) + absolute, "%r is not %r" % (ours, theirs))

    def check(self, cases, compare):
        """Asks every case's question; `compare` holds the answer against scipy's."""
        cases = list(cases)
        answers = ask([question for _, question, _ in cases])
        self.assertEqual(len(answers), len(cases))
        for (name, question, data), answer in zip(cases, answers):
            with self.subTest("%s: %s" % (question["test"], name)):
                compare(answer, *data)

    def test_means_and_their_intervals(self):
        def compare(answer, x):
            self.close(answer["mean"], x.mean())
            self.close(answer["sd"], x.std(ddof=1), absolute=1e-9)
            half = stats.sem(x) * stats.t.ppf(0.975, len(x) - 1)
            self.close(answer["ci95"], half, absolute=1e-9)

        generator = numpy.random.default_rng(1)
        self.check(
            ((name, {"test": "mean", "x": x.tolist()}, (x,)) for name, x in samples(generator)), compare
        )

    def difference(self, answer, theirs, two_sided, equivalent):
        # Means near a million are known to 1e-10.
        self.close(answer["t"], theirs.statistic, absolute=1e-9)
        self.close(answer["df"], theirs.df)
        self.close(answer["p"], theirs.pvalue, relative=1e-8, absolute=1e-9)
        interval = theirs.confidence_interval(0.95)
        self.close(answer["half_width"], (interval.high - interval.low) / 2, absolute=1e-9)
        self.close(answer["difference"], two_sided, absolute=1e-9)
        self.close(answer["p_equivalent"], equivalent, relative=1e-8, absolute=1e-9)

    def constant(self, answer):
        """scipy has no number here; ours is 0 spread: certain, one way or the other."""
        self.assertIn(answer["p"], (0.0, 1.0))

    def test_student_of_one_sample(self):
        def compare(answer, x, value, margin):
            if x.std() == 0:
                return self.constant(answer)
            low = stats.ttest_1samp(x, value - margin, alternative="greater").pvalue
            high = stats.ttest_1samp(x, value + margin, alternative="less").pvalue
            self.difference(answer, stats.ttest_1samp(x, value), x.mean() - value, max(low, high))

        def cases():
            generator = numpy.random.default_rng(2)
            for name, x in samples(generator):
                value = float(x[0]) + 0.5 if name.startswith("far") else 0.25
                question = {"test": "student", "x": x.tolist(), "value": value, "margin": 0.75}
                yield name, question, (x, value, 0.75)

        self.check(cases(), compare)

    def test_student_of_pairs(self):
        def compare(answer, x, y):
            if (x - y).std() == 0:
                return self.constant(answer)
            low = stats.ttest_rel(x + 0.5, y, alternative="greater").pvalue
            high = stats.ttest_rel(x - 0.5, y, alternative="less").pvalue
            self.difference(answer, stats.ttest_rel(x, y), (x - y).mean(), max(low, high))

        def cases():
            generator = numpy.random.default_rng(3)
            for name, x in samples(generator):
                y = x + numpy.round(generator.normal(0.2, 1.0, len(x)), 1)
                question = {"test": "paired", "x": x.tolist(), "y": y.tolist(), "margin": 0.5}
                yield name, question, (x, y)

        self.check(cases(), compare)

    def test_welch(self):
        def compare(answer, x, y):
            if x.std() == 0 and y.std() == 0:
                return self.constant(answer)
            low = stats.ttest_ind(x + 0.5, y, equal_var=False, alternative="greater").pvalue
            high = stats.ttest_ind(x - 0.5, y, equal_var=False, alternative="less").pvalue
            theirs = stats.ttest_ind(x, y, equal_var=False)
            self.difference(answer, theirs, x.mean() - y.mean(), max(low, high))

        def cases():
            generator = numpy.random.default_rng(4)
            for name, x in samples(generator):
                y = x.mean() + generator.normal(0.4, generator.uniform(0.1, 4.0), int(generator.integers(2, 40)))
                question = {"test": "welch", "x": x.tolist(), "y": y.tolist(), "margin": 0.5}
                yield name, question, (x, y)

        self.check(cases(), compare)

    def test_wilcoxon_by_enumeration(self):
        def compare(answer, x):
            kept = x[x != 0]
            if len(kept) == 0:
                return self.assertIsNone(answer)
            if len(set(abs(kept))) == len(kept):
                theirs = stats.wilcoxon(kept, zero_method="wilcox", method="exact")
            else:
                # scipy's exact distribution is of untied ranks; its permutations are of the tied ones.
                every = stats.PermutationMethod(n_resamples=2 ** len(kept), batch=4096)
                theirs = stats.wilcoxon(kept, zero_method="wilcox", method=every)
            self.close(answer["statistic"], theirs.statistic)
            self.close(answer["p"], theirs.pvalue)

        def cases():
            generator = numpy.random.default_rng(5)
            for name, x in samples(generator, smallest=1):
                ties = len(set(abs(x[x != 0]))) < len(x[x != 0])
                x = x[:12] if ties else x[:50]
                for test in ("wilcoxon", "wilcoxon_exact"):
                    yield name, {"test": test, "x": x.tolist()}, (x,)

        self.check(cases(), compare)

    def test_wilcoxon_by_the_normal(self):
        def compare(answer, x, corrected):
            kept = x[x != 0]
            if len(kept) == 0:
                return self.assertIsNone(answer)
            theirs = stats.wilcoxon(x, zero_method="wilcox", correction=corrected, method="asymptotic")
            self.close(answer["statistic"], theirs.statistic)
            self.close(answer["p"], theirs.pvalue)

        def cases():
            generator = numpy.random.default_rng(6)
            for name, x in samples(generator, smallest=1):
                for corrected in (False, True):
                    question = {"test": "wilcoxon_normal", "x": x.tolist(), "corrected": corrected}
                    yield name, question, (x, corrected)

        self.check(cases(), compare)

    def test_kolmogorov_smirnov_exactly(self):
        def compare(answer, x, y):
            theirs = stats.ks_2samp(x, y, method="exact")
            self.close(answer["statistic"], theirs.statistic)
            self.close(answer["p"], theirs.pvalue, relative=1e-8, absolute=1e-14)

        def cases():
            generator = numpy.random.default_rng(7)
            for name, x in samples(generator, smallest=1):
                x = x[:200]
                n = int(generator.integers(1, 60))
                y = generator.choice(x, n) if name.startswith("tied") else x.mean() + generator.normal(0.5, 1.2, n)
                yield name, {"test": "kolmogorov_smirnov", "x": x.tolist(), "y": y.tolist()}, (x, y)

        self.check(cases(), compare)

    def test_kolmogorovs_limit(self):
        values = numpy.random.default_rng(8).uniform(0.0, 4.0, 200)
        self.check(
            (("%g" % x, {"test": "kolmogorov_limit", "x": x}, (x,)) for x in values.tolist()),
            lambda answer, x: self.close(answer["p"], special.kolmogorov(x)),
        )

    def test_kolmogorov_smirnov_of_many_values(self):
        def compare(answer, x, y):
            theirs = stats.ks_2samp(x, y, method="asymp")
            self.close(answer["statistic"], theirs.statistic)
            # scipy takes the distribution of one sample of n m / (n + m) values, not its limit: 1 / sqrt(n) apart.
            self.close(answer["p"], theirs.pvalue, absolute=0.01)
            limit = special.kolmogorov(theirs.statistic * numpy.sqrt(len(x) * len(y) / (len(x) + len(y))))
            self.close(answer["p"], limit)

        def cases():
            generator = numpy.random.default_rng(9)
            for i in range(5):
                x, y = generator.normal(0.0, 1.0, 6000), generator.normal(0.01 * i, 1.0, 5000)
                yield str(i), {"test": "kolmogorov_smirnov", "x": x.tolist(), "y": y.tolist()}, (x, y)

        self.check(cases(), compare)

    def test_pearson(self):
        def compare(answer, x, y):
            if x.std() == 0 or y.std() == 0:
                return self.assertIsNone(answer)
            theirs = stats.pearsonr(x, y)
            self.close(answer["r"], theirs.statistic)
            # Near r = 1, p rests on 1 - r, of which few digits are left.
            self.close(answer["p"], theirs.pvalue, relative=1e-5)
            interval = theirs.confidence_interval(0.95)
            self.close(answer["ci95"][0], interval.low)
            self.close(answer["ci95"][1], interval.high)

        def cases():
            generator = numpy.random.default_rng(10)
            for name, x in samples(generator):
                if name.startswith("tiny"):
                    x = generator.normal(0.0, 1.0, 4)
                y = generator.uniform(-1, 1) * x + generator.normal(0.0, generator.uniform(0.01, 3.0), len(x))
                yield name, {"test": "pearson", "x": x.tolist(), "y": y.tolist()}, (x, y)

        self.check(cases(), compare)

    def test_holm(self):
        def by_hand(p):
            order = numpy.argsort(p, kind="stable")
            stepped = numpy.maximum.accumulate(p[order] * numpy.arange(len(p), 0, -1))
            adjusted = numpy.empty(len(p))
            adjusted[order] = numpy.minimum(stepped, 1.0)
            return adjusted

        def compare(answer, p):
            self.assertEqual(len(answer["p"]), len(p))
            for ours, theirs in zip(answer["p"], by_hand(p)):
                self.close(ours, theirs)

        def cases():
            generator = numpy.random.default_rng(11)
            for i in range(100):
                p = generator.uniform(0.0, 1.0, int(generator.integers(0, 20))) ** 3
                p = numpy.round(p, 2) if i % 2 else p
                yield str(i), {"test": "holm", "p": p.tolist()}, (p,)

        self.check(cases(), compare)


if __name__ == "__main__":
    unittest.main()
