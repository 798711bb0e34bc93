package guide

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestBlocks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# Title\n\n## One\n\n1. step\n   ```sh\n   # on ar0\n   cat <<END\n   \tx\n\n   END\n   ```\n" +
		"```\nnot a command\n```\n```sh\ntrue # comment\n```\n### deeper\n## Two\n```sh\nfalse\n```\n")
	got, err := Blocks(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{"One", "on ar0", "# on ar0\ncat <<END\n\tx\n\nEND\n"},
		{"One", "", "true # comment\n"},
		{"Two", "", "false\n"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if got, err = In(file, "Two"); err != nil || len(got) != 1 || got[0].Text != "false\n" {
		t.Errorf("below Two: %q, %v", got, err)
	}
	if got, err = In(file, "Three"); err == nil {
		t.Errorf("below a heading that is not there: %q", got)
	}
	for _, broken := range []string{"```sh\ntrue\n", "  ```sh\ntrue\n  ```\n"} {
		write(broken)
		if got, err := Blocks(file); err == nil {
			t.Errorf("%q is accepted: %q", broken, got)
		}
	}
}
