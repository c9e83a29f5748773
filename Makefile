# Plain targets over the go command. `make help` lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -e -o pipefail -c

GO          ?= go
BENCHTIME   ?= 1s
FUZZTIME    ?= 10s
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
CONTROLLER_GEN := sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0
PROTOC_GEN_GO := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC_GEN_GO_GRPC := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0

# For releases, -trimpath; without it what tests have compiled is used again.
BUILDFLAGS ?=

# The reference's plugins that galaxy-cni installs beside ours; go.mod has their version.
CNI_PLUGINS := $(addprefix github.com/containernetworking/plugins/plugins/,ipam/host-local main/loopback)

# A module of its own, so that what its tests need is no dependency of the programs.
CLUSTER := integration/cluster

COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
TIME    := $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS := -X galaxy/cmd/internal/build.Commit=$(COMMIT) -X galaxy/cmd/internal/build.Time=$(TIME)

# Packages that start processes, clusters or whole programs come last, so that a plain mistake is seen at once.
SLOW_ROOMS := galaxy/\(integration\|cmd\|lease\|eventlog/etcdlog\|eventlog/archive\|reconciler\|plugins\|kernel\)
# What tests build and start is unknown to the go command: it would take old results for good.
ANEW := -count=1
# Packages whose code runs on many goroutines.
RACE_ROOMS := galaxy/\(allocator\|eventlog\|lease\|extender\|reconciler\|projections\|kube\|cloud\|nodeagent/\(cni\|journal\|proofs\)\|cmd/internal/etcdclient\|integration/extender\)

.PHONY: help build packages demo demo-overlay test test-fast test-slow test-cluster race bench bench-cluster lint lint-cluster mutation fuzz generate generate-proto clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build all programs into bin/
	$(GO) build $(BUILDFLAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	$(GO) build $(BUILDFLAGS) -o bin/ $(CNI_PLUGINS)

demo: build ## tell the main story: addresses, SIGKILL, restart, disaster, restore
	./bin/galaxy-demo

demo-overlay: packages ## tell the story of the overlay: three nodes in network namespaces, pods that reach each other, faults; needs root
	@[ "$$(id -u)" = 0 ] || { echo "network namespaces need root" >&2; exit 1; }
	@GALAXY_DEMO=1 $(GO) test ./integration/overlay -run '^TestDemo$$' -v -count=1 -timeout 5m | grep -v '^\(=== RUN\|PASS\|ok \)'

packages: ## install the Debian packages that agents and their tests need: nftables, iproute2
	@missing=; for p in nftables iproute2; do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then \
		echo "== installing$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "these packages are missing, and tests that need them will say so:$$missing"; fi

test: packages test-fast test-slow race test-cluster ## run all tests, fast packages first, real clusters last

test-fast:
	@echo "== tests, fast packages"
	$(GO) test -timeout 20m $$($(GO) list ./... | grep -v '^$(SLOW_ROOMS)')

test-slow:
	@echo "== tests, slow packages"
	$(GO) test $(ANEW) -timeout 20m $$($(GO) list ./... | grep '^$(SLOW_ROOMS)')

test-cluster: ## run galaxy-ipam in real Kubernetes control planes, and the agent on a real node, which needs root; the first time it builds them, which takes some minutes
	@echo "== tests, real clusters"
	cd $(CLUSTER) && $(GO) test $(ANEW) -timeout 45m ./...

race: ## run the concurrent packages under the race detector, which needs gcc
	@if ! command -v gcc >/dev/null && [ "$$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then \
		echo "== installing gcc for the race detector"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null; \
	fi; \
	if command -v gcc >/dev/null; then \
		echo "== race detector"; \
		CGO_ENABLED=1 $(GO) test -race -timeout 20m $$($(GO) list ./... | grep '^$(RACE_ROOMS)'); \
	elif [ -n "$$CI" ]; then \
		echo "race: there is no gcc, so the race detector cannot run" >&2; exit 1; \
	else \
		echo "race: there is no gcc, so the race detector was NOT run; install gcc"; \
	fi

bench: ## run all benchmarks but those in clusters, and compare their ratios with the targets
	@mkdir -p bin
	@for package in $$(grep -rl '^func Benchmark' --include='*_test.go' --exclude-dir=cluster . | xargs -n1 dirname | sort -u); do \
		$(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 60m $$package || exit 1; \
	done | tee bin/bench.out
	@awk -f integration/bench/summary.awk integration/bench/targets.txt bin/bench.out

bench-cluster: ## time bursts of pods on 1,000 nodes of a real control plane, beside the same scheduler without galaxy-ipam; half an hour
	@mkdir -p bin
	@(cd $(CLUSTER) && $(GO) test ./scenarios -run '^$$' -bench . -benchtime 1x -timeout 90m) | tee bin/bench-cluster.out
	@awk -f integration/bench/summary.awk integration/bench/cluster-targets.txt bin/bench-cluster.out

lint: lint-cluster ## gofmt, go vet, staticcheck, golangci-lint, and whether go.mod is tidy
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt has something to say about:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(GOLANGCI) run ./...
	$(GO) mod tidy -diff

lint-cluster:
	cd $(CLUSTER) && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./... && $(GO) run $(GOLANGCI) run ./... && $(GO) mod tidy -diff
	cd $(CLUSTER)/tools && $(GO) mod tidy -diff

mutation: ## take each safety rule of integration/mutation/guards.txt out, and see whether its package's own tests notice; half an hour
	$(GO) run ./integration/mutation -guards $$($(GO) list ./... | grep '^galaxy/\(eventlog\|projections\|allocator\|lease\|reconciler\|nodeagent\|extender/binding\|cloud\|proof\)')

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@for file in $$(grep -rl '^func Fuzz' --include='*_test.go' . | sort); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "== $$target in $$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
		done; \
	done

generate: ## renew golden files and the code and YAML of custom resources; read the diff
	$(GO) run $(CONTROLLER_GEN) object crd paths=./kube/galaxyv1alpha1/... output:crd:dir=deploy/crd
	$(GO) test ./allocator -run TestScenarios -rewrite
	$(GO) test ./reconciler -run TestDecide -rewrite
	$(GO) test ./eventlog -run TestGolden -rewrite
	$(GO) test ./cmd/galaxyctl -run TestGolden -rewrite

generate-proto: ## renew the code of the cloud provider's protocol; needs protoc, as in Debian's protobuf-compiler
	@command -v protoc >/dev/null || { echo "there is no protoc: apt-get install protobuf-compiler" >&2; exit 1; }
	@mkdir -p bin/protoc
	GOBIN=$(CURDIR)/bin/protoc $(GO) install $(PROTOC_GEN_GO)
	GOBIN=$(CURDIR)/bin/protoc $(GO) install $(PROTOC_GEN_GO_GRPC)
	PATH=$(CURDIR)/bin/protoc:$$PATH protoc --go_out=. --go_opt=module=galaxy --go-grpc_out=. --go-grpc_opt=module=galaxy cloud/rpc/ipprovider.proto

clean: ## remove what was built
	rm -rf bin
