package resp

import (
	"errors"
	"strconv"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/tidwall/redcon"
)

// redcon writes RESP2; the functions here add what RESP3 has of its own.

func appendNull(dst []byte, proto int) []byte {
	if proto == 3 {
		return append(dst, "_\r\n"...)
	}
	return redcon.AppendNull(dst)
}

// appendMap begins a map of n pairs: in RESP2 an array of keys and values.
func appendMap(dst []byte, proto, n int) []byte {
	if proto == 3 {
		return append(strconv.AppendInt(append(dst, '%'), int64(n), 10), "\r\n"...)
	}
	return redcon.AppendArray(dst, 2*n)
}

// appendSet begins a set of n elements: in RESP2 an array.
func appendSet(dst []byte, proto, n int) []byte {
	if proto == 3 {
		return append(strconv.AppendInt(append(dst, '~'), int64(n), 10), "\r\n"...)
	}
	return redcon.AppendArray(dst, n)
}

// appendText appends text for people: in RESP2 a bulk string.
func appendText(dst []byte, proto int, text string) []byte {
	if proto == 3 {
		dst = strconv.AppendInt(append(dst, '='), int64(len(text)+4), 10)
		return append(append(append(dst, "\r\ntxt:"...), text...), "\r\n"...)
	}
	return redcon.AppendBulkString(dst, text)
}

// appendReply appends what the machine replied.
func appendReply(dst, reply []byte, proto int) []byte {
	r, err := kv.ParseReply(reply)
	if err != nil {
		return redcon.AppendError(dst, "ERR "+err.Error())
	}
	return appendValue(dst, &r, proto)
}

func appendValue(dst []byte, r *kv.Reply, proto int) []byte {
	switch r.Kind {
	case kv.Int:
		return redcon.AppendInt(dst, r.Int)
	case kv.Bulk:
		return redcon.AppendBulk(dst, r.Bytes)
	case kv.Status:
		return redcon.AppendString(dst, string(r.Bytes))
	case kv.Error:
		return redcon.AppendError(dst, string(r.Bytes))
	case kv.Array:
		dst = redcon.AppendArray(dst, len(r.Items))
		for i := range r.Items {
			dst = appendValue(dst, &r.Items[i], proto)
		}
		return dst
	default:
		return appendNull(dst, proto)
	}
}

// appendFailure appends the error reply for an operation that failed. Clients
// send a command again, unasked, on CLUSTERDOWN and TRYAGAIN: these stand only
// where it surely had no effect, which is true of every read.
func appendFailure(dst []byte, err error, read bool) []byte {
	return redcon.AppendError(dst, failureText(err, read))
}

func failureText(err error, read bool) string {
	var e *cluster.Error
	if !errors.As(err, &e) {
		if read {
			return "ERR " + err.Error()
		}
		return "UNCERTAIN the command may or may not have been applied: " + err.Error()
	}
	switch {
	case errors.Is(e.Reason, cluster.ErrSessionExpired):
		return "SESSIONEXPIRED this sequence of this id may or may not have been applied, and will not be now: " + detailed(e)
	case e.Outcome != cluster.NotApplied && !read:
		return "UNCERTAIN the command may or may not have been applied: " + detailed(e)
	case errors.Is(e.Reason, cluster.ErrTooLarge), errors.Is(e.Reason, cluster.ErrRefused),
		errors.Is(e.Reason, cluster.ErrNoGroup): // sent again, it would fail again
		return "ERR " + detailed(e)
	case errors.Is(e.Reason, cluster.ErrDiskFull): // safe to send again, but not at once
		return "DISKFULL not applied: " + detailed(e)
	case errors.Is(e.Reason, cluster.ErrBusy), errors.Is(e.Reason, cluster.ErrTimeout),
		errors.Is(e.Reason, cluster.ErrLeadershipLost):
		return "TRYAGAIN not applied: " + detailed(e)
	default:
		return "CLUSTERDOWN not applied: " + detailed(e)
	}
}

func detailed(e *cluster.Error) string {
	if e.Detail == "" {
		return e.Reason.Error()
	}
	return e.Reason.Error() + ": " + e.Detail
}
