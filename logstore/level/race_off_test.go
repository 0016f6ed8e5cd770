//go:build !race

package level_test

const crashMemtableBytes = 8 << 10
