# What people do with this project, a target each. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)

# The image to build, push and deploy.
IMAGE := docker.io/kapendra007/configmapsync
IMG ?= $(IMAGE):v$(VERSION)
CONTAINER_TOOL ?= docker

# The kubectl on the PATH; where there is none, the one that the test bed builds. For files that are committed it is
# always the test bed's, so that they come out the same everywhere.
TESTBED_BIN = $(shell loadtest/testbed/build.sh)
KUBECTL ?= $(or $(shell command -v kubectl),$(TESTBED_BIN)/kubectl)
RENDER ?= $(shell K8S= loadtest/testbed/build.sh)/kubectl
# Built from source as well, once. HELM names another one.
HELM ?= $(shell deploy/tools/build.sh)/helm

KINDS := configmapsyncs clusterconfigmapsyncs
# Tests, demo and image share one build: a static program, which runs here as it runs in the image, and quick enough to be
# shown. Where there is no static C library, programs are linked as usual, and the image has a build of its own.
export CARGO_PROFILE_DEV_OPT_LEVEL ?= 1
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
STATIC := $(shell echo 'int main(void) { return 0; }' | cc -static -x c -o /dev/null - 2>/dev/null && echo yes)
ifeq ($(STATIC)$(findstring linux-gnu,$(HOST)),yeslinux-gnu)
export CARGO_BUILD_TARGET := $(HOST)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS ?= -Ctarget-feature=+crt-static
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS ?= -Ctarget-feature=+crt-static
endif
# Most tests wait for a cluster more than they compute: one more than there are cores.
TEST_THREADS := $(shell expr $$(nproc 2>/dev/null || echo 4) + 1)
INSTALL := deploy/install.yaml
SBOM := deploy/sbom.cdx.json

# Architectures of the image, if not this machine's alone.
ARCH ?=
# Arguments for the operator in `make run`, for the demo and for the load test.
ARGS ?=
N ?= 5000
REPLICAS ?= 3
# The chaos run; without a seed it takes another one each time.
ROUNDS ?= 30
SEED ?=
# How long `make uninstall` waits for copies to go.
TIMEOUT ?= 120s

##@ See it

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "KUBECONFIG names the cluster. IMG=$(IMG)"

.PHONY: demo
demo: ## The main job on a real cluster; KEEP=1 leaves it up, PROCESSES=1 without a node
	@loadtest/demo.sh $(ARGS)

.PHONY: cluster
cluster: ## A cluster with a node and the operator installed, until Ctrl-C (Linux, root)
	@$$(.ci/programs.sh)/testbed cluster $(ARGS)

.PHONY: loadtest
loadtest: ## N=5000 syncs, REPLICAS=3, or SCENARIO=fanout-1000: measure and report
	@loadtest/testbed/build.sh >/dev/null
	cargo build --release --locked -p configmapsync-operator -p loadtest
	@cargo run --release --locked --quiet -p loadtest --bin loadtest -- run \
	  $(or $(SCENARIO),--syncs $(N) --replicas $(REPLICAS)) $(ARGS)

.PHONY: loadtest-compare
loadtest-compare: ## BEFORE=dir AFTER=dir: two runs of a scenario side by side
	@cargo run --release --locked --quiet -p loadtest --bin loadtest -- compare "$(BEFORE)" "$(AFTER)" $(ARGS)

.PHONY: chaos
chaos: ## ROUNDS=30 random faults on a real API server; SEED=7 repeats a run
	@loadtest/testbed/build.sh >/dev/null
	cargo build --release --locked -p configmapsync-operator -p loadtest
	@cargo run --release --locked --quiet -p loadtest --bin chaos -- --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: bench
bench: ## Run the benchmarks
	cargo bench --locked -p configmapsync-operator

.PHONY: bench-baseline bench-compare
bench-baseline: ## Run the benchmarks and keep them to compare with
	cargo bench --locked -p configmapsync-operator -- --save-baseline kept

bench-compare: ## Run the benchmarks beside those that bench-baseline kept
	cargo bench --locked -p configmapsync-operator -- --baseline kept

##@ Develop

.PHONY: kubernetes
kubernetes: ## Build the test bed's Kubernetes; K8S=1.30 chooses an older version
	@loadtest/testbed/build.sh >/dev/null

.PHONY: test
test: export RUST_TEST_THREADS ?= $(TEST_THREADS)
test: kubernetes fmt-check lint verify ## Every check and test (what .ci/run runs); K8S=1.30: the integration tests on that version
	@echo "== tests"
	tests/run.sh
	@echo "== all passed"

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: fmt-check
fmt-check:
	@echo "== format"
	cargo fmt --all --check

.PHONY: lint
lint: ## Run clippy; a warning is an error
	@echo "== clippy"
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: deny
deny: ## Hold all crates to deny.toml: licences, bans, sources, advisories
	@.ci/deny.sh

.PHONY: generate
generate: ## Write the definitions in crds/ from the Rust types
	@xtask=$$(.ci/programs.sh)/xtask; \
	for kind in $(KINDS); do \
	  crd="crds/$$kind.apps.kapendra.com.yaml"; \
	  "$$xtask" crd "$$kind" > "$$crd.new" && mv "$$crd.new" "$$crd" || exit 1; \
	done

.PHONY: sbom
sbom: ## Write deploy/sbom.cdx.json, which lists what the operator is built of
	$$(.ci/programs.sh)/xtask sbom > $(SBOM).new
	mv $(SBOM).new $(SBOM)

.PHONY: manifests
manifests: generate sbom ## Write all that is generated: crds/, install.yaml, the chart's files, the SBOM
	deploy/render.sh "$(RENDER)" > $(INSTALL).new
	mv $(INSTALL).new $(INSTALL)
	deploy/monitoring/generate.sh
	deploy/tools/generate.sh deploy "$(VERSION)"

.PHONY: verify
verify: ## Fail if a generated file is out of date, or a crate is not as deny.toml says
	@echo "== crates"
	@.ci/deny.sh --if-there
	@echo "== generated files"
	@xtask=$$(.ci/programs.sh)/xtask; \
	for kind in $(KINDS); do \
	  crd="crds/$$kind.apps.kapendra.com.yaml"; \
	  "$$xtask" crd "$$kind" | diff -u "$$crd" - \
	    || { echo "$$crd is out of date: run 'make manifests'"; exit 1; }; \
	done
	@$$(.ci/programs.sh)/xtask sbom | cmp -s - $(SBOM) \
	  || { echo "$(SBOM) is out of date: run 'make sbom'"; exit 1; }
	@deploy/render.sh "$(RENDER)" | diff -u $(INSTALL) - \
	  || { echo "$(INSTALL) is out of date: run 'make manifests'"; exit 1; }
	@deploy/monitoring/generate.sh --verify
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	  deploy/tools/generate.sh "$$fresh" "$(VERSION)"; \
	  for path in chart/files chart/Chart.yaml chart/README.md overlays/monitoring/generated.yaml; do \
	    diff -ru "deploy/$$path" "$$fresh/$$path" \
	      || { echo "deploy/$$path is out of date: run 'make manifests'"; exit 1; }; \
	  done
	@grep -q 'image: $(IMAGE):v$(VERSION)$$' deploy/base/deployment.yaml \
	  || { echo "deploy/base/deployment.yaml does not name the image of version $(VERSION)"; exit 1; }

.PHONY: docs
docs: ## Build the pages of docs/ as a book with a search, in target/book
	@docs/build.sh

.PHONY: run
run: ## Run the operator here (after make install)
	$(KUBECTL) apply -f deploy/base/namespace.yaml
	cargo run --release --locked --bin configmapsync-operator -- --log-format text $(ARGS)

##@ Ship

.PHONY: docker-build
docker-build: ## Build the image IMG; it has no time in it, where the engine knows SOURCE_DATE_EPOCH
	$(CONTAINER_TOOL) build --build-arg SOURCE_DATE_EPOCH=0 --tag $(IMG) .

.PHONY: docker-buildx
docker-buildx: ## Build the image IMG for amd64 and arm64 under one tag, and push it
	$(CONTAINER_TOOL) buildx build --platform linux/amd64,linux/arm64 --build-arg SOURCE_DATE_EPOCH=0 --tag $(IMG) --push .

.PHONY: image
image: ## The same image IMG without Docker, as a file in target/image; ARCH=amd64,arm64 for both
	@$$(.ci/programs.sh)/image --name $(IMG) $(if $(ARCH),--arch $(ARCH))

.PHONY: try-arm64
try-arm64: ## Cross-build the program for arm64, and run one sync with it in an emulator
	@.ci/arm64.sh $(ARGS)

.PHONY: reproduce
reproduce: ## Build the image twice, in two places, and compare the bytes
	@.ci/reproduce.sh $(ARGS)

.PHONY: docker-push
docker-push: ## Push the image IMG
	$(CONTAINER_TOOL) push $(IMG)

.PHONY: chart
chart: ## Pack the Helm chart into target/chart
	$(HELM) package deploy/chart --destination target/chart

.PHONY: release
release: ## All files of a release, in target/release-v<version>; see docs/releasing.md
	@.ci/release.sh $(ARGS)

.PHONY: install
install: ## Install the CustomResourceDefinition
	$(KUBECTL) apply -f crds/

.PHONY: uninstall
uninstall: ## Delete all ConfigMapSyncs, then the definition
	@KUBECTL="$(KUBECTL)" deploy/install.sh --uninstall --keep-operator --yes --timeout "$(TIMEOUT)"

.PHONY: deploy
deploy: ## Deploy the operator with the image IMG, and the definition
	$(KUBECTL) kustomize deploy | sed 's|image: $(IMAGE):.*|image: $(IMG)|' | $(KUBECTL) apply -f -

.PHONY: undeploy
undeploy: ## Remove the operator; ConfigMapSyncs and copies stay
	@KUBECTL="$(KUBECTL)" deploy/install.sh --uninstall --keep-syncs --yes --timeout "$(TIMEOUT)"
