// Package notify tells systemd how the service is doing, see sd_notify(3).
package notify

import (
	"net"
	"os"
)

// Manager is the service manager that started this process, if there is one.
type Manager struct {
	address string
}

// Take finds the service manager and hides it from the rest of the process:
// the API server and the kubelet would each say that the service is ready as
// soon as they are.
func Take() *Manager {
	m := &Manager{address: os.Getenv("NOTIFY_SOCKET")}
	os.Unsetenv("NOTIFY_SOCKET")
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
