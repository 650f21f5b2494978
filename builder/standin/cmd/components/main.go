// Command components is CoreDNS and the local-path provisioner in one file,
// told apart by the name that it is called by. K3s has an image for each; here
// both images hold this program, so that a gateway has it once.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"

	"github.com/coredns/coredns/coremain"

	"edgeimg.local/standin/internal/memory"
)

// programs is filled by register.go, which build.py makes.
var programs = map[string]func(){"coredns": coremain.Run}

func main() {
	run, known := programs[filepath.Base(os.Args[0])]
	if !known {
		fmt.Fprintf(os.Stderr, "call me by the name of a component, not %s\n", os.Args[0])
		os.Exit(2)
	}
	memory.Save()
	run()
}
