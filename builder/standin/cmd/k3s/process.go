package main

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/klog/v2"

	"edgeimg.local/standin/internal/memory"
	"edgeimg.local/standin/internal/notify"
	"edgeimg.local/standin/internal/settings"
	"edgeimg.local/standin/internal/version"
)

// prepareProcess sets up logging, search path and memory limit.
func prepareProcess(role string, s *settings.Settings, warnings []string) {
	setUpLogging(s)
	klog.InfoS("starting k3s "+role, "version", version.Version(), "program", version.Banner)
	for _, warning := range warnings {
		klog.InfoS("configuration: " + warning)
	}
	// kubelet and kube-proxy look for nft, mount and the like. The folder of
	// this program comes first, as the wrapper would have it.
	if own, err := os.Executable(); err == nil {
		os.Setenv("PATH", filepath.Dir(own)+":"+os.Getenv("PATH"))
	}
	memory.Limit()
}

func setUpLogging(s *settings.Settings) {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(set)
	verbosity := s.Verbosity
	if s.Debug && verbosity == 0 {
		verbosity = 4
	}
	_ = set.Set("v", strconv.Itoa(verbosity))
	if s.LogFile != "" {
		_ = set.Set("logtostderr", "false")
		_ = set.Set("log_file", s.LogFile)
	}
}

// announceReady tells the service manager, and turns from a fast start to a
// small footprint.
func announceReady(manager *notify.Manager) {
	klog.InfoS("k3s is up and running", "program", version.Banner)
	if err := manager.Send("READY=1\nSTATUS=" + version.Version() + " " + version.Banner); err != nil {
		klog.ErrorS(err, "service manager not told")
	}
	memory.Save()
}
