package main

import (
	"fmt"
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

// deviceBytes is what has been written to the device that holds a path, by whomever; 0
// where not known.
func deviceBytes(path string) int64 {
	var at syscall.Stat_t
	if syscall.Stat(path, &at) != nil {
		return 0
	}
	dev := uint64(at.Dev)
	major, minor := dev>>8&0xfff|dev>>32&^0xfff, dev&0xff|dev>>12&^0xff
	stat, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", major, minor))
	if err != nil {
		return 0
	}
	return sectorsWritten(string(stat)) * sectorBytes
}

const sectorBytes = 512 // of the kernel's statistics, whatever the device has

// sectorsWritten is the seventh field of a block device's statistics.
func sectorsWritten(stat string) int64 {
	fields := strings.Fields(stat)
	if len(fields) < 7 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[6], 10, 64)
	return n
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
