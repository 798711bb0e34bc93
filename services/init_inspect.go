package services

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"

	"github.com/wanfail/wanfail/services/command"
)

// ubusPath is the client of OpenWrt's bus.
const ubusPath = "/bin/ubus"

// Inspect implements Inspector. What starts at boot has a link in /etc/rc.d
// (OpenWrt) or in the directory of a runlevel (Debian).
func (m *Init) Inspect(ctx context.Context, name string) (Details, error) {
	s, err := m.script(name)
	if errors.Is(err, ErrNotInstalled) {
		return Details{}, nil
	}
	if err != nil {
		return Details{}, err
	}
	d := Details{Installed: true}
	for _, dir := range []string{"rc.d", "rc[2-5].d"} {
		links, _ := filepath.Glob(filepath.Join(filepath.Dir(m.dir), dir, "S[0-9][0-9]"+name))
		d.AtBoot = d.AtBoot || len(links) > 0
	}
	d.State, _, err = s.state(ctx)
	if err == nil && !s.lsb && d.State == Starting {
		d.Failure = m.procdFailure(ctx, name)
	}
	return d, err
}

// procdFailure says what has become of a service that procd knows and that does
// not run. procd starts it again until it has crashed too often.
func (m *Init) procdFailure(ctx context.Context, name string) string {
	argument, _ := json.Marshal(map[string]string{"name": name})
	out, err := command.Command{Path: m.ubus, Args: []string{"call", "service", "list", string(argument)}}.Run(ctx)
	if err == nil && gaveUp([]byte(out), name) {
		return "procd has given it up after crashes: see logread, then /etc/init.d/" + name + " restart"
	}
	return "it crashes, and procd starts it again: see logread"
}

// gaveUp reads the answer of ubus' `service list`. procd drops an instance's
// "respawn" when it gives it up (service/instance.c, instance_exit and
// instance_dump).
func gaveUp(answer []byte, name string) bool {
	var services map[string]struct {
		Instances map[string]struct {
			Running bool            `json:"running"`
			Respawn json.RawMessage `json:"respawn"`
		} `json:"instances"`
	}
	if json.Unmarshal(answer, &services) != nil {
		return false
	}
	for _, i := range services[name].Instances {
		if !i.Running && i.Respawn == nil {
			return true
		}
	}
	return false
}
