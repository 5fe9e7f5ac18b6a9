# What is handed out: the container image, the list of what is in it, the source archive.
#
#   make image IMAGE=NAME:TAG      an OCI archive in $(O)/image; needs no daemon and no root
#   make dist                      the sources, in $(O); they build without git
#   make deb                       a Debian package, in $(O), built from them
#
# Same sources and same libraries, same bytes: times are those of the last change.

IMAGE ?= imdsgate:$(VERSION)
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y Makefile)
REVISION := $(shell git rev-parse HEAD 2>/dev/null)

$(O)/sbom.spdx.json: $(PROGRAMS) deploy/image/sbom deploy/image/contents.py
	$(call say,SBOM,$@)
	$(Q)deploy/image/sbom --build $(O) --version $(VERSION) > $@

.PHONY: sbom
sbom: $(O)/sbom.spdx.json ## list what is linked in, with versions and licences (SPDX)

# the tree that the image consists of; the Dockerfile makes it too
ROOTFS ?= $(O)/image/rootfs
.PHONY: rootfs
rootfs: $(PROGRAMS) $(O)/sbom.spdx.json
	$(call say,ROOTFS,$(ROOTFS))
	$(Q)rm -rf $(ROOTFS) && mkdir -p $(dir $(ROOTFS))
	$(Q)deploy/image/rootfs --build $(O) --sbom $(O)/sbom.spdx.json $(ROOTFS)

.PHONY: image
image: rootfs ## make the container image, an OCI archive
	$(call say,OCI,$(O)/image/imdsgate.tar)
	$(Q)deploy/image/oci --rootfs $(ROOTFS) --tag $(IMAGE) --version $(VERSION) \
		$(if $(REVISION),--revision $(REVISION)) $(O)/image/imdsgate.tar

# the files that git knows, as they are here; without git (the archive itself), all of them
DIST := imdsgate-$(VERSION)
.PHONY: dist
dist: ## make the archive of the sources
	@mkdir -p $(O)
	$(call say,DIST,$(O)/$(DIST).tar.gz)
	$(Q){ git ls-files -z 2>/dev/null || find . -mindepth 1 -path './build*' -prune -o ! -type d -print0; } | \
		sed -z 's,^\./,,' | LC_ALL=C sort -z | tar -c --null --no-recursion -T - --owner=0 --group=0 --numeric-owner --mode=go-w \
		--mtime=@$(SOURCE_DATE_EPOCH) --transform='s,^,$(DIST)/,S' | gzip -9n > $(O)/$(DIST).tar.gz

DEB := $(O)/deb/$(DIST)
MAINTAINER := $(shell sed -n 's/^Maintainer: //p' deploy/debian/control)
.PHONY: deb
deb: dist ## make the Debian package (needs debhelper; deploy/packages.sh deb)
	$(call say,DEB,$(O)/imdsgate_$(VERSION)-1)
	$(Q)rm -rf $(O)/deb && mkdir -p $(O)/deb && tar -xzf $(O)/$(DIST).tar.gz -C $(O)/deb
	$(Q)cp -r $(DEB)/deploy/debian $(DEB)/debian
	$(Q)printf 'imdsgate (%s-1) unstable; urgency=medium\n\n  * See /usr/share/doc/imdsgate/changelog.gz.\n\n -- %s  %s\n' \
		'$(VERSION)' '$(MAINTAINER)' "$$(LC_ALL=C date -u -R -d @$(SOURCE_DATE_EPOCH))" > $(DEB)/debian/changelog
	$(Q)cd $(DEB) && env -u MAKEFLAGS -u MFLAGS dpkg-buildpackage --build=binary --no-sign > ../build.log 2>&1 || \
		{ tail -n 30 ../build.log >&2; exit 1; }
	$(Q)mv $(O)/deb/*.deb $(O)
