package dhcp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// PathFile is a File of this path.
type PathFile string

func (p PathFile) String() string { return string(p) }

func (p PathFile) Read(limit int) ([]byte, error) {
	b, err := os.ReadFile(string(p))
	if err == nil && len(b) > limit {
		return nil, fmt.Errorf("%d bytes are too much", len(b))
	}
	return b, err
}

func (p PathFile) Write(content []byte) error {
	fresh := string(p) + ".new"
	return errors.Join(os.WriteFile(fresh, content, 0o600), os.Rename(fresh, string(p)))
}

func (p PathFile) Remove() error {
	if err := os.Remove(string(p)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (p PathFile) Boot() (string, error) { return "this boot", nil }
