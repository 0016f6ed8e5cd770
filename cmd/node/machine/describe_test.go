package machine

import (
	"testing"
	"time"

	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/protoraft/protoraft/fsm/lock"
)

func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		data []byte
		want string
	}{
		{kv.Del([]byte("a")), `DEL "a"`},
		{Lock(lock.Acquire("report", "me", 5*time.Second, time.Second)), `LOCK ACQUIRE "report" owner="me" ttl=5s wait=1s`},
		{Lock(lock.Renew("report", 12, time.Second)), `LOCK RENEW "report" token=12 ttl=1s`},
		{Lock(lock.Release("a long name", 12)), `LOCK RELEASE "a long n"… (11 bytes) token=12`},
		{Lock(nil), "LOCK not a command of this version: no operation"},
	} {
		if got := Describe(test.data, 8); got != test.want {
			t.Errorf("%x: %s, expected %s", test.data, got, test.want)
		}
	}
}
