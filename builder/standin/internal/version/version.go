// Package version says what this program is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Banner is shown wherever the program introduces itself.
const Banner = "edgeimg stand-in, not K3s"

// Version is that of Kubernetes, marked as a build of the stand-in.
func Version() string { return module("k8s.io/kubernetes") + "+standin" }

// Text is what "k3s --version" prints.
func Text() string {
	return fmt.Sprintf("k3s version %s (%s)\ngo version %s\n", Version(), Banner, runtime.Version())
}

func module(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "v0.0.0"
	}
	for _, dependency := range info.Deps {
		if dependency.Path == path {
			return strings.TrimSpace(dependency.Version)
		}
	}
	return "v0.0.0"
}
