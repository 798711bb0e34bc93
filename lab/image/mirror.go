package image

import (
	"context"
	"os"
	"os/exec"
	"strings"
)

// fallbackMirror is used on a machine whose apt names no source of the suite.
const fallbackMirror = "http://deb.debian.org/debian"

// mirror returns where this machine gets Debian's packages from, so that the
// image comes from the same place (a company's mirror, say).
func mirror(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return fallbackMirror
	}
	return pickMirror(string(out))
}

// pickMirror reads lines of "URI CODENAME COMPONENT".
func pickMirror(targets string) string {
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) != 3 || f[1] != Suite || f[2] != "main" {
			continue
		}
		if uri := strings.TrimSuffix(f[0], "/"); strings.HasPrefix(uri, "http://") || strings.HasPrefix(uri, "https://") {
			return uri
		}
	}
	return fallbackMirror
}

// proxyEnv is the environment for debootstrap: apt's proxy, where apt has one
// and the environment does not say otherwise.
func proxyEnv(ctx context.Context) []string {
	env := os.Environ()
	if os.Getenv("http_proxy") != "" {
		return env
	}
	out, err := exec.CommandContext(ctx, "apt-config", "shell", "P", "Acquire::http::Proxy").Output()
	if err != nil {
		return env
	}
	// P='http://proxy:3128'
	_, value, ok := strings.Cut(strings.TrimSpace(string(out)), "=")
	if value = strings.Trim(value, "'"); !ok || value == "" || value == "DIRECT" {
		return env
	}
	return append(env, "http_proxy="+value)
}
