# The commands of this project. `make` alone prints the help.

# Keep the values typed after make as they are: make would expand `$` as a variable and run $(shell ...).
OF_MAKE := SHELL MAKE% GNUMAKEFLAGS .%
TYPED := $(filter-out $(OF_MAKE),$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
$(foreach name,$(TYPED),$(eval override $(name) := $$(value $(name)))$(eval export $(name)))

# Python 3.11 to 3.13, since Luigi admits no later one: the first of these on PATH, or else one that uv has. It is looked
# for where it is needed, and once.
PYTHON ?= $(eval PYTHON := $(or $(call serves,python3),$(call serves,python3.13),$(call serves,python3.12),$(call serves,python3.11),\
	$(if $(UV),$(shell uv python find --system --no-python-downloads '>=3.11,<3.14' 2>/dev/null))))$(PYTHON)
serves = $(shell $(1) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $(1))
UV = $(shell command -v uv)

define NO_PYTHON
No Python 3.11 to 3.13 found. Get one, then type the same command again:
    Debian 12, 13   sudo apt install python3-venv
    Ubuntu          sudo add-apt-repository ppa:deadsnakes/ppa && sudo apt install python3.13-venv
    Fedora          sudo dnf install python3.13
    Homebrew        brew install python@3.13
    any             install uv, https://docs.astral.sh/uv; this set-up then gets a Python from it
or name a Python that is elsewhere: make PYTHON=/path/to/python3.13
endef

ifdef THEANO_PYTHON
export THEANO_PYTHON
endif

VENV := .venv
AUDIT := .venv-audit
JAVASCRIPT := .venv-javascript
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LUIGI := $(BIN)/python -m tasks
DIGITS := .cache/digits.tar.gz

# Settings as NAME=--flag, or NAME=--flag,--flag where one name sets several.
SETTINGS := $(shell sed -n 's/^\([A-Z]*\)=[^ ]* *\(--[^ ]*\) .*/\1=\2/p' tasks/configuration/make_variables.txt)
comma := ,
name_of = $(firstword $(subst =, ,$(setting)))
flags_of = $(foreach flag,$(subst $(comma), ,$(lastword $(subst =, ,$(setting)))),"$(flag)=$$$(name_of)")

# The shell reads values from its environment, so it never executes one.
given = $(foreach setting,$(1),$${$(name_of):+$(flags_of)}) $${DEMO:+--demo} $(value ARGS)
FLAGS := $(call given,$(SETTINGS))

# The settings of a sweep are lists, also EPOCHS and LR.
LISTS := NETWORK=--network ENGINES=--engines LEARNING_RATE=--learning-rate LR=--learning-rate MOMENTUM=--momentum \
	BATCH_SIZE=--batch-size EPOCHS=--epochs SEEDS=--seeds
FLAGS_OF_SWEEP := $(call given,$(filter-out EPOCHS=% LR=%,$(SETTINGS)) $(LISTS))

TO_KEEP := $(foreach setting,$(SETTINGS),$(if $(filter $(name_of),$(TYPED)),$(flags_of))) \
	$(if $(filter DEMO,$(TYPED)),$(if $(DEMO),--demo,--data= --DownloadCIFAR-archive= --ConvertToHDF5-title=)) $(value ARGS)

KNOWN := $(foreach setting,$(SETTINGS),$(name_of)) ARGS BATCH_SIZE COUNT DEMO DRY ENGINES EVERY FOREVER KEEP KILLS LEARNING_RATE MOMENTUM NETWORK OUT SEEDS WHEELS YES PYTHON THEANO_PYTHON VENV
UNKNOWN := $(firstword $(filter-out $(KNOWN),$(TYPED)))
ifneq ($(UNKNOWN),)
CLOSEST := $(if $(PYTHON),$(shell "$(PYTHON)" -c 'import difflib, sys; \
	print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1, 0))' '$(subst ','\'',$(UNKNOWN))' $(KNOWN)))
$(error $(UNKNOWN)=$(value $(UNKNOWN)) is no setting.$(if $(CLOSEST), Did you mean $(CLOSEST)?) `make help` lists all)
endif

# Any other target would ignore these and, say, train at the usual learning rate.
OF_SWEEP := BATCH_SIZE ENGINES LEARNING_RATE MOMENTUM NETWORK
WITHOUT_SWEEP := $(if $(filter sweep,$(MAKECMDGOALS)),,$(filter-out help configure,$(MAKECMDGOALS)))
IGNORED := $(if $(WITHOUT_SWEEP),$(firstword $(filter $(OF_SWEEP),$(TYPED))))
ifneq ($(IGNORED),)
$(error $(IGNORED)=$(value $(IGNORED)) is a setting of `make sweep` alone. `make help` lists those of the other targets)
endif

NO_YES := $(firstword $(foreach name,YES DRY DEMO FOREVER,$(if $(filter-out 1,$(value $(name))),$(name))))
ifneq ($(NO_YES),)
$(error $(NO_YES)=$(value $(NO_YES)) makes no sense; expected $(NO_YES)=1, or nothing)
endif

NOT_KEPT := $(firstword $(filter BATCH_SIZE COUNT DRY ENGINES EVERY FORCE KEEP KILLS LEARNING_RATE MOMENTUM NETWORK OUT SEEDS WHEELS YES,$(TYPED)))
ifneq ($(and $(NOT_KEPT),$(filter configure,$(MAKECMDGOALS))),)
$(error $(NOT_KEPT)=$(value $(NOT_KEPT)) is no setting that can be kept; give it with each command)
endif

# PyTorch is large: install it only where it is asked for or where there is a GPU.
ENGINE_SETUP := $(VENV)/base $(if $(DEMO),$(DIGITS))
ifneq ($(filter torch theano,$(ENGINE)),)
ENGINE_SETUP += $(filter torch theano,$(ENGINE))
else ifeq ($(filter-out auto triton,$(ENGINE))$(filter cpu,$(DEVICE)),)
ENGINE_SETUP += $(if $(filter triton cuda cuda:%,$(ENGINE) $(DEVICE))$(shell command -v nvidia-smi),torch-for-gpu)
endif

# One recipe at a time, with `make -j` too: several would have pips that install into one environment at once.
.NOTPARALLEL:

.PHONY: help pipeline demo torch torch-for-gpu torch-for-tests theano compare sweep check-device check-gpu configure status verify gc push pull worker history schedule unschedule test lint lint-javascript docs bench fuzz audit faults requirements clean distclean

help: ## print this help
	@echo 'Usage: make TARGET [SETTING=value ...]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'Settings:'
	@awk '/^[A-Z]/ { name = $$1; $$1 = $$2 = ""; sub(/^ */, ""); printf "  %-25s  %s\n", name, $$0 }' tasks/configuration/make_variables.txt
	@echo '  DEMO=1                     the settings of the demo'
	@echo "  ARGS='--flag value ...'    any others, split into words by the shell; luigi.cfg lists them"

pipeline: $(ENGINE_SETUP) ## download CIFAR-10, train and evaluate the networks, write the report
	@$(LUIGI) Pipeline $(FLAGS)

demo: $(ENGINE_SETUP) $(DIGITS) ## the same in half a minute on scikit-learn's digits, without a download of images
	@$(LUIGI) Pipeline --demo $(FLAGS)

torch: $(VENV)/base ## install PyTorch in the build for this machine: for the CPU, or for its GPU and driver
	@$(BIN)/python -m pipeline.engines.torch.setup

torch-for-gpu torch-for-tests: $(VENV)/base
	@$(BIN)/python -m pipeline.engines.torch.setup $(@:torch-%=--%)

theano: $(VENV)/base ## build the environment of the article's libraries; THEANO_PYTHON=python3.11 names a Python
	@$(BIN)/python -m pipeline.engines.theano.setup

compare: torch theano ## train both networks on every engine, from SEEDS=1,2,3: the article's table; 15 minutes a seed
	@$(LUIGI) Compare $${SEEDS:+"--seeds=$$SEEDS"} $(FLAGS)
	@$(LUIGI) Pipeline $(FLAGS)

sweep: $(ENGINE_SETUP) $(filter torch theano,$(subst $(comma), ,$(ENGINES))) ## train with every combination of NETWORK=, LEARNING_RATE=, MOMENTUM=, BATCH_SIZE=, EPOCHS=, SEEDS=, ENGINES=, lists such as 5,50; DRY=1 only lists them
	@$(LUIGI) Sweep $${DRY:+--dry-run} $(FLAGS_OF_SWEEP)

check-device: $(ENGINE_SETUP) ## the article's check: the device of exp(), and its speed
	@$(LUIGI) CheckDevice $(FLAGS)

check-gpu: $(if $(WHEELS),,$(VENV)/dev torch-for-tests) ## what needs a GPU, in less than six minutes; WHEELS=folder PYTHON=python3: without a registry
	@PYTHONPATH=bench $(if $(WHEELS),"$(PYTHON)",$(BIN)/python) -m check_gpu $${WHEELS:+"--wheels=$$WHEELS"} $${OUT:+"--out=$$OUT"} \
		$${ARCHIVE:+"--archive=$$ARCHIVE"} $${DEVICE:+"--device=$$DEVICE"} $(value ARGS)

# One process more than cores: many tests wait for a program.
test: $(VENV)/dev torch-for-tests ## run the tests
	@$(BIN)/python -m pytest --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist loadgroup $(ARGS)

lint: $(VENV)/dev torch lint-javascript ## check style, format, types and imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

lint-javascript: $(JAVASCRIPT)/done
	@test ! -e $< || $(JAVASCRIPT)/node_modules/.bin/biome check --error-on-warnings biome.json jsconfig.json pipeline/report/javascript tests/javascript
	@test ! -e $< || $(JAVASCRIPT)/node_modules/.bin/tsc --project jsconfig.json

docs: $(VENV)/dev torch ## build the pages and the API reference in docs/_build/html
	@$(BIN)/python -m sphinx -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html

bench: $(VENV)/dev torch ## run every measurement in bench/; an hour
	@for command in bench/*.py; do echo "$$command"; $(BIN)/python "$$command" || exit; done

fuzz: $(VENV)/fuzz ## read COUNT corrupted pickles, tars, gzips and batches each (default 100000)
	@for target in pickle tar gzip batch; do $(BIN)/python fuzz/archive.py $$target --inputs="$${COUNT:-100000}" || exit; done

faults: $(VENV)/dev torch-for-tests ## run the slow tests: inject faults, and kill the pipeline KILLS times (default 100)
	@KILLS="$${KILLS:-100}" $(BIN)/python -m pytest -m slow $(ARGS)

# PyPI knows a build of PyTorch, such as 2.13.0+cpu, by its version alone; pip-audit does not read ===.
audit: $(AUDIT)/done $(VENV)/base ## look up known vulnerabilities of the pinned and of the installed packages on PyPI and npm
	@failed=; for name in dev fuzz audit theano torch-cuda; do echo "requirements/$$name.txt"; \
		sed 's/===/==/' requirements/$$name.txt > $(AUDIT)/pinned.txt; \
		$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement $(AUDIT)/pinned.txt || failed=1; done; \
	echo 'installed in $(VENV)'; $(BIN)/python -m pip list --format freeze --exclude-editable --exclude pip | sed 's/+.*//' > $(AUDIT)/installed.txt; \
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement $(AUDIT)/installed.txt || failed=1; \
	echo 'requirements/javascript'; npm audit --package-lock-only --prefix requirements/javascript || failed=1; test -z "$$failed"

configure: $(ENGINE_SETUP) ## keep the settings given here for every later command; without any, show them
	@$(BIN)/python -m pipeline configure $(TO_KEEP)

status: $(VENV)/base ## a row for each stage: is its result there, and why would it run?
	@$(BIN)/python -m pipeline status $(FLAGS)

verify: $(VENV)/base ## read every file of every result and find damaged ones; with REMOTE= those in the remote
	@$(BIN)/python -m pipeline verify $${REMOTE:+--in-remote} $(FLAGS)

gc: $(VENV)/base ## remove unused results older than KEEP days (default 30) after asking; YES=1 does not ask, DRY=1 only lists them; with REMOTE= in the remote
	@$(BIN)/python -m pipeline gc $${REMOTE:+--in-remote} $${KEEP:+"--keep-days=$$KEEP"} $${DRY:+--dry-run} $${YES:+--yes} $(FLAGS)

push: $(VENV)/base ## write results to the remote, where other machines find them; REMOTE=s3://bucket/prefix or file:///folder
	@$(BIN)/python -m pipeline push $(FLAGS)

pull: $(VENV)/base ## fetch results from the remote
	@$(BIN)/python -m pipeline pull $(FLAGS)

worker: $(ENGINE_SETUP) ## help with the runs under way on SCHEDULER=host:8082 REMOTE=url until nothing is left; FOREVER=1 waits for more
	@$(BIN)/python -m pipeline worker $${FOREVER:+--forever} $(FLAGS)

history: $(VENV)/base ## a row for each run: time, stages, accuracy, and the settings that changed it
	@$(BIN)/python -m pipeline history $(FLAGS)

schedule: $(ENGINE_SETUP) ## schedule `make pipeline`, EVERY=daily or 'Mon..Fri 02:30'; DRY=1 only prints the actions
	@$(BIN)/python -m pipeline schedule --every="$$EVERY" $${DRY:+--dry-run} $(FLAGS)

unschedule: $(VENV)/base ## remove the schedule; DRY=1 only prints the actions
	@$(BIN)/python -m pipeline unschedule $${DRY:+--dry-run}

# With == pip would take 2.13.0+cpu too, where that is installed or lies in a folder that pip looks into.
requirements: $(VENV)/base ## pin the newest versions of all packages
	@$(PIP) install uv
	@for name in dev demo export base fuzz audit torch-needs torch-cuda triton; do $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate $$(test $$name = dev || echo -c requirements/dev.txt) \
		requirements/$$name.in --output-file requirements/$$name.txt; done
	@sed 's/^torch==/torch===/' requirements/torch-cuda.txt > $(VENV)/pinned && mv $(VENV)/pinned requirements/torch-cuda.txt
	@npm install --prefix requirements/javascript --package-lock-only --omit-lockfile-registry-resolved=false --save-exact --save-dev --loglevel=error \
		@biomejs/biome@latest typescript@latest

clean: ## remove results and data sets; downloaded archives stay
	@for folder in outputs data; do [ ! -d $$folder ] || { \
		find -H $$folder -mindepth 1 -type d -name DownloadCIFAR -prune -o -not -type d -exec rm -f {} + && \
		find -H $$folder -mindepth 1 -type d -empty -delete; } || exit; done

distclean: ## remove everything that git does not track: environment, archives, local.cfg, your own files
	@git clean -ffdxq

# The environment, in steps that run again only when their requirements change.

from_uv = $(if $(UV),"$$(uv python install --quiet 3.13 && uv python find --system 3.13)",$(error $(NO_PYTHON)))
new_environment = python=$(if $(PYTHON),"$(PYTHON)",$(from_uv)) && echo "Setting up $(1) with $$python ..." && "$$python" -m venv $(1)

$(VENV)/base: requirements/base.txt pyproject.toml
	@$(call new_environment,$(VENV))
	@$(PIP) install --require-hashes --requirement requirements/base.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/demo: requirements/demo.txt $(VENV)/base
	@$(PIP) install --require-hashes --requirement requirements/demo.txt
	@touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/base
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@touch $@

$(VENV)/fuzz: requirements/fuzz.txt $(VENV)/dev
	@$(PIP) install --require-hashes --requirement requirements/fuzz.txt
	@touch $@

# The audit tool is not part of the environment that it audits.
$(AUDIT)/done: requirements/audit.txt
	@$(call new_environment,$(AUDIT))
	@$(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement requirements/audit.txt
	@touch $@

# Empty without npm, or with a Node.js that is too old for the page's JavaScript.
NODE = $(shell command -v npm >/dev/null && node -p 'parseInt(process.versions.node) < 18 ? "" : process.version' 2>/dev/null)

$(JAVASCRIPT)/done: requirements/javascript/package.json requirements/javascript/package-lock.json
	@if [ -z "$(NODE)" ]; then \
		echo 'No Node.js 18 or later with npm found: the JavaScript is not checked. https://nodejs.org has both.'; test "$$CI" != true; \
	else \
		mkdir -p $(@D) && cp $^ $(@D) && npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch $@; \
	fi

$(DIGITS): $(VENV)/demo pipeline/data/digits.py
	@mkdir -p $(@D)
	@$(BIN)/python -m pipeline.data.digits $@
