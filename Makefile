# imdsgate. `make help` lists what this can do. Objects go to O= (default build/), never into the tree.
#
#   V=1                            show the commands
#   O=DIR                          another output directory
#   SANITIZE=address,undefined     instrument everything that runs in user space
#   DESTDIR=, PREFIX=              for `make install`

VERSION := 0.1.0

O ?= build
PREFIX ?= /usr/local
DESTDIR ?=
SANITIZE ?=
V ?=

CC ?= gcc
CLANG ?= clang
LLVM_STRIP ?= llvm-strip
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool) bpftool)
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g

Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-8s %s\n' '$(1)' '$(2)')

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

# ---- flags -------------------------------------------------------------------------------------

LIBS := libbpf libelf zlib libevent_core libcurl jansson yaml-0.1 libssl libcrypto libcap-ng libseccomp
WARN := -Wall -Wextra -Wshadow -Wformat=2 -Wmissing-prototypes -Wstrict-prototypes -Wvla -Werror
# no path of this machine in what is built: the same sources give the same bytes everywhere
RELATIVE := -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(abspath $(O))=build
HARDEN := -fstack-protector-strong -fPIE $(RELATIVE) $(if $(SANITIZE),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
SAN := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)

# llhttp: the library where the distribution has it, else the C sources that Debian's node-llhttp ships
LLHTTP_LIB := $(shell $(PKG_CONFIG) --exists libllhttp 2>/dev/null && echo libllhttp)
LLHTTP_SRC := $(if $(LLHTTP_LIB),,$(wildcard /usr/share/llhttp/*.c))
LLHTTP_OBJ := $(patsubst /usr/share/llhttp/%.c,$(O)/llhttp/%.o,$(LLHTTP_SRC))
LLHTTP_INC := $(if $(LLHTTP_LIB),,-isystem /usr/share/include/llhttp)

PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LIBS) $(LLHTTP_LIB) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(LIBS) $(LLHTTP_LIB) 2>/dev/null)

CPPFLAGS_ALL := -D_GNU_SOURCE -Iuser -Iinclude -I$(O)/gen $(LLHTTP_INC) $(PKG_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL := -std=gnu17 $(WARN) $(HARDEN) $(SAN) $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SAN) $(LDFLAGS)

MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
BPF_ARCH := $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(shell uname -m)))
BPF_CFLAGS := -std=gnu17 -target bpf $(RELATIVE) -O2 -g -mcpu=v2 -D__TARGET_ARCH_$(BPF_ARCH) -Iinclude -Ibpf \
	-idirafter /usr/include/$(MULTIARCH) $(filter-out -Wmissing-prototypes,$(WARN)) -Wconversion

# ---- what there is -----------------------------------------------------------------------------

MAINS := user/agent/main.c user/cli/main.c
LIB_SRC := $(filter-out $(MAINS),$(sort $(wildcard user/*/*.c)))
LIB_OBJ := $(LIB_SRC:%.c=$(O)/%.o)
LIB := $(O)/libimdsgate.a

BPF_SRC := $(sort $(wildcard bpf/*.bpf.c))
SKELS := $(BPF_SRC:bpf/%.bpf.c=$(O)/gen/%.skel.h)
BPF_TEST_SRC := $(sort $(wildcard tests/bpf/*.bpf.c))
BPF_TEST_SKELS := $(BPF_TEST_SRC:tests/bpf/%.bpf.c=$(O)/gen/%.skel.h)
BENCH_SKELS := $(patsubst tests/bench/%.bpf.c,$(O)/gen/%.skel.h,$(wildcard tests/bench/*.bpf.c))

PROGRAMS := $(O)/imdsgated $(O)/imdsgate
LAB := $(O)/tests/lab/imdsgate-lab
UNIT_TESTS := $(patsubst %.c,$(O)/%,$(sort $(wildcard tests/unit/test_*.c)))
BPF_TESTS := $(patsubst %.c,$(O)/%,$(sort $(wildcard tests/bpf/test_*.c)))
BENCH_TOOLS := $(patsubst %.c,$(O)/%,$(filter-out %.bpf.c,$(sort $(wildcard tests/bench/*.c))))
NETNS_TOOLS := $(patsubst %.c,$(O)/%,$(filter-out %.bpf.c,$(sort $(wildcard tests/netns/*.c))))

# ---- rules -------------------------------------------------------------------------------------

.PHONY: all
all: $(PROGRAMS) compile_commands.json ## build the programs

# Changes when the flags do, so that objects built with other flags are built again.
FLAGS := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(CLANG) $(BPF_CFLAGS)
$(O)/.flags: FORCE
	@mkdir -p $(@D); printf '%s\n' '$(FLAGS)' | cmp -s - $@ || printf '%s\n' '$(FLAGS)' > $@
.PHONY: FORCE
FORCE:

$(O)/gen/version.h: Makefile
	@mkdir -p $(@D); printf '#pragma once\n#define IG_VERSION "%s"\n' '$(VERSION)' > $@

# $(1) compiler and flags; leaves a fragment of compile_commands.json beside the object
define compile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(1) -MMD -MP -MF $@.d -c -o $@ $<
	@printf '{"directory":"%s","file":"%s","arguments":[' '$(CURDIR)' '$<' > $@.json; \
	printf '"%s",' $(1) >> $@.json; printf '"-c","%s"]}\n' '$<' >> $@.json
endef

$(O)/user/%.o: user/%.c $(O)/.flags
	$(call compile,$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL))
$(O)/tests/%.o: tests/%.c $(O)/.flags
	$(call compile,$(CC) $(CPPFLAGS_ALL) -Itests -Ibpf $(CFLAGS_ALL))
$(O)/llhttp/%.o: /usr/share/llhttp/%.c $(O)/.flags
	$(call compile,$(CC) $(LLHTTP_INC) -DLLHTTP_STRICT_MODE=1 -std=gnu17 -w $(HARDEN) $(SAN) $(CFLAGS))

$(O)/bpf/%.bpf.o: bpf/%.bpf.c $(O)/.flags
	$(call compile,$(CLANG) $(BPF_CFLAGS))
	$(Q)$(LLVM_STRIP) -g $@
$(O)/tests/%.bpf.o: tests/%.bpf.c $(O)/.flags
	$(call compile,$(CLANG) $(BPF_CFLAGS))
	$(Q)$(LLVM_STRIP) -g $@

define skeleton
	@mkdir -p $(@D)
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(*F)_bpf > $@
endef
$(O)/gen/%.skel.h: $(O)/bpf/%.bpf.o
	$(skeleton)
$(O)/gen/%.skel.h: $(O)/tests/bpf/%.bpf.o
	$(skeleton)
$(O)/gen/%.skel.h: $(O)/tests/bench/%.bpf.o
	$(skeleton)

# generated headers have to exist before the first compilation finds out who includes them (a pattern
# rule without a recipe would add no prerequisite, so these name their targets)
$(LIB_OBJ) $(MAINS:%.c=$(O)/%.o) $(UNIT_TESTS:%=%.o): | $(O)/gen/version.h
$(filter $(O)/user/datapath/%,$(LIB_OBJ)): | $(SKELS)
$(BPF_TESTS:%=%.o): | $(SKELS) $(BPF_TEST_SKELS)
$(BENCH_TOOLS:%=%.o): | $(BENCH_SKELS)

$(LIB): $(LIB_OBJ) $(LLHTTP_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) crs $@ $^

define link
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(LIB) $(PKG_LIBS) $(1)
endef

$(O)/imdsgated: $(O)/user/agent/main.o $(LIB)
	$(call link)
$(O)/imdsgate: $(O)/user/cli/main.o $(LIB)
	$(call link)
$(LAB): $(patsubst %.c,$(O)/%.o,$(wildcard tests/lab/*.c)) $(LIB)
	$(call link,$(shell $(PKG_CONFIG) --libs libevent_extra libevent_core))
$(O)/tests/unit/test_%: $(O)/tests/unit/test_%.o $(LIB)
	$(call link,-lcmocka $(shell $(PKG_CONFIG) --libs libevent_extra) $(WRAP_test_$*))
$(O)/tests/bpf/test_%: $(O)/tests/bpf/test_%.o $(LIB)
	$(call link,-lcmocka $(WRAP_test_$*))
$(O)/tests/kube/swarm: $(O)/tests/kube/swarm.o $(LIB)
	$(call link)
$(O)/tests/bench/%: $(O)/tests/bench/%.o $(LIB)
	$(call link)
$(O)/tests/netns/%: $(O)/tests/netns/%.o $(LIB)
	$(call link,$(shell $(PKG_CONFIG) --libs liburing 2>/dev/null))

# what is built with other flags has directories of its own below this one
OTHER_BUILDS := '(' $(foreach d,asan clang fuzz plain tsan,-path $(O)/$d -o) -false ')' -prune -o

compile_commands.json: $(PROGRAMS)
	@{ echo '['; find $(O) $(OTHER_BUILDS) -name '*.o.json' -print | sort | xargs cat | sed '$$!s/$$/,/'; echo ']'; } > $@.new && mv $@.new $@

-include $(shell find $(O) $(OTHER_BUILDS) -name '*.o.d' -print 2>/dev/null)

# ---- tests, demo, install: see the fragments ------------------------------------------------------

-include tests/tests.mk
-include deploy/install.mk
-include deploy/release.mk

.PHONY: clean
clean: ## remove what was built
	rm -rf $(O) compile_commands.json

.PHONY: format
format: ## put every C file into the house format
	clang-format -i $$(git ls-files --cached --others --exclude-standard '*.c' '*.h')
