# Stands in for OpenWrt's build system: runs the install section of a package
# and prints what its Makefile declares.
INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
INSTALL_DATA := install -m0644
INSTALL_CONF := install -m0600

define BuildPackage
install-$(1):
	$$(call Package/$(1)/install,$$(DESTDIR))

show-$(1):
	$$(eval $$(call Package/$(1)))
	@echo 'depends: $$(DEPENDS)'
	@echo 'go: $$(GO_PKG) $$(GO_PKG_BUILD_PKG) -tags $$(GO_PKG_TAGS) -X $$(GO_PKG_LDFLAGS_X)'
	@echo 'conffiles: $$(strip $$(Package/$(1)/conffiles))'

export PRERM := $$(Package/$(1)/prerm)
prerm-$(1):
	@printenv PRERM
endef
