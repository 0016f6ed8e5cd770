package kv

import (
	"strings"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		data []byte
		want string
	}{
		{Set([]byte("k"), []byte("v\n"), 0), `SET "k" "v\n"`},
		{Set([]byte("k"), []byte("v"), SetNX), `SET "k" "v" flags=1`},
		{MSet([]byte("a"), []byte("1"), []byte("b"), []byte("2")), `MSET "a" "1" "b" "2"`},
		{IncrBy([]byte("n"), -5), `INCRBY "n" number=-5`},
		{SetWith([]byte("k"), []byte("0123456789"), 0, For(time.Second)), `SETWITH "k" "01234567"… (10 bytes)`},
		{SetIfVersion([]byte("k"), 7, []byte("v")), `SETIFVERSION "k" "v" cursor=7`},
		{FlushAll(), "FLUSHALL"},
		{Exec(nil, Set([]byte("a"), []byte("1"), 0), Del([]byte("b"))), `EXEC {SET "a" "1"; DEL "b"}`},
		{Exec(nil, Exec(nil, FlushAll())), "EXEC {EXEC}"},
		{Get([]byte("k")), `GET "k"`},
		{(&command{op: 99}).encode(), "OP99"},
		{nil, "not a command of this version: no operation"},
		{[]byte{0xff}, "not a command of this version: "},
	} {
		if got := Describe(test.data, 8); !strings.HasPrefix(got, test.want) {
			t.Errorf("%x: %s, expected %s", test.data, got, test.want)
		}
	}
	if got := Describe(Set([]byte("k"), []byte("0123456789"), 0), 0); got != `SET "k" "0123456789"` {
		t.Errorf("all of it: %s", got)
	}
	for o := op(1); o < queryEnd; o++ {
		known := o <= lastVersioned || o >= firstQuery && o <= opGetVersioned
		if _, named := opNames[o]; named != known {
			t.Errorf("operation %d: has a name: %v, expected %v", o, named, known)
		}
	}
}

// FuzzDescribe: whatever is in a log can be shown.
func FuzzDescribe(f *testing.F) {
	f.Add(Exec(nil, Set([]byte("a"), []byte("1"), 0)))
	f.Add([]byte{0xff, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) {
		if Describe(data, 8) == "" {
			t.Errorf("%x is shown as nothing", data)
		}
	})
}
