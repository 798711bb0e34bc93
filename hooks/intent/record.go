package intent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// file is the form of the record in the run directory.
type file struct {
	Boot    string  `json:"boot"`
	Intents Intents `json:"intents"`
	States  States  `json:"states,omitempty"`
}

// ahead is by how much a token may seem to be newer than now.
const ahead = time.Second

// parseRecord returns what is recorded of this boot. It is as strict as with a
// request from the socket: a damaged record must not decide anything.
func parseRecord(raw []byte, boot string, now time.Duration) (file, error) {
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return file{}, err
	}
	if f.Boot != boot {
		return file{}, nil
	}
	for _, all := range [][]Intent{f.Intents, f.States} {
		for _, i := range all {
			if err := i.validate(now); err != nil {
				return file{}, err
			}
		}
	}
	return f, nil
}

// Validate tells whether i can have come from a hook. One from the future would
// supersede all that follow.
func (i Intent) Validate() error {
	now, err := sinceBoot()
	if err != nil {
		return err
	}
	return i.validate(now)
}

func (i Intent) validate(now time.Duration) error {
	if i.Scope != "" {
		if err := ValidScope(i.Scope); err != nil {
			return err
		}
	}
	switch {
	case i.Role != Primary && i.Role != Backup:
		return fmt.Errorf("role %d does not exist", i.Role)
	case len(i.State) > 64 || strings.ContainsFunc(i.State, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		return fmt.Errorf("state %.80q is none", i.State)
	case i.Token.PID < 0 || i.Owner.PID < 0 || i.Channel.PID < 0:
		return errors.New("process id below zero")
	case i.Token.Ticks > uint64((now+ahead)/tick):
		return fmt.Errorf("token %v is from the future", i.Token)
	}
	return nil
}
