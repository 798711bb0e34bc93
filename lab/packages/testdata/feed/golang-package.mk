# Stands in for the feed's golang-package.mk: an empty program where the real
# one would install what it has built.
GO_ARCH_DEPENDS := @golang
GO_PKG_INSTALL_BIN_PATH ?= /usr/bin

define GoPackage/Package/Install/Bin
	install -d -m0755 $(1)$(GO_PKG_INSTALL_BIN_PATH)
	install -m0755 /dev/null $(1)$(GO_PKG_INSTALL_BIN_PATH)/wanfail
endef

GoBinPackage =
