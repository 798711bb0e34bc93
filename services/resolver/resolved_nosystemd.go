//go:build nosystemd

package resolver

func systemdBackends() []backend { return nil }
