# make demo    see a failover
# make bench   how fast it is, and what it keeps alive
# make test    everything: unit, namespaces, end to end (as root)
SHELL := /bin/bash
.DELETE_ON_ERROR:

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TAGS    := urfave_cli_no_docs
LDFLAGS := -s -w -X main.version=$(VERSION)
# Without inlining the program is half a megabyte smaller, which a router's flash
# feels; it waits for the network, not for the CPU.
GCFLAGS := all=-l
TOOL    := go tool -modfile=packaging/tools/go.mod
LAB     := build/lab
SHELL_SCRIPTS = $(shell git ls-files | grep -v '\.tmpl$$' | xargs awk 'FNR == 1 && /^.!\/bin\/(ba)?sh/ && !/rc.common/ { print FILENAME }')

SCENARIO ?= crash
FUZZTIME ?= 10s
PREFIX   ?= /usr

export CGO_ENABLED ?= 0

.PHONY: build demo bench pictures test unit e2e lint fuzz clean install image $(LAB) wanfail
build: wanfail

# What a target needs beyond Go, git and make: installed by root, named to others.
NEEDS := needs-demo needs-test needs-lint
.PHONY: $(NEEDS)
$(NEEDS): needs-%:
	@lab/needs.sh $*

wanfail:
	go build -trimpath -tags $(TAGS) -gcflags '$(GCFLAGS)' -ldflags '$(LDFLAGS)' -o $@ .

# Manual pages and completions, from what --help says: build/man, build/completions.
docs-gen:
	go run ./hooks/command/docsgen build '$(VERSION)'

$(LAB):
	go build -o $@ ./lab/cmd/lab

# The routers' operating system, built once and kept in .cache.
image: needs-demo $(LAB)
	$(LAB) image

demo: needs-demo wanfail $(LAB)
	$(LAB) demo --scenario $(SCENARIO) --binary ./wanfail

# Measures: writes docs/BENCHMARKS.md, a quarter of an hour. QUICK=1 prints
# a few rounds of each.
bench: wanfail image
	LAB_IMAGE=$$($(LAB) image) $(LAB) bench $(if $(QUICK),--quick,--out docs/BENCHMARKS.md)

# What the README shows.
pictures: wanfail image
	LAB_IMAGE=$$($(LAB) image) $(LAB) pictures docs

test: unit e2e

# Tests in namespaces need root; the race detector needs cgo. Built side by side,
# run one package after the other: they measure time, and some load both cores.
UNIT = $$(go list ./... | grep -vE '/lab/(e2e|deb|hostile)$$')
unit: needs-test image
	CGO_ENABLED=1 go test -race -exec true $(UNIT) >/dev/null
	LAB_IMAGE=$$($(LAB) image) CGO_ENABLED=1 go test -race -shuffle=on -p 1 -timeout 15m $(UNIT)

e2e: needs-test wanfail image
	LAB_IMAGE=$$($(LAB) image) WANFAIL_BINARY=$(CURDIR)/wanfail go test -v -count=1 -p 1 -timeout 30m ./lab/e2e ./lab/deb ./lab/hostile

# Each fuzz target for a short time; FUZZTIME=10m for a long one. Go's fuzzer may
# take the end of that time for a failure (golang.org/issue/75804): one that is
# real has an input.
fuzz:
	@set -e; mkdir -p build; for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "fuzz $$pkg $$f"; \
			if go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg >build/fuzz.log 2>&1; then \
				grep '^ok' build/fuzz.log; \
			elif grep -q 'Failing input' build/fuzz.log || ! grep -qx ' *context deadline exceeded' build/fuzz.log; then \
				cat build/fuzz.log; exit 1; \
			fi; \
		done; \
	done

lint: needs-lint
	@out=$$($(TOOL) gofumpt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not gofumpt-ed: $$out"; exit 1; }
	go vet ./...
	go vet -tags nosystemd ./...
	go vet -tags systemd_e2e ./services/e2e
	$(TOOL) staticcheck ./...
	go mod tidy -diff
	cd packaging/tools && go mod tidy -diff
	shellcheck $(SHELL_SCRIPTS)
	@if $(TOOL) govulncheck ./... ; then :; else \
		code=$$?; [ $$code -ne 3 ] || exit 3; echo "govulncheck: no database to be had here (exit $$code), left out"; fi

install: wanfail
	install -D -m 0755 wanfail $(DESTDIR)$(PREFIX)/sbin/wanfail

clean:
	rm -rf wanfail build dist

PACKAGES_NEED := docs-gen
include packaging/packages.mk
