.PHONY: pages live-map help demo test test-all packages stack cluster kubernetes ansible unit lint docs faults load fuzz mutants sbom release image model pipelines-check lock bench secrets compose-check
PYTHON := .venv/bin/python
# Each group of tests that share a need goes to one worker, in the order of tests/harness/needs.py.
PARALLEL := -n auto --dist loadgroup --no-loadscope-reorder
unexport PYTHONDONTWRITEBYTECODE  # every Spark worker would compile torch and pandas anew

help: ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: ## a storm night of 911 calls through Kafka, Spark and the model, with a live map
	@.ci/setup java
	@$(PYTHON) -m incident_risk demo --out out/demo

test: ## every test that can run on this machine, without those marked nightly or package
	@.ci/setup java services
	@$(PYTHON) -m incident_risk prepare
	@$(PYTHON) -m pytest tests -q -m 'not nightly and not package' $(PARALLEL)

packages: docs ## the site, wheel and sdist, and what checkers say of the files of pipelines, Docker and Ansible
	@$(PYTHON) -m pytest $(shell grep -rl --include='test_*.py' 'mark\.package' tests) -q -m 'package and not nightly'

test-all: test packages ## make test and make packages, and then the nightly tests: most faults, containers (an hour or more)
	@$(PYTHON) -m pytest tests -q -m nightly

unit: ## the tests that need neither JVM nor services, and which of them took longest
	@.ci/setup
	@$(PYTHON) -m pytest tests/unit -q -m 'not nightly and not package' --durations 5 $(PARALLEL)

NODE_PACKAGES := deploy/live_map/node_modules/.package-lock.json
$(NODE_PACKAGES): deploy/live_map/package-lock.json
	@.ci/setup node
	@npm ci --silent --prefix deploy/live_map

live-map: $(NODE_PACKAGES) ## the map's scripts as prettier writes them, and its kept library anew, after a change of deploy/live_map
	@npm run -s format --prefix deploy/live_map
	@npm run -s build --prefix deploy/live_map

lint: $(NODE_PACKAGES) ## style, types, import directions; also of the map's scripts
	@.ci/setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@npm run -s lint --prefix deploy/live_map

docs: ## the site of all pages, out/docs/index.html; a warning is an error
	@.ci/setup
	@$(PYTHON) -m sphinx -q -E -W --keep-going -c docs . out/docs

pages: ## what code writes: .env.example, the contract's schemas, the interface's openapi.json, the catalogues of translations
	@.ci/setup
	@$(PYTHON) -m docs.written

SEEDS ?= 0-9
faults: ## what is broken on purpose: the matrix of faults, and scenarios SEEDS=0-9; writes docs/explanation/reliability.md
	@.ci/setup java services
	@$(PYTHON) -m incident_risk prepare
	@mkdir -p out/faults
	@matrix=0; seeds=0; \
	$(PYTHON) -m tests.faults matrix || matrix=$$?; \
	$(PYTHON) -m tests.faults seeds $(SEEDS) || seeds=$$?; \
	$(PYTHON) -m tests.faults report && exit $$((matrix ? matrix : seeds))

RATE ?= 1000
MINUTES ?= 5
KILL ?= 0
SPEED ?= 1
load: ## RATE=1000 messages/s for MINUTES=5, KILL=0 of them without the scorer; MINUTES=60 SPEED=2880 shows what grows; out/load.json
	@.ci/setup java services
	@$(PYTHON) -m incident_risk prepare
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install -q -c constraints-hashes.txt -e '.[bench]'
	@$(PYTHON) -m benchmarks load --rate $(RATE) --minutes $(MINUTES) --kill $(KILL) --speed $(SPEED)

FUZZ_SECONDS ?= 60
fuzz: ## the decoder against any bytes, led by coverage, FUZZ_SECONDS=60; findings go to out/fuzz
	@.ci/setup
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install -q -c constraints-hashes.txt -e '.[fuzz]'
	@$(PYTHON) tests/fuzz/decoder.py --seconds $(FUZZ_SECONDS)

MODULES ?=
SHARD ?= 1/1
AGAIN ?=
mutants: ## what counts, scores, stores and decides changed a line at a time: which does no test notice; MODULES='models.baseline*' some, SHARD=3/8 an eighth, AGAIN=1 those that none noticed; hours in all
	@.ci/setup
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install -q -c constraints-hashes.txt -e '.[mutants]'
	@mkdir -p mutants  # before Python starts, which else does not look into it
	@PYTHONPATH=$(CURDIR)/mutants nice $(PYTHON) -P tests/mutants.py '$(SHARD)' '$(AGAIN)' $(MODULES)

sbom: ## the bill of materials of all Python packages, by CycloneDX's own program; writes out/sbom.json
	@.ci/setup
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install -q -c constraints-hashes.txt -e '.[sbom]'
	@mkdir -p out
	@.venv/bin/cyclonedx-py environment --output-reproducible --output-file out/sbom.json $(PYTHON)

release: ## wheel and sdist of the version that is committed, tried in a clean environment, with sha256; writes out/release
	@.ci/setup
	@$(PYTHON) -m deploy.release

image: ## the scorer's image, labelled with where it comes from, and its bill of materials; needs Docker; writes out/image
	@sh deploy/image.sh

STEP ?=
model: ## STEP=challenger, evaluation or promotion of the region REGION; .ci/model says what else it reads
	@.ci/setup java
	@.ci/model $(STEP)

pipelines-check: ## the files of GitHub, GitLab and Jenkins, by every checker (minutes; fetches two by go and npm)
	@.ci/setup java
	@GOBIN=$(CURDIR)/.venv/bin go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 || echo "actionlint could not be fetched" >&2
	@npm install --silent --no-fund --no-audit --prefix .venv/node npm-groovy-lint@16.2.0 || echo "npm-groovy-lint could not be fetched" >&2
	@$(PYTHON) -m pytest tests/pipelines -q

lock: ## constraints-hashes.txt anew, after a change of pyproject.toml or constraints.txt
	@.ci/setup lock

bench: ## throughput, latency and full frames on this machine; writes benchmarks/results.json
	@.ci/setup java services
	@$(PYTHON) -m incident_risk prepare
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install -q -c constraints-hashes.txt -e '.[bench]'
	@$(PYTHON) -m benchmarks

secrets: ## the secrets of compose.yaml as files in secrets/, of the demo in secrets/demo/; those that are there stay
	@sh deploy/make-secrets.sh secrets
	@sh deploy/make-secrets.sh secrets/demo > /dev/null

stack: ## the demo and its store in real containers (ten minutes once the images are there; as root it starts an engine of its own); writes out/stack.xml
	@.ci/setup java
	@mkdir -p out
	@$(PYTHON) -m pytest tests/containers --ignore tests/containers/test_spark_cluster.py --ignore tests/containers/test_ansible.py --ignore tests/containers/kubernetes -q -x --junit-xml out/stack.xml
	@$(PYTHON) -m tests.containers.report out/stack.xml

cluster: ## two million events on a Spark cluster in containers, a worker killed and one frozen (half an hour)
	@.ci/setup java
	@mkdir -p out
	@$(PYTHON) -m pytest tests/faults/test_cluster.py tests/containers/test_spark_cluster.py -q -x --junit-xml out/cluster.xml
	@$(PYTHON) -m tests.containers.report out/cluster.xml

kubernetes: ## the product on a Kubernetes of one node, which CLUSTER=COMMAND starts: one pod, then executors (half an hour)
	@.ci/setup java
	@mkdir -p out
	@$(PYTHON) -m pytest tests/containers/kubernetes -q -x --junit-xml out/kubernetes.xml
	@$(PYTHON) -m tests.containers.report out/kubernetes.xml

ansible: ## every playbook of a machine with Docker, in real containers (a quarter of an hour once the images are there)
	@.ci/setup java
	@mkdir -p out
	@$(PYTHON) -m pytest tests/containers/test_ansible.py -q -x --junit-xml out/ansible.xml
	@$(PYTHON) -m tests.containers.report out/ansible.xml

compose-check: ## compose.yaml and the image's Dockerfile, by every check that needs no Docker engine
	@.ci/setup java
	@sh deploy/get-compose.sh .venv/bin
	@$(PYTHON) -m pytest tests/compose -q
