# Veneer's commands; each works alone on a fresh clone. `make setup` is done first wherever it is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: setup demo test test-all test-gpu lint docs bench bench-gpu bench-style bench-methods bench-data bench-kill bench-faults bench-null bench-copies bench-cluster bench-studio sd15-smoke sdxl-smoke pocket-eval clean

setup: $(STAMP)

# torch comes first and alone: with it in place no other package pulls a CUDA build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Veneer needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,web]'
	touch $@

demo: setup
	$(BIN)/veneer run pocket-8bit --out runs/pocket-8bit

# Two workers of one thread each: torch's own threads would wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-all: setup
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt open_clip_torch
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m ''

# On a CUDA device, in minutes; without one nothing is tested, and that is said.
test-gpu: setup
	$(BIN)/python -m pytest -m gpu tests/gpu

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python docs/make_reference.py

sd15-smoke: setup
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt open_clip_torch
	$(BIN)/python -m bench.sd15_smoke

# SDXL's exact structure with random weights: 7 GB of disk, 20 GiB of memory at most.
sdxl-smoke: setup
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt open_clip_torch
	$(BIN)/python -m bench.sd15_smoke --family sdxl

# Takes all cores: run it on a machine that does nothing else.
bench: setup
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt open_clip_torch
	$(BIN)/python -m bench.bench_speed
	$(BIN)/python -m bench.speed_tables

# The card at hand, in minutes; --seconds says how many.
bench-gpu: setup
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt open_clip_torch
	$(BIN)/python -m bench.bench_gpu
	$(BIN)/python -m bench.speed_tables

bench-style: setup
	$(BIN)/python -m pocket fetch
	$(BIN)/python -m bench.bench_style
	$(BIN)/python -m bench.style_page

bench-methods: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.bench_methods

bench-data: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.bench_data

# A cluster on this machine; the sizes are pictures, of which 100 are checked in a second or so. SIZES='1000 5000' is a try.
bench-cluster: setup
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[cluster]'
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m bench.bench_cluster $(if $(SIZES),--sizes $(SIZES))

bench-kill: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.bench_kill

# Goes on where it was stopped; kills, full disks and damaged files of every kind, within 20 minutes.
bench-faults: setup
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m bench.bench_faults

bench-null: setup
	$(BIN)/python -m bench.bench_null

bench-copies: setup
	$(BIN)/python -m pocket fetch
	$(BIN)/python -m bench.bench_copies

# Needs Debian's Chromium and an idle machine.
bench-studio: setup
	PYTHONPATH=tests $(BIN)/python -m bench.bench_studio

pocket-eval: setup
	$(BIN)/python -m pocket eval

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
