package services

import (
	"os"
	"path/filepath"
	"testing"
)

// Init scripts and procd's answers are other programs' text.
func FuzzInitScript(f *testing.F) {
	f.Add([]byte("#!/bin/sh /etc/rc.common\nUSE_PROCD=1\nstart_service() { :; }\n"), "dnsmasq")
	f.Add([]byte("#! /bin/sh\n# Provides: x\ncase $1 in status) ;; esac\n"), "")
	f.Add([]byte(`{"dnsmasq":{"instances":{"cfg":{"running":false}}}}`), "dnsmasq")
	f.Add([]byte(`{"dnsmasq":null,"":{"instances":{"":null}}}`), "dnsmasq")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		gaveUp(text, name)
		file := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(file, text, 0o755); err != nil {
			t.Fatal(err)
		}
		s, err := readScript(file)
		if err == nil && (s.path != file || s.verb != "running" && s.verb != "status" || s.lsb != (s.verb == "status")) {
			t.Fatalf("%+v", s)
		}
	})
}
