# What a person types. `make` alone prints the help.

# What was typed after make, as it was typed: make would take `$` for the beginning of a variable, and run $(shell ...).
OF_MAKE := SHELL MAKE% GNUMAKEFLAGS .%
TYPED := $(filter-out $(OF_MAKE),$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
$(foreach name,$(TYPED),$(eval override $(name) := $$(value $(name)))$(eval export $(name)))

# The newest of these that is on the machine and serves: Python 3.11 to 3.13.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $(name))))

ifdef THEANO_PYTHON
export THEANO_PYTHON
endif

VENV := .venv
AUDIT := .venv-audit
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LUIGI := $(BIN)/python -m tasks
DIGITS := .cache/digits.tar.gz

# Settings as NAME=--flag, or NAME=--flag,--flag where one name stands for several.
SETTINGS := $(shell sed -n 's/^\([A-Z]*\)=[^ ]* *\(--[^ ]*\) .*/\1=\2/p' tasks/configuration/make_variables.txt)
comma := ,
name_of = $(firstword $(subst =, ,$(setting)))
flags_of = $(foreach flag,$(subst $(comma), ,$(lastword $(subst =, ,$(setting)))),"$(flag)=$$$(name_of)")

# The shell takes values from its environment, so that it obeys none of them.
FLAGS := $(foreach setting,$(SETTINGS),$${$(name_of):+$(flags_of)}) $${DEMO:+--demo} $(value ARGS)
TO_KEEP := $(foreach setting,$(SETTINGS),$(if $(filter $(name_of),$(TYPED)),$(flags_of))) \
	$(if $(filter DEMO,$(TYPED)),$(if $(DEMO),--demo,--data= --DownloadCIFAR-archive= --ConvertToHDF5-title=)) $(value ARGS)

KNOWN := $(foreach setting,$(SETTINGS),$(name_of)) ARGS COUNT DEMO DRY EVERY KEEP KILLS SEEDS YES PYTHON THEANO_PYTHON VENV
UNKNOWN := $(firstword $(filter-out $(KNOWN),$(TYPED)))
CLOSEST = $(if $(PYTHON),$(shell $(PYTHON) -c 'import difflib, sys; \
	print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1, 0))' '$(subst ','\'',$(UNKNOWN))' $(KNOWN)))
ifneq ($(UNKNOWN),)
$(error $(UNKNOWN)=$(value $(UNKNOWN)) is no setting.$(if $(CLOSEST), Did you mean $(CLOSEST)?) `make help` lists all)
endif

NO_YES := $(firstword $(foreach name,YES DRY DEMO,$(if $(filter-out 1,$(value $(name))),$(name))))
ifneq ($(NO_YES),)
$(error $(NO_YES)=$(value $(NO_YES)) makes no sense; expected $(NO_YES)=1, or nothing)
endif

NOT_KEPT := $(firstword $(filter COUNT DRY EVERY FORCE KEEP KILLS SEEDS YES,$(TYPED)))
ifneq ($(and $(NOT_KEPT),$(filter configure,$(MAKECMDGOALS))),)
$(error $(NOT_KEPT)=$(value $(NOT_KEPT)) is no setting that can be kept; give it with each command)
endif

# PyTorch is large: it is installed where it is asked for, or where there is a GPU for it.
ENGINE_SETUP := $(VENV)/base $(if $(DEMO),$(DIGITS))
ifneq ($(filter torch,$(ENGINE))$(filter cuda,$(DEVICE)),)
ENGINE_SETUP += $(VENV)/torch
else ifneq ($(filter theano,$(ENGINE)),)
ENGINE_SETUP += theano
else ifeq ($(filter-out auto,$(ENGINE))$(filter cpu,$(DEVICE)),)
ENGINE_SETUP += $(if $(shell command -v nvidia-smi),$(VENV)/torch)
endif

.PHONY: help pipeline demo theano compare check-device configure status verify gc history schedule unschedule test lint docs bench fuzz audit faults requirements clean distclean

help: ## print this
	@echo 'Usage: make TARGET [SETTING=value ...]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'Settings:'
	@awk '/^[A-Z]/ { name = $$1; $$1 = $$2 = ""; sub(/^ */, ""); printf "  %-25s  %s\n", name, $$0 }' tasks/configuration/make_variables.txt
	@echo '  DEMO=1                     those of the demo'
	@echo "  ARGS='--flag value ...'    any others, as words of the shell; luigi.cfg has all of them"

pipeline: $(ENGINE_SETUP) ## download CIFAR-10, train and evaluate the networks, write the report
	@$(LUIGI) Pipeline $(FLAGS)

demo: $(ENGINE_SETUP) $(DIGITS) ## the same in half a minute, without network, on scikit-learn's digits
	@$(LUIGI) Pipeline --demo $(FLAGS)

theano: $(VENV)/base ## build the environment of the article's own libraries, with THEANO_PYTHON=python3.11
	@$(BIN)/python -m pipeline.engines.theano.setup

compare: $(VENV)/torch theano ## train both networks on every engine, SEEDS=1,2,3: the article's table; 15 minutes a seed
	@$(LUIGI) Compare $${SEEDS:+"--seeds=$$SEEDS"} $(FLAGS)
	@$(LUIGI) Pipeline $(FLAGS)

check-device: $(ENGINE_SETUP) ## the article's check: where is exp() computed, and how fast
	@$(LUIGI) CheckDevice $(FLAGS)

# One process more than there are cores: many tests wait for a program of their own.
test: $(VENV)/dev ## run the tests
	@$(BIN)/python -m pytest --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist loadgroup $(ARGS)

lint: $(VENV)/dev ## check style, format, types and imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

docs: $(VENV)/dev ## build the documentation of the API, in docs/_build/html
	@$(BIN)/python -m sphinx -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html

bench: $(VENV)/dev ## measure; each command in bench/ says what
	@for command in bench/*.py; do echo "$$command"; $(BIN)/python "$$command" || exit; done

fuzz: $(VENV)/fuzz ## read COUNT corrupted pickles, tars, gzips and batches each, as many as a hundred thousand if not told
	@for target in pickle tar gzip batch; do $(BIN)/python fuzz/archive.py $$target --inputs="$${COUNT:-100000}" || exit; done

faults: $(VENV)/dev ## run the slow tests: break what can break, and kill the pipeline KILLS times, a hundred if not told
	@KILLS="$${KILLS:-100}" $(BIN)/python -m pytest -m slow $(ARGS)

audit: $(AUDIT)/done ## look up the known vulnerabilities of all that is installed, on PyPI
	@failed=; for name in dev fuzz audit theano; do echo "requirements/$$name.txt"; \
		$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/$$name.txt || failed=1; done; \
	echo requirements/torch.txt; \
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement requirements/torch.txt || failed=1; test -z "$$failed"

configure: $(ENGINE_SETUP) ## keep the settings given here for every later command; alone, show those that are kept
	@$(BIN)/python -m pipeline configure $(TO_KEEP)

status: $(VENV)/base ## a row for each stage: is its result there, and why would it run?
	@$(BIN)/python -m pipeline status $(FLAGS)

verify: $(VENV)/base ## read every file of every result and find damaged ones
	@$(BIN)/python -m pipeline verify $(FLAGS)

gc: $(VENV)/base ## remove unused results older than KEEP days, if you say yes; YES=1 does not ask, DRY=1 only lists them
	@$(BIN)/python -m pipeline gc $${KEEP:+"--keep-days=$$KEEP"} $${DRY:+--dry-run} $${YES:+--yes} $(FLAGS)

history: $(VENV)/base ## the runs: when, what ran, what was reused, accuracy
	@$(BIN)/python -m pipeline history $(FLAGS)

schedule: $(ENGINE_SETUP) ## have `make pipeline` run by itself, EVERY=daily or 'Mon..Fri 02:30'; DRY=1 only tells how
	@$(BIN)/python -m pipeline schedule --every="$$EVERY" $${DRY:+--dry-run} $(FLAGS)

unschedule: $(VENV)/base ## have it run by itself no more; DRY=1 only tells how
	@$(BIN)/python -m pipeline unschedule $${DRY:+--dry-run}

requirements: $(VENV)/base ## pin the newest versions of what the set-up installs
	@$(PIP) install uv
	@for name in dev demo export base fuzz audit; do $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate $$(test $$name = dev || echo -c requirements/dev.txt) \
		requirements/$$name.in --output-file requirements/$$name.txt; done

clean: ## remove results and data sets; archives that were downloaded stay
	@for folder in outputs data; do [ ! -d $$folder ] || { \
		find -H $$folder -mindepth 1 -type d -name DownloadCIFAR -prune -o -not -type d -exec rm -f {} + && \
		find -H $$folder -mindepth 1 -type d -empty -delete; } || exit; done

distclean: ## remove all that git does not track: the environment, archives, local.cfg, files of your own
	@git clean -ffdxq

# The environment, in steps that run again only when what they install has changed.

$(VENV)/base: requirements/base.txt pyproject.toml
	@$(if $(PYTHON),,$(error No Python 3.11 to 3.13 found. Install one, or name it: make PYTHON=/path/to/python3.12))
	@echo 'Setting up $(VENV) with $(PYTHON) ...'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements/base.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/torch: requirements/torch.txt $(VENV)/base
	@echo 'Installing PyTorch ...'
	@$(PIP) install --requirement requirements/torch.txt
	@touch $@

$(VENV)/demo: requirements/demo.txt $(VENV)/base
	@$(PIP) install --require-hashes --requirement requirements/demo.txt
	@touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/torch
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@touch $@

$(VENV)/fuzz: requirements/fuzz.txt $(VENV)/dev
	@$(PIP) install --require-hashes --requirement requirements/fuzz.txt
	@touch $@

# What audits the environment is no part of it.
$(AUDIT)/done: requirements/audit.txt
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement requirements/audit.txt
	@touch $@

$(DIGITS): $(VENV)/demo pipeline/data/digits.py
	@mkdir -p $(@D)
	@$(BIN)/python -m pipeline.data.digits $@
