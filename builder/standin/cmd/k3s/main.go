// Command k3s is the program inside the stand-in's package: server, agent,
// containerd, kubectl and ctr in one file, told apart by the name that it is
// called by, or by its first argument.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"edgeimg.local/standin/internal/agent"
	"edgeimg.local/standin/internal/datastore"
	"edgeimg.local/standin/internal/kubectl"
	"edgeimg.local/standin/internal/notify"
	"edgeimg.local/standin/internal/runtime"
	"edgeimg.local/standin/internal/server"
	"edgeimg.local/standin/internal/settings"
	"edgeimg.local/standin/internal/version"
)

const usage = `k3s (%s)

Usage: k3s COMMAND [ARGUMENTS]

  server      run a Kubernetes server, and a node on it
  agent       run a node of another machine's server
  kubectl     manage the cluster
  ctr         manage containers
  containerd  run the container runtime
  --version   print the version
`

func main() { os.Exit(run(os.Args)) }

// run finds the command as K3s does: first in the program's own name, then in
// the first argument.
func run(args []string) int {
	name := filepath.Base(args[0])
	if code, known := dispatch(name, args); known {
		return code
	}
	if role, found := strings.CutPrefix(name, "k3s-"); found {
		// The wrapper executes k3s-server with the arguments of "k3s server …".
		rest := args[1:]
		if len(rest) > 0 && rest[0] == role {
			rest = rest[1:]
		}
		if code, known := longRunning(role, rest); known {
			return code
		}
	}
	if len(args) < 2 {
		fmt.Printf(usage, version.Banner)
		return 0
	}
	if code, known := dispatch(args[1], args[1:]); known {
		return code
	}
	if code, known := longRunning(args[1], args[2:]); known {
		return code
	}
	switch args[1] {
	case "check-datastore":
		return checkDatastore(args[2:])
	case "-v", "--version", "version":
		fmt.Print(version.Text())
		return 0
	case "-h", "--help", "help":
		fmt.Printf(usage, version.Banner)
		return 0
	}
	fmt.Fprintf(os.Stderr, "k3s: unknown command %q; see k3s --help\n", args[1])
	return 2
}

// checkDatastore is the stand-in's own: K3s's datastore is looked at with
// sqlite3.
func checkDatastore(paths []string) int {
	for _, path := range paths {
		records, err := datastore.Check(path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "k3s check-datastore: %s\n", err)
			return 1
		}
		fmt.Printf("%s: %d records, whole\n", path, records)
	}
	return 0
}

func dispatch(name string, args []string) (code int, known bool) {
	switch name {
	case "containerd":
		return runtime.Containerd(args), true
	case "ctr":
		return runtime.Ctr(args), true
	case "kubectl":
		return kubectl.Run(args), true
	case "crictl", "check-config", "token", "etcd-snapshot", "secrets-encrypt", "certificate", "completion":
		fmt.Fprintf(os.Stderr, "k3s: %s is not in the stand-in (%s)\n", name, version.Banner)
		return 1, true
	}
	return 0, false
}

func longRunning(role string, args []string) (code int, known bool) {
	type runner func(context.Context, *settings.Settings, func()) error
	run, known := map[string]runner{"server": server.Run, "agent": agent.RunAgent}[role]
	if !known {
		return 0, false
	}
	for _, arg := range args {
		if arg == "--version" {
			fmt.Print(version.Text())
			return 0, true
		}
	}
	s, warnings, err := settings.Parse(role, args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "k3s %s: %s\n", role, err)
		return 2, true
	}
	manager := notify.Take()
	prepareProcess(role, s, warnings)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = run(ctx, s, func() { announceReady(manager) })
	_ = manager.Send("STOPPING=1")
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "k3s %s: %s\n", role, err)
		return 1, true
	}
	return 0, true
}
