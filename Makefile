# Set-up only: everything else is plain cargo.

PYTHON ?= python3
PIP ?= $(PYTHON) -m pip
SUITE ?= suites/smoke.yaml
PACKAGES := target/python

.DEFAULT_GOAL := help
.PHONY: help smoke test build report paper libtorch cpu cuda python slurm

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

smoke: build ## From a fresh clone to a comparison table
	cargo run --quiet -- run $(SUITE)

# In two calls, because tests of one package may ask others to be built with other features, polars among them. Python's
# come last, because some ask the program that these have built.
test: libtorch python slurm ## Run every test
	cargo test --package optim --package torch-ext
	cargo test
	PYTHONPATH=$(PACKAGES) $(PYTHON) -B -m unittest discover --start-directory tests --pattern '*_test.py'

build: libtorch ## Build the two programs, harness and harness-worker
	cargo build

report: build ## Write the report of SUITE=suites/smoke.yaml again
	cargo run --quiet -- report $(SUITE)

paper: build ## Write what the paper's own numbers say, in reports/*/paper, again
	cargo run --quiet -- report --paper-only suites/tram/*.yaml >/dev/null

libtorch: ## Provide libtorch where there is none (540 MB, 1.1 GB unpacked)
	@$(PYTHON) harness/setup/libtorch.py ensure

cuda: ## Provide the CUDA libtorch and use it (2.5 GB)
	@$(PYTHON) harness/setup/libtorch.py cuda

cpu: ## Use the CPU libtorch again
	@$(PYTHON) harness/setup/libtorch.py cpu

# Tests of the cluster start a small one of their own; without Slurm they are skipped, and say so.
slurm: ## Install Slurm for the tests, where apt can
	@command -v sbatch >/dev/null && command -v munged >/dev/null || \
	    { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge; } || \
	    echo "SKIPPED: no Slurm and no right to install it; its tests will be skipped"

python: $(PACKAGES)/requirements.txt ## Install the Python packages that the tests use (130 MB, 580 MB unpacked)
	@$(PYTHON) harness/setup/libtorch.py python --into $(PACKAGES)

# Into a folder, so neither a virtual environment nor permission to change the system's is needed.
$(PACKAGES)/requirements.txt: harness/setup/requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info[:2] in [(3, n) for n in range(11, 15)] or sys.exit( \
	    "the tests need Python 3.11 to 3.14, this is %d.%d: name another one, such as PYTHON=python3.11" % sys.version_info[:2])'
	rm -rf $(PACKAGES).new
	PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 $(PIP) install --target $(PACKAGES).new --no-deps \
	    --require-hashes --only-binary=:all: --disable-pip-version-check --requirement $<
	cp $< $(PACKAGES).new/
	rm -rf $(PACKAGES)
	mv $(PACKAGES).new $(PACKAGES)
