# Plain targets over the go command. `make help` lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -e -o pipefail -c

GO          ?= go
BENCHTIME   ?= 1s
FUZZTIME    ?= 10s
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
TIME    := $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS := -X galaxy/cmd/internal/build.Commit=$(COMMIT) -X galaxy/cmd/internal/build.Time=$(TIME)

# Packages that start processes, clusters or whole programs come last, so that a plain mistake is seen at once.
SLOW_ROOMS := galaxy/\(integration\|cmd\|lease\|eventlog/etcdlog\|eventlog/archive\|reconciler\)
# Packages whose code runs on many goroutines.
RACE_ROOMS := galaxy/\(allocator\|eventlog\|lease\|extender\|reconciler\|projections\|kube\)

.PHONY: help build demo test test-fast test-slow race bench lint fuzz generate clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build all programs into bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

demo: build ## tell the main story: addresses, SIGKILL, restart, disaster, restore
	./bin/galaxy-demo

test: test-fast test-slow race ## run all tests, fast packages first, and then the race detector

test-fast:
	@echo "== tests, fast packages"
	$(GO) test -timeout 20m $$($(GO) list ./... | grep -v '^$(SLOW_ROOMS)')

test-slow:
	@echo "== tests, slow packages"
	$(GO) test -timeout 20m $$($(GO) list ./... | grep '^$(SLOW_ROOMS)')

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

bench: ## run all benchmarks, and compare their ratios with the targets
	@mkdir -p bin
	@for package in $$(grep -rl '^func Benchmark' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		$(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 60m $$package || exit 1; \
	done | tee bin/bench.out
	@awk -f integration/bench/summary.awk integration/bench/targets.txt bin/bench.out

lint: ## gofmt, go vet, staticcheck, and whether go.mod is tidy
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt has something to say about:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@for file in $$(grep -rl '^func Fuzz' --include='*_test.go' . | sort); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "== $$target in $$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
		done; \
	done

generate: ## renew the golden files of scenarios and commands; read the diff
	$(GO) test ./allocator -run TestScenarios -rewrite
	$(GO) test ./cmd/galaxyctl -run TestGolden -rewrite

clean: ## remove what was built
	rm -rf bin
