// Package memory fits the garbage collector to a small machine. Where the
// environment sets GOGC or GOMEMLIMIT, that stands.
package memory

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// A machine with less than this is small.
	small = 2 << 30
	// The part of a small machine's memory above which the collector works
	// harder.
	share = 0.40
	// How much garbage a process may hold, in percent of what it needs.
	garbage = 50
)

// Limit sets a soft limit on a small machine.
func Limit() {
	if total := total(); isSmall(total) && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(float64(total) * share))
	}
}

// Save makes the collector run more often on a small machine, and gives back
// what is free. It is for after the start, which should be quick.
func Save() {
	if isSmall(total()) && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
		debug.FreeOSMemory()
	}
}

func isSmall(total int64) bool { return total > 0 && total < small }

// total is the machine's memory in bytes, or 0 if it is not known.
func total() int64 {
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
