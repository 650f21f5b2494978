// Package notify tells systemd how the service is doing, see sd_notify(3).
package notify

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// Manager is the service manager that started this process, if there is one.
type Manager struct {
	address  string
	watchdog time.Duration
}

// Take finds the service manager and hides it from the rest of the process:
// the API server and the kubelet would each say that the service is ready as
// soon as they are.
func Take() *Manager {
	m := &Manager{address: os.Getenv("NOTIFY_SOCKET")}
	if microseconds, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil {
		m.watchdog = time.Duration(microseconds) * time.Microsecond
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	return m
}

// Send passes a state such as "READY=1" on. It does nothing where there is no
// service manager.
func (m *Manager) Send(state string) error {
	if m.address == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.address, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}

// KeepAlive answers the service manager's watchdog for as long as alive says
// so, until ctx ends. It returns at once where there is no watchdog.
func (m *Manager) KeepAlive(ctx context.Context, alive func(context.Context) bool) {
	if m.watchdog <= 0 {
		return
	}
	ticker := time.NewTicker(m.watchdog / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if alive(ctx) {
				_ = m.Send("WATCHDOG=1")
			}
		}
	}
}
