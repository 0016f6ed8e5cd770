package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// usage is what a process has used so far.
type usage struct {
	CPUSeconds float64 `json:",omitempty"` // user and system
	Written    int64   `json:",omitempty"` // bytes it caused to be written to disks, 0 where not known
}

func usageNow() usage { return usage{CPUSeconds: cpuSeconds(), Written: writtenBytes()} }

func (u usage) since(before usage) usage {
	return usage{CPUSeconds: u.CPUSeconds - before.CPUSeconds, Written: u.Written - before.Written}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no way to fail on this process
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func writtenBytes() int64 {
	io, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	return ioField(string(io), "write_bytes")
}

// ioField is a field of /proc/*/io, 0 where it is not there.
func ioField(io, name string) int64 {
	for _, line := range strings.Split(io, "\n") {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// rssBytes is the memory of this process that is in RAM, 0 where not known.
func rssBytes() int64 { return rssOf("self") }

func rssOf(pid string) int64 {
	statm, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
