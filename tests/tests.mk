# Tests and the demo. What the suites are and how they are judged: tests/run.
#
#   make test SUITES="unit netns"      some suites only
#   make test RUN_FLAGS=--require-no-skip
#
# test and demo install packages and then start make anew: the flags that pkg-config gives are
# computed when a makefile is read, which on a fresh machine is before the packages are there.

comma := ,

SUITES ?=
RUN_FLAGS ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 1)

# keeps the job server of an outer -j, else uses every processor; make does not see the $(MAKE) in a
# variable, so the lines that use this start with +
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))
RUN = tests/run --build $(abspath $(O)) --jobs $(JOBS) $(RUN_FLAGS)

# what a unit test stands in front of; ALLOCATIONS is for tests/unit/alloc_failure.h
ALLOCATIONS := malloc calloc strdup strndup asprintf
WRAP_test_ctl := -Wl,--wrap=getsockopt
WRAP_test_peer := $(addprefix -Wl$(comma)--wrap=,getsockopt poll)
WRAP_test_supervisor := -Wl,--wrap=poll
WRAP_test_store := $(addprefix -Wl$(comma)--wrap=,malloc calloc reallocarray strdup)
WRAP_test_token_oom := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS))
WRAP_test_token_entra := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS))
WRAP_test_token_assertion := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS))
WRAP_test_json := $(addprefix -Wl$(comma)--wrap=,malloc free)
WRAP_test_kube_token_request := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS) free ig_kube_client_start)
WRAP_test_kube_watch := $(addprefix -Wl$(comma)--wrap=,ig_kube_client_start ig_kube_call_cancel event_add)
WRAP_test_kube_policy_status := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS) event_add ig_clock_mono_usec ig_clock_real_usec ig_kube_client_start ig_kube_call_cancel)
WRAP_test_kube_feeder := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS) event_add ig_kube_watch_new ig_kube_watch_free ig_kube_watch_stats ig_kube_policy_status_report ig_kube_policy_status_forget)
WRAP_test_kube_node_taint := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS) event_add ig_kube_client_start ig_kube_call_cancel)
WRAP_test_callers := $(addprefix -Wl$(comma)--wrap=,ig_link_request ig_link_forget)
WRAP_test_waiting := $(addprefix -Wl$(comma)--wrap=,ig_clock_mono_usec event_add calloc)
WRAP_test_table := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS))
WRAP_test_workloads := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS) reallocarray ig_link_request ig_link_forget)
WRAP_test_process := -Wl,--wrap=open_by_handle_at
WRAP_test_tally := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS) ig_clock_mono_usec)
WRAP_test_datapath := $(addprefix -Wl$(comma)--wrap=,bpf_object__load_skeleton libbpf_probe_bpf_map_type)
WRAP_test_channel := -Wl,--wrap=sendmsg
WRAP_test_audit_file := -Wl,--wrap=fdatasync
WRAP_test_audit_syslog := -Wl,--wrap=send
WRAP_test_fdutil := $(addprefix -Wl$(comma)--wrap=,read write sendmsg recvmsg)

# a TLS server for unit tests
TLS_SERVER := $(shell $(PKG_CONFIG) --libs libevent_openssl libssl libcrypto 2>/dev/null)
WRAP_test_http_stream := $(TLS_SERVER)
WRAP_test_kube_client := $(addprefix -Wl$(comma)--wrap=,free ig_clock_mono_usec) $(TLS_SERVER)
WRAP_test_kube_oom := $(addprefix -Wl$(comma)--wrap=,$(ALLOCATIONS)) $(TLS_SERVER)
WRAP_test_kube_watch_http := $(TLS_SERVER)
WRAP_test_kube_config := -Wl,--wrap=free

LAB_IF_ANY := $(if $(wildcard tests/lab/*.c),$(LAB))

# what runs in the tests' containers, which have no library: static, and never instrumented
KUBE_TOOLS := $(O)/tests/kube/stay $(O)/tests/kube/dial
BENCH_CONTAINER := $(O)/tests/bench/first
$(O)/tests/kube/stay: tests/kube/stay.c user/base/parse.c
$(O)/tests/kube/dial: tests/netns/dial.c user/base/parse.c user/base/err.c
$(BENCH_CONTAINER): tests/bench/first.c user/base/parse.c
$(KUBE_TOOLS) $(BENCH_CONTAINER): $(O)/.flags $(wildcard user/base/*.h tests/netns/*.h)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Itests -std=gnu17 $(WARN) $(CFLAGS) -static -o $@ $(filter %.c,$^) $(if $(findstring dial,$@),-ljansson -luring)

# what makes imdsgated's allocations and system calls fail: preloaded, so never instrumented
INJECT := $(O)/tests/fault/inject.so
$(INJECT): tests/fault/inject.c $(O)/.flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) -std=gnu17 $(WARN) -O2 -g -fPIC -shared -o $@ $<

# the watches of many agents
SWARM := $(O)/tests/kube/swarm

.PHONY: test
test: need-root ## install what is missing, build, run every suite (sudo)
	@deploy/packages.sh test
	+@$(SUBMAKE) test-programs
	@$(RUN) $(SUITES)

.PHONY: test-programs
test-programs: $(PROGRAMS) $(BPF_TESTS) $(LAB_IF_ANY) $(NETNS_TOOLS) unit-programs

.PHONY: unit-programs
unit-programs:
	+@$(SUBMAKE) O=$(O)/asan SANITIZE=address,undefined CFLAGS='-O1 -g' unit-programs-here
.PHONY: unit-programs-here
unit-programs-here: $(UNIT_TESTS)

.PHONY: check
check: ## static checks: arrows, headers, formatting, forbidden calls, scripts
	@$(RUN) check
# the checks compile every header, and some headers include generated ones
check: $(O)/gen/version.h $(SKELS)

.PHONY: unit
unit: unit-programs ## unit tests under AddressSanitizer and UBSan (no root)
	@$(RUN) unit

.PHONY: bpf
bpf: need-root $(BPF_TESTS) ## BPF decision tests (sudo)
	@$(RUN) bpf

.PHONY: lab
lab: $(LAB_IF_ANY) ## tests of the stand-in for Azure
	@$(RUN) lab

.PHONY: cli
cli: need-root $(PROGRAMS) ## the tools over logs and policies (sudo)
	@$(RUN) cli

.PHONY: netns
netns: need-root $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS) ## system tests in network namespaces (sudo)
	@$(RUN) netns

.PHONY: metrics
metrics: need-root $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS) ## rules and dashboard against a real Prometheus (sudo)
	@$(RUN) metrics

.PHONY: conformance
conformance: need-root $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS) ## the metadata protocol, case by case (sudo)
	@$(RUN) conformance

.PHONY: clients
clients: need-root $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS) ## real Azure clients (sudo)
	@$(RUN) clients

.PHONY: stress
stress: need-root $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS) ## 500 kills, 100 upgrades, a minute of soak (sudo)
	@$(RUN) --timeout 900 stress

# MINUTES: how long; SOAK_FLAGS: see tests/soak/README.md
MINUTES ?= 10
.PHONY: soak
soak: need-root ## everyday load for MINUTES (10): nothing grows, no wrong token (sudo)
	@deploy/packages.sh test
	+@$(SUBMAKE) soak-programs
	@IG_BUILD=$(abspath $(O)) tests/soak/soak.py --minutes $(MINUTES) $(SOAK_FLAGS)
.PHONY: soak-programs
soak-programs: $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS)

.PHONY: e2e
e2e: need-root ## a real Kubernetes node (sudo; compiles Kubernetes, once)
	@deploy/packages.sh e2e
	+@$(SUBMAKE) e2e-programs
	@tests/kube/build >/dev/null || [ $$? -eq 77 ] # 77: it cannot be had here, and the suite says so
	@$(RUN) --timeout 600 kube
.PHONY: scale
scale: need-root ## what the watches of many agents cost (sudo; compiles Kubernetes, once)
	@deploy/packages.sh e2e
	+@$(SUBMAKE) e2e-programs
	@IG_BUILD=$(abspath $(O)) tests/kube/scale.py
.PHONY: e2e-programs
e2e-programs: $(PROGRAMS) $(LAB_IF_ANY) $(KUBE_TOOLS) $(SWARM) image

.PHONY: fault
fault: need-root ## memory, system calls, clocks and upstreams that fail (sudo; two minutes)
	@deploy/packages.sh test
	+@$(SUBMAKE) fault-programs
	@$(RUN) fault
.PHONY: fault-programs
fault-programs: $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS) $(INJECT)

# The system tests on an instrumented agent, lab and tools; whatever a sanitizer says fails its test.
.PHONY: sanitize
sanitize: need-root ## system tests under AddressSanitizer, leak detection and UBSan (sudo)
	@deploy/packages.sh test
	+@$(SUBMAKE) O=$(O)/asan SANITIZE=address,undefined CFLAGS='-O1 -g' sanitize-programs-here
	@tests/run --build $(abspath $(O))/asan --timeout 900 $(RUN_FLAGS) $(or $(SUITES),netns conformance)
.PHONY: sanitize-programs-here
sanitize-programs-here: $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS)

# The audit's sinks have threads of their own, nothing else has. gcc's runtime knows less of where
# memory may be than newer kernels put it, hence setarch.
THREADED := $(patsubst %,$(O)/tests/unit/test_%,audit_file audit_otlp audit_stream audit_syslog)
.PHONY: threads
threads: need-root ## what has threads, in unit and system tests, under ThreadSanitizer (sudo)
	@deploy/packages.sh test
	+@$(SUBMAKE) O=$(O)/tsan SANITIZE=thread CFLAGS='-O1 -g' threads-here sanitize-programs-here
	@setarch -R tests/run --build $(abspath $(O))/tsan --timeout 900 $(RUN_FLAGS) \
		netns/test_audit $(addprefix netns/test_audit_,otlp sinks syslog)
.PHONY: threads-here
threads-here: $(THREADED)
	@for program in $^; do setarch -R $$program || exit 1; done

# Memory that no instrumentation sees: what libraries do with it, and values that were never set.
# Without fortified functions, of which valgrind takes one for another (memmove for memcpy).
VALGRIND_TOOLS := $(O)/tests/valgrind/calls.so $(O)/tests/valgrind/handed
.PHONY: valgrind
valgrind: ## unit tests under valgrind (ten minutes)
	@deploy/packages.sh valgrind
	+@$(SUBMAKE) O=$(O)/plain CFLAGS='-O1 -g -U_FORTIFY_SOURCE' valgrind-programs-here
	@$(RUN) --timeout 900 --unit-build plain --unit-under tests/valgrind/under unit
.PHONY: valgrind-programs-here
valgrind-programs-here: $(UNIT_TESTS) $(VALGRIND_TOOLS)

# what valgrind does not know is done outside of it
$(O)/tests/valgrind/calls.so: tests/valgrind/calls.c user/base/fdutil.c
$(O)/tests/valgrind/handed: tests/valgrind/handed.c user/base/fdutil.c user/base/parse.c
$(VALGRIND_TOOLS): $(O)/.flags $(wildcard user/base/*.h)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) -std=gnu17 $(WARN) -O2 -g $(if $(findstring .so,$@),-fPIC -shared) -o $@ $(filter %.c,$^)

include tests/fuzz/fuzz.mk

.PHONY: kernels
kernels: need-root ## the gate on older and newer kernels, in virtual machines (sudo; downloads kernels, once)
	@deploy/packages.sh kernels
	+@$(SUBMAKE) kernels-programs
	@$(RUN) --timeout 1500 kernels
.PHONY: kernels-programs
kernels-programs: $(PROGRAMS) $(BPF_TESTS) $(LAB_IF_ANY) $(NETNS_TOOLS)

# what is measured is a build of its own without sanitizers; CASES: some of tests/bench/case_*.py
.PHONY: bench
bench: need-root ## measure, side by side; writes bench.json (sudo)
	@deploy/packages.sh bench
	+@$(SUBMAKE) bench-programs
	@IG_BUILD=$(abspath $(O)) tests/bench/bench.py $(BENCH_FLAGS) $(CASES)
.PHONY: bench-programs
bench-programs: $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS) $(BENCH_TOOLS)

# Instructions instead of time: the same on every run, so it can be compared with what is committed.
# UPDATE=1: what is measured becomes what is committed.
COUNT := $(O)/tests/bench/count/count
COUNT_WRAP := $(addprefix -Wl$(comma)--wrap=,ig_clock_mono_usec ig_clock_real_usec ig_flow_take getrandom)
$(COUNT): $(patsubst %.c,$(O)/%.o,$(sort $(wildcard tests/bench/count/*.c))) $(LIB)
	$(call link,$(COUNT_WRAP))
.PHONY: bench-check
bench-check: ## count the instructions of requests and audit records, compare with the committed numbers
	@deploy/packages.sh bench-check
	+@$(SUBMAKE) $(COUNT)
	@$(if $(UPDATE),IG_BUILD=$(abspath $(O)) tests/bench/test_instructions.py --update,$(RUN) --timeout 900 bench)

.PHONY: flame
flame: ## draw where the instructions go, into docs
	@deploy/packages.sh bench-check
	+@$(SUBMAKE) $(COUNT)
	@for operation in request event; do IG_BUILD=$(abspath $(O)) tests/bench/flame.py \
		$$operation docs/flame-$$operation.svg || exit 1; done

.PHONY: clang-build
clang-build: ## compile everything with clang, for its warnings
	+@$(SUBMAKE) O=$(O)/clang CC=$(CLANG) clang-build-here
.PHONY: clang-build-here
clang-build-here: $(PROGRAMS) $(BPF_TESTS) $(LAB_IF_ANY) $(NETNS_TOOLS) $(BENCH_TOOLS) $(COUNT) $(KUBE_TOOLS) $(SWARM) $(INJECT) $(UNIT_TESTS) $(VALGRIND_TOOLS)

.PHONY: demo
demo: need-root ## install what is missing, build, show the gate at work (sudo)
	@deploy/packages.sh demo
	+@$(SUBMAKE) demo-programs
	@IG_BUILD=$(abspath $(O)) tests/demo/demo
.PHONY: demo-programs
demo-programs: $(PROGRAMS) $(LAB_IF_ANY) $(NETNS_TOOLS)

.PHONY: need-root
need-root:
	@test "$$(id -u)" -eq 0 || { \
		echo 'This needs root (packages, network namespaces, cgroups, BPF): sudo make $(MAKECMDGOALS)' >&2; \
		exit 1; }

.PHONY: help
help: ## this list
	@printf 'imdsgate $(VERSION)\n\n'
	@sed -n 's/^\([a-z][a-z0-9-]*\):.* ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | sort | expand -t 22
	@printf '\nVariables: O= PREFIX= DESTDIR= SANITIZE= V=1 SUITES= RUN_FLAGS= JOBS=\n'
