# make install, make uninstall, make manuals. Nothing is started or enabled; DESTDIR is for packagers.
#
# The manual pages need scdoc and python3, and the programs, whose tables are filled in. Without the
# two tools make install says so and installs everything else.

SBINDIR := $(PREFIX)/sbin
BINDIR := $(PREFIX)/bin
UNITDIR := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
DOCDIR := $(PREFIX)/share/doc/imdsgate
SHAREDIR := $(PREFIX)/share/imdsgate
SCHEMADIR := $(SHAREDIR)/schema
MANDIR := $(PREFIX)/share/man
BASHDIR := $(PREFIX)/share/bash-completion/completions
ZSHDIR := $(PREFIX)/share/zsh/site-functions
FISHDIR := $(PREFIX)/share/fish/vendor_completions.d

INSTALL ?= install
SCDOC ?= scdoc
DOCS := README.md CHANGELOG.md SECURITY.md LICENSE $(wildcard docs/*.md docs/*.svg)
SCHEMAS := $(wildcard deploy/schema/*.json)
# rules for Prometheus, a dashboard for Grafana: each below its own name in SHAREDIR
MONITORING := $(patsubst deploy/%,%,$(wildcard deploy/prometheus/*.yaml deploy/grafana/*.json))
PAGES := $(patsubst deploy/man/%.scd,%,$(wildcard deploy/man/*.scd))
PAGES_BUILT := $(PAGES:%=$(O)/man/%)
CAN_MAKE_PAGES := $(and $(shell command -v $(SCDOC)),$(shell command -v python3))
COMPLETIONS := $(BASHDIR)/imdsgate $(BASHDIR)/imdsgated $(ZSHDIR)/_imdsgate \
	$(FISHDIR)/imdsgate.fish $(FISHDIR)/imdsgated.fish

# where a page goes: man1 for imdsgate.1
page_path = $(MANDIR)/man$(subst .,,$(suffix $(1)))/$(1)

INSTALLED := $(SBINDIR)/imdsgated $(BINDIR)/imdsgate $(UNITDIR)/imdsgated.service \
	$(SYSUSERSDIR)/imdsgate.conf $(addprefix $(DOCDIR)/,$(notdir $(DOCS))) \
	$(addprefix $(SCHEMADIR)/,$(notdir $(SCHEMAS))) $(addprefix $(SHAREDIR)/,$(MONITORING)) $(COMPLETIONS) \
	$(foreach page,$(PAGES),$(call page_path,$(page)))

# HY: names that are copied must not be hyphenated
$(O)/man/%: deploy/man/%.scd deploy/man/fill deploy/schema/audit-v1.schema.json $(PROGRAMS)
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)deploy/man/fill --build $(O) $< > $@.scd
	$(Q)$(SCDOC) < $@.scd > $@.roff
	$(Q)sed '/^\.TH/i .nr HY 0' $@.roff > $@

.PHONY: manuals
manuals: $(PAGES_BUILT) ## make the manual pages (needs scdoc and python3)

.PHONY: install
install: $(PROGRAMS) $(if $(CAN_MAKE_PAGES),$(PAGES_BUILT)) ## copy programs, manuals, completion, unit, schema, rules, dashboard and documents to DESTDIR/PREFIX
	$(INSTALL) -d $(addprefix $(DESTDIR),$(sort $(dir $(INSTALLED))))
	$(INSTALL) -m 0755 $(O)/imdsgated $(DESTDIR)$(SBINDIR)/imdsgated
	$(INSTALL) -m 0755 $(O)/imdsgate $(DESTDIR)$(BINDIR)/imdsgate
	sed 's|/usr/local/sbin/|$(SBINDIR)/|' deploy/systemd/imdsgated.service > $(O)/imdsgated.service
	$(INSTALL) -m 0644 $(O)/imdsgated.service $(DESTDIR)$(UNITDIR)/imdsgated.service
	$(INSTALL) -m 0644 deploy/systemd/sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/imdsgate.conf
	$(INSTALL) -m 0644 $(DOCS) $(DESTDIR)$(DOCDIR)
	$(if $(SCHEMAS),$(INSTALL) -m 0644 $(SCHEMAS) $(DESTDIR)$(SCHEMADIR))
	$(foreach file,$(MONITORING),$(INSTALL) -m 0644 deploy/$(file) $(DESTDIR)$(SHAREDIR)/$(file) &&) true
	$(INSTALL) -m 0644 deploy/completion/imdsgate.bash $(DESTDIR)$(BASHDIR)/imdsgate
	$(INSTALL) -m 0644 deploy/completion/imdsgated.bash $(DESTDIR)$(BASHDIR)/imdsgated
	$(INSTALL) -m 0644 deploy/completion/_imdsgate $(DESTDIR)$(ZSHDIR)/_imdsgate
	$(INSTALL) -m 0644 deploy/completion/imdsgate.fish deploy/completion/imdsgated.fish $(DESTDIR)$(FISHDIR)
	$(if $(CAN_MAKE_PAGES),$(foreach page,$(PAGES),$(INSTALL) -m 0644 $(O)/man/$(page) $(DESTDIR)$(call page_path,$(page)) &&) true, \
		@echo 'no manual pages: they need scdoc and python3')

.PHONY: uninstall
uninstall: ## remove what install copied
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-rmdir $(DESTDIR)$(DOCDIR) $(DESTDIR)$(SCHEMADIR) $(addprefix $(DESTDIR)$(SHAREDIR)/,$(sort $(dir $(MONITORING)))) \
		$(DESTDIR)$(SHAREDIR)
