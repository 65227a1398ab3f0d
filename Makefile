# make setup   build .venv with everything needed to develop voxid
# make demo    train a speaker encoder on real speech, measure it, draw it: under five minutes
# make test    lint, types, tests
# make test-all   the same with every test: long trainings, 2,000 hostile uploads; hours
# make docs    build the site of docs/ into build/site; a link that leads nowhere is an error
# make figures  draw the pictures of docs/course.md and docs/evaluation.md again
# make bench   every benchmark of docs/benchmarks.md
# make train-base   the voxid-base of 0.1.0 again, from `voxid download voxid-base -o corpora` or VOXID_DATA; docs/training.md
# make train-world  go on from there with every corpus of one of the two: the voxid-base of today; docs/training.md
# make train-small  voxid-small: it learns from voxid-base on the speech of make train-world; docs/training.md
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.voxid-installed

# What voxid-base learns from, and how: docs/training.md.
CORPORA ?= corpora
ifdef VOXID_DATA
SPEECH ?= $(addprefix $(VOXID_DATA)/,LibriSpeech/train-clean-100-mini speechocean762/train speech-commands arabic-speech-commands)
NOISE ?= $(VOXID_DATA)/noise
RIR ?= $(VOXID_DATA)/rir
MORE ?= $(VOXID_DATA)/LibriSpeech/train-clean-100-more
HOLD_OUT_OF ?= common-voice/train:0.1 $(addsuffix /train:0.18,wuw2 msc-malayalam alphanum dspspeech20)
WHOLE ?= $(addsuffix /train,emodb asterisk-prompts aishell-sample)
WORDS := speech-commands
else
SPEECH ?= $(addprefix $(CORPORA)/,LibriSpeech/train-clean-100 speechocean762/train speech_commands_v0.02/training_list.txt arabic-speech-commands/dataset)
NOISE ?= $(addprefix $(CORPORA)/,speech_commands_v0.02/_background_noise_ RIRS_NOISES/pointsource_noises)
RIR ?= $(CORPORA)/RIRS_NOISES/simulated_rirs
HOLD_OUT_OF ?= common-voice-sample:0.1 $(addsuffix :0.18,wuw2 msc-malayalam alphanum dspspeech20)
WHOLE ?= $(addprefix common-voice-,uz vi tw) emodb asterisk-prompts/train aishell-sample
WORDS := "speech_commands_v0.02"
endif
PLACE := $(or $(VOXID_DATA),$(CORPORA))
RECIPE ?= base
LONGER ?= base-longer
LAST ?= base-sentences
BRIEF ?= base-brief
RUN ?= runs/base
HOLD_OUT ?= 0.12
PRIOR ?= 0.05
TRIALS ?= all:same-corpus+duration=2-
TOP_K ?= 30
DEVICE ?= auto
SET ?=
comma := ,
empty :=
# a list of folders as TOML writes it: ["a","b"]
toml = [$(subst $(empty) $(empty),$(comma),$(foreach folder,$(1),"$(folder)"))]

.PHONY: setup demo docs figures train-base train-world train-small world-speech lint types test test-all slow bench clean

setup: $(STAMP)

# The pip of a new Python, and bytecode of torch alone, which every test process wants at once: 110 s where the
# pip of 3.11 takes 220.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "voxid needs Python 3.11 or newer, and this is %d.%d: make PYTHON=python3.12 setup" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[train,dev]'
	-$(BIN)/python -m compileall -q -j 0 .venv/lib/python*/site-packages/torch > /dev/null
	@touch $@

demo: setup
	$(BIN)/voxid demo -o demo-out

# An environment of its own, without torch: the reference is read from the source, not by importing it.
DOCS := build/docs-venv

$(DOCS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check '.[docs]'
	@touch $@

docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

figures: demo
	$(BIN)/python tests/docs_runner.py docs/course.md .
	mkdir -p docs/img/course && cp demo-out/course/*.png docs/img/course/
	$(BIN)/python tests/docs_runner.py docs/evaluation.md .
	mkdir -p docs/img/evaluation && cp evaluation-figures/*.png docs/img/evaluation/

# Each step can be made again: the split is the same, a training goes on where it stopped.
# $(1) recipe, $(2) list of speech, $(3) how often there is noise
TRAIN = $(BIN)/voxid train $(1) --train $(RUN)-speakers/$(2) --valid $(RUN)-speakers/held-out.csv --resume --device $(DEVICE) \
	--set 'augment.noise=$(call toml,$(NOISE))' --set augment.noise_prob=$(3) --set 'augment.rir=$(call toml,$(RIR))' $(SET)

train-base: setup
	$(BIN)/voxid split $(SPEECH) -o $(RUN)-speakers --hold-out $(HOLD_OUT)
	grep -v '^[^,/]*speech.commands' $(RUN)-speakers/rest.csv > $(RUN)-speakers/sentences.csv  # no single words
	$(call TRAIN,$(RECIPE),rest.csv,0.3) -o $(RUN)-begun
	$(call TRAIN,$(LONGER),rest.csv,0.3) --init $(RUN)-begun -o $(RUN)-longer
	$(call TRAIN,$(LAST),sentences.csv,0.15) --init $(RUN)-longer -o $(RUN)-sentences
	$(call TRAIN,$(BRIEF),sentences.csv,0.1) --init $(RUN)-longer -o $(RUN)-brief
	$(BIN)/voxid average $(RUN)-sentences $(RUN)-sentences $(RUN)-brief -o $(RUN) --name voxid-base
	$(BIN)/voxid calibrate $(RUN) --data $(RUN)-speakers/held-out.csv --prior $(PRIOR) --trials $(TRIALS) \
		--quality cohort_mean --cohort $(RUN)-speakers/rest.csv --top-k $(TOP_K)
	$(BIN)/voxid export $(RUN) -o $(RUN)-export --data $(RUN)-speakers/held-out.csv

# Speakers held out of train-base are held out here, too, since the split of the first corpora is the same one.
# $(1) recipe, $(2) how often there is noise, $(3) shares of corpora
WORLD ?= runs/world
INIT ?= $(RUN)
STEPS ?= 7666
SMALL ?= runs/small
LAST_SHARES := $(WORDS)=0.03$(comma)arabic-speech-commands=0.015$(comma)dspspeech20=0.03$(comma)speechocean762=0.18$(comma)LibriSpeech=0.2
define FINISH_WORLD
$(BIN)/voxid calibrate $(1) --data $(WORLD)-held-out --prior $(PRIOR) --trials all:same-corpus+other-session \
	--quality cohort_mean --cohort $(WORLD)-train --top-k $(TOP_K) --anew
$(BIN)/voxid export $(1) -o $(1)-export --data $(WORLD)-held-out
endef
TRAIN_WORLD = $(BIN)/voxid train $(1) --train $(WORLD)-train --resume --device $(DEVICE) --set 'data.shares={$(3)}' \
	--set 'augment.noise=$(call toml,$(NOISE))' --set augment.noise_prob=$(2) --set 'augment.rir=$(call toml,$(RIR))' $(SET)

# What is trained and held out, by speakers.
world-speech: setup
	$(BIN)/voxid split $(SPEECH) $(MORE) -o $(WORLD)-speakers/base --hold-out $(HOLD_OUT)
	for pair in $(HOLD_OUT_OF); do name=$${pair%%[/:]*}; \
		$(BIN)/voxid split $(PLACE)/$${pair%:*} -o $(WORLD)-speakers/$$name --hold-out $${pair#*:} || exit 1; done
	test -d $(WORLD)-train || $(BIN)/voxid prepare $(WORLD)-speakers/*/rest.csv $(addprefix $(PLACE)/,$(WHOLE)) -o $(WORLD)-train
	test -d $(WORLD)-held-out || $(BIN)/voxid prepare $(WORLD)-speakers/*/held-out.csv -o $(WORLD)-held-out

train-world: world-speech
	$(call TRAIN_WORLD,base-world,0.2,$(WORDS)=0.04$(comma)arabic-speech-commands=0.02$(comma)dspspeech20=0.04) \
		--init $(INIT) --set training.steps=$(STEPS) -o $(WORLD)-begun
	$(call TRAIN_WORLD,base-world-last,0.12,$(LAST_SHARES)) --init $(WORLD)-begun -o $(WORLD)-last
	$(BIN)/voxid average $(WORLD)-last $(WORLD)-last $(WORLD)-last $(INIT) -o $(WORLD) --name voxid-base
	$(call FINISH_WORLD,$(WORLD))

train-small: world-speech
	$(call TRAIN_WORLD,small-world,0.12,$(LAST_SHARES)) -o $(SMALL)-begun
	$(call TRAIN_WORLD,small-world,0.12,$(LAST_SHARES)) --init $(SMALL)-begun -o $(SMALL) \
		--set training.steps=18000 --set optimizer.lr=1.5e-3 --set training.classes_from_init=true
	$(call FINISH_WORLD,$(SMALL))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright

# pyright takes one core for a minute: it runs beside the tests, and what it says stands below theirs.
# Bytecode is kept, whatever the surroundings say: tests start a hundred processes.
test: export PYTHONDONTWRITEBYTECODE =
test: lint
	@$(BIN)/pyright > .venv/types.txt 2>&1 & types=$$!; \
	$(BIN)/python -m pytest -n 3 --dist worksteal $(WHICH); tests=$$?; \
	wait $$types || { cat .venv/types.txt; exit 1; }; exit $$tests

test-all: WHICH := -m ''
test-all: test

slow: setup
	$(BIN)/python -m pytest -m slow

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv demo-out evaluation-figures runs build dist
