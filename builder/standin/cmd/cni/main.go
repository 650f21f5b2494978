// Command cni is the network plugins in one file, told apart by the name that
// it is called by.
//
// Upstream's plugins are programs and cannot be imported. build.py shows the
// compiler copies of their sources in which they are packages, and a file that
// registers them here; see plugin_packages there.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// plugins is the main function of every plugin by its name.
var plugins = map[string]func(){}

func main() {
	name := filepath.Base(os.Args[0])
	plugin, known := plugins[name]
	switch {
	case len(plugins) == 0:
		fmt.Fprintln(os.Stderr, "cni: built without its plugins; use build.py")
		os.Exit(1)
	case !known:
		fmt.Fprintf(os.Stderr, "cni: %q is not a plugin: call this by a plugin's name\n", name)
		os.Exit(1)
	}
	plugin()
}
