# make install, make uninstall. Nothing is started or enabled; DESTDIR is for packagers.

SBINDIR := $(PREFIX)/sbin
BINDIR := $(PREFIX)/bin
UNITDIR := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
DOCDIR := $(PREFIX)/share/doc/imdsgate
SCHEMADIR := $(PREFIX)/share/imdsgate/schema

INSTALL ?= install
DOCS := README.md CHANGELOG.md SECURITY.md LICENSE $(wildcard docs/*.md)
SCHEMAS := $(wildcard deploy/schema/*.json)

INSTALLED := $(SBINDIR)/imdsgated $(BINDIR)/imdsgate $(UNITDIR)/imdsgated.service \
	$(SYSUSERSDIR)/imdsgate.conf $(addprefix $(DOCDIR)/,$(notdir $(DOCS))) \
	$(addprefix $(SCHEMADIR)/,$(notdir $(SCHEMAS)))

.PHONY: install
install: $(PROGRAMS) ## copy programs, unit, schema and documents to DESTDIR/PREFIX
	$(INSTALL) -d $(addprefix $(DESTDIR),$(sort $(dir $(INSTALLED))))
	$(INSTALL) -m 0755 $(O)/imdsgated $(DESTDIR)$(SBINDIR)/imdsgated
	$(INSTALL) -m 0755 $(O)/imdsgate $(DESTDIR)$(BINDIR)/imdsgate
	sed 's|/usr/local/sbin/|$(SBINDIR)/|' deploy/systemd/imdsgated.service > $(O)/imdsgated.service
	$(INSTALL) -m 0644 $(O)/imdsgated.service $(DESTDIR)$(UNITDIR)/imdsgated.service
	$(INSTALL) -m 0644 deploy/systemd/sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/imdsgate.conf
	$(INSTALL) -m 0644 $(DOCS) $(DESTDIR)$(DOCDIR)
	$(if $(SCHEMAS),$(INSTALL) -m 0644 $(SCHEMAS) $(DESTDIR)$(SCHEMADIR))

.PHONY: uninstall
uninstall: ## remove what install copied
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-rmdir $(DESTDIR)$(DOCDIR) $(DESTDIR)$(SCHEMADIR) $(DESTDIR)$(PREFIX)/share/imdsgate
