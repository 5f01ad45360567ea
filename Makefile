# Sallyport's commands. `make help` lists them.
#
# Every target does all of its own set-up: programs that are missing are installed, downloaded or built, with
# progress on the terminal, and kept in SALLYPORT_CACHE (default ~/.cache/sallyport), outside the checkout.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0
export GOFLAGS ?= -buildvcs=false -trimpath
export SALLYPORT_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sallyport

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
IMAGE ?= sallyport.dev/sallyport:0.1.0
LDFLAGS := -s -w -X sallyport.dev/sallyport/internal/app.version=$(VERSION)

##@ Use

.PHONY: demo
demo: ## Show Sallyport at work on a real Kubernetes node and a real Vault, all on this machine (root, Linux).
	@hack/demo.sh

.PHONY: demo-down
demo-down: ## Stop the demo's node and Vault; leaves no process, mount, namespace or network device behind.
	@hack/cluster/down.sh

.PHONY: build
build: ## Build bin/sallyport and bin/sallyport-exec, static binaries.
	@mkdir -p bin
	@go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sallyport .
	@go build -trimpath -ldflags '-s -w -X sallyport.dev/sallyport/internal/launcher.version=$(VERSION)' -o bin/sallyport-exec ./cmd/sallyport-exec

.PHONY: build-plugin
build-plugin: ## Build bin/kubectl-sallyport, kubectl's plugin; put it into the PATH.
	@mkdir -p bin
	@go build -trimpath -ldflags '-s -w -X sallyport.dev/sallyport/internal/cli.version=$(VERSION)' -o bin/kubectl-sallyport ./cmd/kubectl-sallyport

.PHONY: image
image: build ## Build the container image from the binaries that `make build` made, without a registry.
	@hack/image.sh $(IMAGE)

.PHONY: release
release: ## Make all that users install in dist/: make release VERSION=v0.2.0 [REPOSITORY=registry.example.com/sallyport].
	@hack/release.sh $(VERSION)

##@ Check

.PHONY: test
test: verify lint test-unit fuzz test-chart test-alerts test-release test-integration test-isolation test-e2e ## Everything CI checks: generated files, lint, unit tests, fuzzing, chart, alerts, release, integration, isolation and end-to-end tests.

.PHONY: test-unit
test-unit: ## Unit tests: no API server, no Vault, no root needed.
	@hack/test.sh unit

.PHONY: fuzz
fuzz: ## Fuzz expressions, templates and the writers of files, FUZZTIME (30000x) each.
	@hack/test.sh fuzz

.PHONY: test-integration
test-integration: ## Controllers, resolver and csi-sanity against a real API server (envtest) and a real Vault.
	@hack/test.sh integration

.PHONY: test-chart
test-chart: ## The Helm chart: what each value makes, compared with kustomize, and what a real API server makes of it.
	@hack/test.sh chart

.PHONY: test-alerts
test-alerts: ## The alerts of config/prometheus, for firing and for silence, by promtool.
	@hack/test.sh alerts

.PHONY: test-release
test-release: ## A release, made twice in two folders: the same bytes, and what is in them.
	@hack/test.sh release

.PHONY: test-isolation
test-isolation: ## What a hostile tenant does, and what another one has meanwhile, with the memory limits of config/ (root, Linux).
	@hack/test.sh isolation

.PHONY: test-long
test-long: ## The same, with heavier attacks that last longer, an installation from a registry and a soak of mishaps on a real node, restarts by the controller of Argo Rollouts, a program on a volume that is an image, and an upgrade with its rollback: an hour and a half, no part of `make test`.
	@ISOLATION_LONG=yes hack/test.sh isolation
	@hack/test.sh install
	@hack/test.sh soak
	@hack/test.sh rollouts
	@hack/test.sh imagevolume
	@hack/test.sh openbao
	@hack/test.sh upgrade

.PHONY: test-e2e
test-e2e: ## The manifests of config/ on a real kubelet with real containers; ends with the canary scan (root, Linux).
	@hack/test.sh e2e

.PHONY: lint
lint: ## golangci-lint with depguard, and kube-api-linter on api/.
	@hack/lint.sh

.PHONY: verify
verify: ## Fail when a generated file (CRDs, deepcopy, RBAC, gRPC code) is not current, go.mod is not tidy, or a link of the documentation leads nowhere.
	@hack/verify.sh

.PHONY: bench
bench: ## Measure what Sallyport costs, with a real API server and a real Vault; no part of `make test`.
	@hack/bench.sh

.PHONY: scale
scale: ## Show what much of everything costs: 1,000 simulated nodes, 100,000 volumes; SCALE_NODES and so on make it smaller; no part of `make test`.
	@hack/scale.sh

##@ Develop

.PHONY: generate
generate: ## Regenerate CRDs, deepcopy, RBAC, gRPC code and the dashboard.
	@hack/generate.sh

.PHONY: diagrams
diagrams: ## Draw docs/images/*.svg anew from the sources beside them.
	@hack/diagrams.sh

.PHONY: figures
figures: ## Put what `make bench` wrote to bin/bench into docs/performance.md: tables, and charts in docs/images.
	@go run ./hack/charts bin/bench docs/performance.md docs/images

.PHONY: site
site: ## Make bin/site, the documentation as a site, with a reference of the API from the CRDs.
	@mkdir -p bin
	@"$$(hack/tools.sh --path site)" -root . -output bin/site
	@echo bin/site/index.html

.PHONY: tools
tools: ## Install, download or build every program that the other targets need.
	@hack/tools.sh all

.PHONY: clean
clean: demo-down ## Remove what was built in the checkout (the cache stays).
	@rm -rf bin dist

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-z0-9-]+:.*##/ {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
