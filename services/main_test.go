package services

import (
	"testing"

	"github.com/wanfail/wanfail/lab/nstest"
)

// The daemons of the tests end with the test binary's PID namespace.
func TestMain(m *testing.M) { nstest.Main(m) }
