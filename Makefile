# The same commands everywhere: on a laptop, in CI, in the image. Needs Python >= 3.11, make and a C compiler.

PYTHON ?= python3
VENV   ?= .venv
GUARD_HOME ?= guard-home
FEEDS  ?= feeds
JOBS   ?= 2
SEEDS  ?= 10
EXTRAS ?= dev
PORT   ?= 8080
TORCH  ?= auto
AIRFLOWS ?= 3.1 3.3
AIRFLOW_TESTS := $(addprefix tests/e2e/test_,dag_parsing.py guard_dag.py gate_in_guard_dag.py retrain_dag.py run_in_process.py)

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
ROOT  := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help install run test check format up drill bench gpu-check wheel airflow-versions faults sbom audit-deps clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make the virtual environment (done by the others when needed)

# uv is several times faster than pip and reads none of pip's configuration, so what pip was told is passed on.
define PIP_TO_UV
told() { $(BIN)/python -m pip config get "global.$$1" 2>/dev/null | tr '\n' ' ' | sed 's/ *$$//'; }; \
links="$${PIP_FIND_LINKS:-$$(told find-links)}"; \
index="$${PIP_INDEX_URL:-$$(told index-url)}"; \
more="$${PIP_EXTRA_INDEX_URL:-$$(told extra-index-url)}"; \
cert="$${PIP_CERT:-$$(told cert)}"; \
if [ -n "$$links" ]; then export UV_FIND_LINKS="$$(echo $$links | tr ' ' ',')"; fi; \
if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
if [ -n "$$more" ]; then export UV_INDEX="$$more" UV_INDEX_STRATEGY=unsafe-best-match; fi; \
if [ -n "$$cert" ] && [ -z "$${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE="$$cert"; fi
endef

# Where pip has no folder of wheels, uv picks the torch build for this machine (CUDA or CPU); failing that, the index's default.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "poison_guard needs Python 3.11 or newer; try make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@set -eu; $(PIP_TO_UV); \
	set -- --python $(BIN)/python --constraints constraints.txt --editable '.[$(EXTRAS)]'; \
	echo "installing poison_guard into $(VENV)" >&2; \
	if [ -n "$$links" ]; then $(BIN)/uv pip install --quiet --compile-bytecode "$$@"; \
	else $(BIN)/uv pip install --quiet --compile-bytecode --torch-backend=$(TORCH) "$$@" 2>$(VENV)/.torch-backend \
		|| { echo "torch's own index did not answer; taking torch from the default index" >&2; \
		     $(BIN)/uv pip install --quiet --compile-bytecode "$$@"; }; fi
	@touch $@

run: $(STAMP) ## the demo: three feeds through Airflow to promoted models, then tables
	@$(BIN)/poison-guard demo --home $(GUARD_HOME)
	@$(BIN)/python -m poison_guard.airflow.run --home $(GUARD_HOME) --feeds $(FEEDS)

test: $(STAMP) ## all tests but the dearest, which make faults runs
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

check: $(STAMP) ## format, lint, types, import rules; changes nothing
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python --output-format=min-text
	@$(BIN)/lint-imports --no-logo

format: $(STAMP) ## let ruff format and fix
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

up: $(STAMP) ## Airflow's UI with the DAGs, on http://localhost:8080 or PORT= another (ctrl-c stops it)
	@echo "http://localhost:$(PORT) as admin; the password is in $(GUARD_HOME)/airflow/simple_auth_manager_passwords.json.generated" >&2
	@umask 077; AIRFLOW_HOME=$(abspath $(GUARD_HOME))/airflow \
	AIRFLOW__CORE__DAGS_FOLDER=$(ROOT)/dags AIRFLOW__CORE__LOAD_EXAMPLES=False \
	AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION=False AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT=60 \
	AIRFLOW__API__HOST=127.0.0.1 AIRFLOW__API__PORT=$(PORT) AIRFLOW__API__BASE_URL=http://localhost:$(PORT) \
	AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://localhost:$(PORT)/execution/ \
	POISON_GUARD_HOME=$(abspath $(GUARD_HOME)) POISON_GUARD_FEEDS=$(abspath $(FEEDS)) \
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/airflow standalone

drill: $(STAMP) ## guard, models and gate against simulated attacks, two hours; writes benchmarks/results
	@$(BIN)/poison-guard drill --seeds 5 --jobs $(JOBS) --on $(if $(POISON_GUARD_DATA),all,synthetic) \
		--out benchmarks/results/drills.md >/dev/null
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/demo.py --seeds $(SEEDS)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/learned.py --seeds $(SEEDS)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gate.py --seals 200 --attacks 100

bench: $(STAMP) ## speed and memory at up to a million rows, adversarial training; writes benchmarks/results
	@$(BIN)/python benchmarks/validate.py
	@$(BIN)/python benchmarks/scan.py
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/robust.py

gpu-check: $(STAMP) ## the GPU path on this machine's GPU, one JSON in benchmarks/results; exit 3: no GPU, nothing checked
	@PYTHONPATH=$(ROOT) $(BIN)/python benchmarks/gpu_check.py

wheel: $(STAMP) ## build the wheel; the demo and a scan from it, with the core alone, in a fresh environment
	@rm -rf dist && mkdir -p dist
	@set -eu; $(PIP_TO_UV); fresh="$$(mktemp -d)"; trap 'rm -rf "$$fresh"' EXIT; \
	$(BIN)/uv build --quiet --wheel --out-dir dist; \
	$(BIN)/uv venv --quiet --python $(BIN)/python "$$fresh/venv"; \
	$(BIN)/uv pip install --quiet --python "$$fresh/venv/bin/python" --constraints constraints.txt dist/*.whl; \
	cd "$$fresh" && OMP_NUM_THREADS=1 PATH="$$fresh/venv/bin:/usr/bin:/bin" PYTHONPATH= sh -euc ' \
	! python -c "import airflow" 2>/dev/null; ! python -c "import great_expectations" 2>/dev/null; \
	poison-guard demo --home home; poison-guard doctor --home home; \
	poison-guard scan --feed captcha --home home home/inbox/captcha/*.parquet || test $$? = 1  # 1: records are held'

airflow-versions: $(STAMP) ## the tests of airflow/ and the DAGs on each Airflow of AIRFLOWS, an environment each
	@set -eu; $(PIP_TO_UV); for version in $(AIRFLOWS); do \
	echo "Airflow $$version" >&2; \
	fresh="$(abspath $(VENV))-airflow-$$version"; \
	pins=.ci/airflow-$$version.txt; test -f $$pins || pins=constraints.txt; \
	test -x "$$fresh/bin/python" || $(BIN)/uv venv --quiet --python $(BIN)/python "$$fresh"; \
	$(BIN)/uv pip install --quiet --python "$$fresh/bin/python" --constraints $$pins "apache-airflow==$$version.*" \
		--editable '.[airflow,gx]' pytest hypothesis; \
	OMP_NUM_THREADS=1 "$$fresh/bin/python" -m pytest -q tests/unit/airflow $(AIRFLOW_TESTS); done

THOROUGH := $(addprefix tests/integration/,$(addprefix store/test_,crash.py erasure.py settled_laws.py membership_laws.py laws.py \
	ground_truth.py) steps/test_run_laws.py steps/test_formats.py)
faults: $(STAMP) ## kill every verb at its writes, faults, fuzzing, growth, hours; writes benchmarks/results
	@$(BIN)/python -m tests.faults --jobs $(JOBS) $(FAULTS)
	@$(BIN)/python -m tests.faults.files
	@OMP_NUM_THREADS=1 POISON_GUARD_THOROUGH=1 $(BIN)/python -m pytest -q -n $(JOBS) $(THOROUGH)

# Tools of their own environment: what they need is no dependency of ours.
TOOLS := $(VENV)-tools
$(TOOLS)/.installed: $(STAMP)
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(BIN)/uv pip install --quiet --python $(TOOLS)/bin/python cyclonedx-bom pip-audit
	@touch $@

sbom: $(TOOLS)/.installed ## write dist/sbom.json: what is installed with poison_guard, as CycloneDX
	@mkdir -p dist
	@$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON \
		-o dist/sbom.json $(BIN)/python && echo "dist/sbom.json"

audit-deps: $(TOOLS)/.installed ## look what is installed up among known vulnerabilities
	@$(BIN)/python -m tests.faults.dependencies $(TOOLS)/bin/pip-audit

clean: ## remove the environment and caches; homes with data stay
	rm -rf $(VENV) $(VENV)-airflow-* $(TOOLS) dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
