package resolver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// pathFile is a File of this path.
type pathFile string

func (p pathFile) String() string { return string(p) }

func (p pathFile) Read(limit int) ([]byte, error) {
	b, err := os.ReadFile(string(p))
	if err == nil && len(b) > limit {
		return nil, fmt.Errorf("%d bytes are too much", len(b))
	}
	return b, err
}

func (p pathFile) Write(content []byte) error {
	fresh := string(p) + ".new"
	if err := os.WriteFile(fresh, content, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, string(p))
}

func (p pathFile) Remove() error {
	if err := os.Remove(string(p)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
