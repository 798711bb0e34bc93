# Packages and releases; included by the Makefile at the root of the repository,
# which sets VERSION (git describe) and builds the manuals.
#
#   make deb       dist/wanfail_*_{amd64,arm64,armhf}.deb
#   make ipk       dist/wanfail_*.ipk, OpenWrt 24.10 and older (opkg)
#   make apk       dist/wanfail-*.apk, OpenWrt 25.12 and newer (apk)
#   make release   all of these, bare binaries, an SBOM and SHA256SUMS
#
# Everything is made from the commit alone: the same commit gives the same bytes.

VERSION ?= $(shell git describe --tags --always --dirty)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

PACKAGES_TOOL := go tool -modfile=packaging/tools/go.mod
PACKAGES_DIR ?= build/packages
DIST ?= dist
# Where the manuals and completions are, if they are built.
PACKAGES_DOCS ?= build
PACKAGES_DEB_VERSION = $(shell packaging/version.sh deb '$(VERSION)' '$(SOURCE_DATE_EPOCH)')
PACKAGES_APK_VERSION = $(shell packaging/version.sh apk '$(VERSION)' '$(SOURCE_DATE_EPOCH)')

# name of the architecture: environment of the go command. OpenWrt's
# arm_cortex-a7 and its MIPS are without a floating point unit.
GOENV_deb_amd64 := GOARCH=amd64
GOENV_deb_arm64 := GOARCH=arm64
GOENV_deb_armhf := GOARCH=arm GOARM=7
GOENV_openwrt_x86_64 := GOARCH=amd64
GOENV_openwrt_aarch64_generic := GOARCH=arm64
GOENV_openwrt_arm_cortex-a7 := GOARCH=arm GOARM=7,softfloat
GOENV_openwrt_mipsel_24kc := GOARCH=mipsle GOMIPS=softfloat
GOENV_openwrt_mips_24kc := GOARCH=mips GOMIPS=softfloat
DEB_ARCHS := amd64 arm64 armhf
OPENWRT_ARCHS := x86_64 aarch64_generic arm_cortex-a7 mipsel_24kc mips_24kc

# What nfpm calls them where that differs.
NFPMARCH_armhf := arm7

GOTAGS_deb := urfave_cli_no_docs
GOTAGS_openwrt := urfave_cli_no_docs,nosystemd

# What has to be built before a package is laid out (manuals and completions);
# the including Makefile may say so.
PACKAGES_NEED ?=

.PHONY: deb ipk apk release packages-clean packages-force
deb: $(DEB_ARCHS:%=packages-deb-%)
ipk: $(OPENWRT_ARCHS:%=packages-ipk-%)
apk: $(OPENWRT_ARCHS:%=packages-apk-%)

# The go command knows best whether a binary is up to date.
packages-force:

define packages_binary
$(PACKAGES_DIR)/$(1)-$(2)/wanfail: packages-force
	@mkdir -p $$(@D)
	CGO_ENABLED=0 GOOS=linux $(GOENV_$(1)_$(2)) go build -trimpath -buildvcs=false -tags '$(GOTAGS_$(1))' -gcflags '$(GCFLAGS)' \
		-ldflags '-s -w -X main.version=$(VERSION)' -o $$@ .
endef
$(foreach a,$(DEB_ARCHS),$(eval $(call packages_binary,deb,$(a))))
$(foreach a,$(OPENWRT_ARCHS),$(eval $(call packages_binary,openwrt,$(a))))

# Each package's file tree is laid out first, owner and mode as they will be.
# `install` leaves parent directories to the umask; $(STAGED) seals the times.
STAGE = $(PACKAGES_DIR)/$(1)-$(2)/stage
STAGED = find $(1) -exec touch -h -d '@$(SOURCE_DATE_EPOCH)' {} +

# $(1): packager, $(2): template, $(3): stage, $(4): architecture, $(5): version, $(6): package
define NFPM
	sed -e 's|@STAGE@|$(3)|; s|@ARCH@|$(4)|; s|@VERSION@|$(5)|; s|@SCRIPTS@|$(PACKAGES_DIR)/apk-scripts|' $(2) >$(3).yaml
	@mkdir -p $(DIST)
	$(PACKAGES_TOOL) nfpm package -f $(3).yaml -p $(1) -t $(6)
endef

.PHONY: $(DEB_ARCHS:%=packages-deb-%)
$(DEB_ARCHS:%=packages-deb-%): packages-deb-%: $(PACKAGES_DIR)/deb-%/wanfail $(PACKAGES_NEED)
	$(eval stage := $(call STAGE,deb,$*))
	rm -rf $(stage) && umask 022 && \
	install -Dm755 $< $(stage)/usr/sbin/wanfail && \
	install -Dm644 packaging/systemd/wanfail.service $(stage)/usr/lib/systemd/system/wanfail.service && \
	install -Dm644 packaging/systemd/conntrackd.conf $(stage)/usr/lib/systemd/system/conntrackd.service.d/wanfail.conf && \
	install -Dm644 packaging/debian/modules-load.conf $(stage)/usr/lib/modules-load.d/wanfail.conf && \
	install -Dm644 packaging/debian/10-wanfail.network $(stage)/usr/lib/systemd/network/10-wanfail.network && \
	install -Dm644 packaging/debian/60-wanfail.rules $(stage)/usr/lib/udev/rules.d/60-wanfail.rules && \
	install -Dm644 packaging/debian/copyright $(stage)/usr/share/doc/wanfail/copyright && \
	install -d $(stage)/etc/wanfail/hooks.d && \
	for dir in conntrackd dnsmasq hooks.d keepalived miniupnpd networkd nftables sysctl; do \
		install -Dm644 -t $(stage)/usr/share/doc/wanfail/examples/$$dir packaging/$$dir/* || exit; \
	done && \
	install -Dm644 -t $(stage)/usr/share/doc/wanfail docs/debian.md docs/sessions.md docs/status.md docs/transitions.md && \
	if [ -f CHANGELOG.md ]; then \
		install -d $(stage)/usr/share/doc/wanfail && gzip -9nc CHANGELOG.md >$(stage)/usr/share/doc/wanfail/changelog.gz; \
	fi && \
	if [ -d $(PACKAGES_DOCS)/man ]; then \
		install -d $(stage)/usr/share/man/man5 $(stage)/usr/share/man/man8 && \
		gzip -9nc $(PACKAGES_DOCS)/man/wanfail.conf.5 >$(stage)/usr/share/man/man5/wanfail.conf.5.gz && \
		gzip -9nc $(PACKAGES_DOCS)/man/wanfail.8 >$(stage)/usr/share/man/man8/wanfail.8.gz; \
	fi && \
	if [ -d $(PACKAGES_DOCS)/completions ]; then \
		install -Dm644 $(PACKAGES_DOCS)/completions/bash $(stage)/usr/share/bash-completion/completions/wanfail && \
		install -Dm644 $(PACKAGES_DOCS)/completions/zsh $(stage)/usr/share/zsh/vendor-completions/_wanfail && \
		install -Dm644 $(PACKAGES_DOCS)/completions/fish $(stage)/usr/share/fish/vendor_completions.d/wanfail.fish; \
	fi
	$(call STAGED,$(stage))
	$(call NFPM,deb,packaging/debian/nfpm.yaml,$(stage),$(or $(NFPMARCH_$*),$*),$(PACKAGES_DEB_VERSION),$(DIST)/wanfail_$(PACKAGES_DEB_VERSION)_$*.deb)

# $(1): stage, $(2): binary
define packages_openwrt_stage
	rm -rf $(1) && umask 022 && \
	install -Dm755 $(2) $(1)/usr/sbin/wanfail && \
	install -Dm755 packaging/openwrt/files/etc/init.d/wanfail $(1)/etc/init.d/wanfail && \
	install -Dm644 packaging/openwrt/files/etc/hotplug.d/keepalived/50-wanfail $(1)/etc/hotplug.d/keepalived/50-wanfail && \
	install -Dm755 packaging/openwrt/files/etc/uci-defaults/90-wanfail $(1)/etc/uci-defaults/90-wanfail && \
	install -Dm755 packaging/openwrt/files/lib/netifd/proto/wanfail.sh $(1)/lib/netifd/proto/wanfail.sh && \
	install -Dm644 packaging/openwrt/files/lib/upgrade/keep.d/wanfail $(1)/lib/upgrade/keep.d/wanfail && \
	install -Dm644 -t $(1)/usr/share/wanfail/hooks.d packaging/hooks.d/* && \
	install -Dm755 packaging/openwrt/files/usr/share/wanfail/remove $(1)/usr/share/wanfail/remove && \
	packaging/openwrt/examples.sh packaging $(1)/usr/share/wanfail && \
	install -Dm600 packaging/openwrt/files/etc/config/wanfail $(1)/etc/config/wanfail
endef

.PHONY: $(OPENWRT_ARCHS:%=packages-ipk-%)
$(OPENWRT_ARCHS:%=packages-ipk-%): packages-ipk-%: $(PACKAGES_DIR)/openwrt-%/wanfail
	$(eval stage := $(call STAGE,ipk,$*))
	$(call packages_openwrt_stage,$(stage),$<)
	$(call STAGED,$(stage))
	$(call NFPM,ipk,packaging/openwrt/nfpm/ipk.yaml,$(stage),$*,$(PACKAGES_DEB_VERSION),$(DIST)/wanfail_$(PACKAGES_DEB_VERSION)-r1_$*.ipk)

.PHONY: packages-apk-scripts
packages-apk-scripts:
	install -Dm755 -t $(PACKAGES_DIR)/apk-scripts \
		packaging/openwrt/nfpm/postinst packaging/openwrt/nfpm/prerm packaging/openwrt/nfpm/postupgrade
	$(call STAGED,$(PACKAGES_DIR)/apk-scripts)

# apk has no conffiles of its own and no list that default_postinst could read:
# OpenWrt keeps both in /lib/apk/packages. conffiles_static tells sysupgrade
# whether the user has changed the file.
.PHONY: $(OPENWRT_ARCHS:%=packages-apk-%)
$(OPENWRT_ARCHS:%=packages-apk-%): packages-apk-%: $(PACKAGES_DIR)/openwrt-%/wanfail packages-apk-scripts
	$(eval stage := $(call STAGE,apk,$*))
	$(call packages_openwrt_stage,$(stage),$<)
	umask 022 && mkdir -p $(stage)/lib/apk/packages && cd $(stage) && \
	find . -type f ! -path './lib/apk/*' -printf '/%P\n' | LC_ALL=C sort >lib/apk/packages/wanfail.list && \
	echo /etc/config/wanfail >lib/apk/packages/wanfail.conffiles && \
	echo "/etc/config/wanfail $$(sha256sum <etc/config/wanfail | cut -d' ' -f1)" >lib/apk/packages/wanfail.conffiles_static
	$(call STAGED,$(stage))
	$(call NFPM,apk,packaging/openwrt/nfpm/apk.yaml,$(stage),$*,$(PACKAGES_APK_VERSION),$(DIST)/wanfail-$(PACKAGES_APK_VERSION)-r1-$*.apk)

# The SBOMs list what is linked into the programs, read from the programs
# themselves. OpenWrt's is linked without the D-Bus client.
release:
	rm -rf $(DIST)
	$(MAKE) deb ipk apk
	for arch in $(DEB_ARCHS); do \
		install -m755 $(PACKAGES_DIR)/deb-$$arch/wanfail $(DIST)/wanfail-linux-$$arch || exit; \
	done
	for arch in mipsel_24kc mips_24kc; do \
		install -m755 $(PACKAGES_DIR)/openwrt-$$arch/wanfail $(DIST)/wanfail-linux-$$arch || exit; \
	done
	for kind in deb-amd64 openwrt-x86_64; do \
		$(PACKAGES_TOOL) cyclonedx-gomod bin -json -noserial -notimestamp -std -version '$(VERSION)' \
			-output $(DIST)/wanfail-$${kind%-*}.cdx.json $(PACKAGES_DIR)/$$kind/wanfail || exit; \
	done
	cd $(DIST) && sha256sum -- * >SHA256SUMS
	@ls -l $(DIST)

packages-clean:
	rm -rf $(PACKAGES_DIR) $(DIST)
