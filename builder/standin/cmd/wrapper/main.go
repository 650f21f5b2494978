// Command wrapper is the file that is called k3s: a small program that carries
// the real ones, compressed, and unpacks them on its first start.
package main

import (
	"embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"edgeimg.local/standin/internal/bundle"
)

const defaultDataDir = "/var/lib/rancher/k3s"

//go:embed asset
var assets embed.FS

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "k3s: %s\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	path, hash, err := findAsset()
	if err != nil {
		return err
	}
	open := func() (io.ReadCloser, error) { return assets.Open(path) }
	// A folder in the usual place is used whatever data-dir says: an image
	// that brings it unpacked has it there.
	dir := filepath.Join(defaultDataDir, "data", hash)
	if _, err := os.Stat(filepath.Join(dir, "bin", "k3s")); err != nil {
		if dir, err = bundle.Ensure(dataDir(args), hash, open); err != nil {
			return err
		}
	}
	return replace(dir, args)
}

func findAsset() (path, hash string, err error) {
	entries, err := assets.ReadDir("asset")
	if err != nil {
		return "", "", err
	}
	for _, entry := range entries {
		if name, found := strings.CutSuffix(entry.Name(), ".tar.zst"); found {
			return "asset/" + entry.Name(), name, nil
		}
	}
	return "", "", fmt.Errorf("built without its asset; use build.py")
}

// replace turns this process into the program that the arguments ask for.
func replace(dir string, args []string) error {
	name, rest := command(args)
	bin := filepath.Join(dir, "bin")
	if err := os.Setenv("PATH", bin+":"+os.Getenv("PATH")+":"+filepath.Join(bin, "aux")); err != nil {
		return err
	}
	if err := os.Setenv("K3S_DATA_DIR", dir); err != nil {
		return err
	}
	program, err := exec.LookPath(filepath.Join(bin, name))
	if err != nil {
		return err
	}
	return syscall.Exec(program, rest, os.Environ())
}

// command chooses the program and its arguments. Tools see their own name
// first; K3s's own commands see the whole line.
func command(args []string) (name string, rest []string) {
	tools := map[string]bool{"kubectl": true, "crictl": true, "ctr": true}
	if own := filepath.Base(args[0]); tools[own] {
		return own, append([]string{own}, args[1:]...)
	}
	if len(args) < 2 {
		return "k3s", args
	}
	switch first := args[1]; {
	case tools[first]:
		return first, args[1:]
	case first == "server" || first == "agent":
		return "k3s-" + first, args
	}
	return "k3s", args
}

// dataDir looks for --data-dir on the command line only. K3s reads its
// configuration file for it as well; the programs inside do so here, too, but
// are then already unpacked below the usual folder.
func dataDir(args []string) string {
	for i, arg := range args {
		for _, flag := range []string{"--data-dir", "-d"} {
			if value, found := strings.CutPrefix(arg, flag+"="); found {
				return value
			}
			if arg == flag && i+1 < len(args) {
				return args[i+1]
			}
		}
	}
	return defaultDataDir
}
