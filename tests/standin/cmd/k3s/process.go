package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"k8s.io/klog/v2"

	"edgeimg.local/standin/internal/notify"
	"edgeimg.local/standin/internal/settings"
	"edgeimg.local/standin/internal/version"
)

// memoryShare is the part of a small machine's memory above which the garbage
// collector works harder.
const (
	memoryShare = 0.40
	smallMemory = 2 << 30
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
	if os.Getenv("GOMEMLIMIT") == "" {
		if total := totalMemory(); total > 0 && total < smallMemory {
			debug.SetMemoryLimit(int64(float64(total) * memoryShare))
		}
	}
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

// totalMemory is the machine's memory in bytes, or 0 if it is not known.
func totalMemory() int64 {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if fields := strings.Fields(scanner.Text()); len(fields) > 1 && fields[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// announceReady tells the service manager, once.
func announceReady(ctx context.Context, manager *notify.Manager) {
	klog.InfoS("k3s is up and running", "program", version.Banner)
	if err := manager.Send("READY=1\nSTATUS=" + fmt.Sprintf("%s %s", version.Version(), version.Banner)); err != nil {
		klog.ErrorS(err, "service manager not told")
	}
	go manager.KeepAlive(ctx, func(context.Context) bool { return true })
}
