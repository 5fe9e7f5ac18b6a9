# Fuzzing: libFuzzer targets over everything that reads what others wrote. See tests/fuzz/README.md.
#
#   make fuzz FUZZ_SECONDS=3600 FUZZ_CORPUS=~/corpus FUZZ="http imds"

FUZZ_SECONDS ?= 30
FUZZ_CORPUS ?=
FUZZ ?=

FUZZ_TARGETS := $(patsubst %.c,$(O)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

# what a target stands in front of
WRAP_fuzz_kube_watch := $(addprefix -Wl$(comma)--wrap=,ig_kube_client_start ig_kube_call_cancel event_add)
WRAP_fuzz_monitor := $(addprefix -Wl$(comma)--wrap=,open_by_handle_at ig_flow_take ig_sources_find $(addprefix ig_datapath_,cgroup_fd flows_fd upstream_mark workload_get workload_set workload_delete workloads_sweep counters))
WRAP_fuzz_proc := $(addprefix -Wl$(comma)--wrap=,open openat)
WRAP_fuzz_control := -Wl,--wrap=connect

.PHONY: fuzz
fuzz: ## fuzz every decoder for FUZZ_SECONDS=30 each
	@deploy/packages.sh fuzz
	+@$(SUBMAKE) fuzz-programs
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' FUZZ_CORPUS='$(FUZZ_CORPUS)' FUZZ='$(FUZZ)' \
		$(RUN) --timeout $$((600 + $(FUZZ_SECONDS) * $(words $(FUZZ_TARGETS)))) fuzz

.PHONY: fuzz-programs
fuzz-programs:
	+@$(SUBMAKE) O=$(O)/fuzz CC=$(CLANG) SANITIZE=fuzzer-no-link,address,undefined CFLAGS='-O1 -g' \
		fuzz-programs-here
.PHONY: fuzz-programs-here
fuzz-programs-here: $(FUZZ_TARGETS)

$(O)/tests/fuzz/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/fuzz.o $(LIB)
	$(call link,-fsanitize=fuzzer $(WRAP_fuzz_$*))
