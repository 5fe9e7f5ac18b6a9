# What is handed out: the container image, the list of what is in it, the source archive.
#
#   make image IMAGE=NAME:TAG      an OCI archive in $(O)/image; needs no daemon and no root
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
