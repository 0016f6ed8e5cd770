package resp

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/protoraft/protoraft/fsm/kv"
)

var expireCommands = []commandSpec{
	{name: "setex", arity: 4, flags: "write denyoom", first: 1, last: 1, step: 1,
		summary: "Sets a value for so many seconds.", build: buildSetEx("setex", time.Second)},
	{name: "psetex", arity: 4, flags: "write denyoom", first: 1, last: 1, step: 1,
		summary: "Sets a value for so many milliseconds.", build: buildSetEx("psetex", time.Millisecond)},
	{name: "getex", arity: -2, flags: "write fast", first: 1, last: 1, step: 1, weight: weightValue,
		summary: "Returns a value and sets its deadline: EX, PX, EXAT, PXAT, PERSIST.", build: buildGetEx},
	{name: "expire", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, group: "generic",
		summary: "Has a key end in so many seconds: NX, XX, GT, LT.", build: buildExpire("expire", time.Second, false)},
	{name: "pexpire", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, group: "generic",
		summary: "Has a key end in so many milliseconds.", build: buildExpire("pexpire", time.Millisecond, false)},
	{name: "expireat", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, group: "generic",
		summary: "Has a key end at a time in seconds since 1970.", build: buildExpire("expireat", time.Second, true)},
	{name: "pexpireat", arity: -3, flags: "write fast", first: 1, last: 1, step: 1, group: "generic",
		summary: "Has a key end at a time in milliseconds since 1970.", build: buildExpire("pexpireat", time.Millisecond, true)},
	{name: "persist", arity: 2, flags: "write fast", first: 1, last: 1, step: 1, group: "generic",
		summary: "Takes a key's deadline away.", build: keyOnly(kv.Persist)},
	{name: "ttl", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, read: true, group: "generic",
		summary: "Returns in how many seconds a key ends.", build: ttl(kv.TTLSeconds)},
	{name: "pttl", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, read: true, group: "generic",
		summary: "Returns in how many milliseconds a key ends.", build: ttl(kv.TTLMillis)},
	{name: "expiretime", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, read: true, group: "generic",
		summary: "Returns when a key ends, in seconds since 1970.", build: ttl(kv.TTLUnix)},
	{name: "pexpiretime", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, read: true, group: "generic",
		summary: "Returns when a key ends, in milliseconds since 1970.", build: ttl(kv.TTLUnixMill)},
}

func ttl(unit kv.TTLUnit) func([][]byte) ([]byte, string) {
	return keyOnly(func(key []byte) []byte { return kv.TTL(key, unit) })
}

// millis reads an expire time in the unit, as Redis does. Where it is relative, its
// sum with the present must be a number, too.
func millis(name string, arg []byte, unit time.Duration, absolute bool) (ms int64, refusal string) {
	n, ok := kv.ParseInt(arg)
	if !ok {
		return 0, errNotInteger
	}
	factor := int64(unit / time.Millisecond)
	if n > math.MaxInt64/factor || n < math.MinInt64/factor ||
		!absolute && n*factor > math.MaxInt64-time.Now().UnixMilli() {
		return 0, badLifetime(name)
	}
	return n * factor, ""
}

func badLifetime(name string) string { return "ERR invalid expire time in '" + name + "' command" }

// lifetime is millis where nothing that has ended already will do.
func lifetime(name string, arg []byte, unit time.Duration, absolute bool) (kv.Lifetime, string) {
	ms, refusal := millis(name, arg, unit, absolute)
	switch {
	case refusal != "":
		return kv.Forever, refusal
	case ms <= 0:
		return kv.Forever, badLifetime(name)
	case absolute:
		return kv.UntilMillis(ms), ""
	}
	return kv.ForMillis(ms), ""
}

// lifetimeOption is an option of SET and GETEX as it was found.
type lifetimeOption struct {
	name, given string // command; option, empty for none
	arg         []byte
}

// take looks whether args begin with such an option, and returns how many it takes.
// It is negative for one that cannot stand here: another was given already.
func (o *lifetimeOption) take(args [][]byte) (taken int) {
	option := strings.ToUpper(string(args[0]))
	switch option {
	case "EX", "PX", "EXAT", "PXAT":
		if len(args) < 2 {
			return -1
		}
		o.arg, taken = args[1], 2
	case "KEEPTTL", "PERSIST":
		taken = 1
	default:
		return 0
	}
	if o.given != "" && o.given != option || option == "KEEPTTL" && o.name != "set" || option == "PERSIST" && o.name != "getex" {
		return -1
	}
	o.given = option
	return taken
}

func (o *lifetimeOption) lifetime(none kv.Lifetime) (kv.Lifetime, string) {
	switch o.given {
	case "EX", "EXAT":
		return lifetime(o.name, o.arg, time.Second, o.given == "EXAT")
	case "PX", "PXAT":
		return lifetime(o.name, o.arg, time.Millisecond, o.given == "PXAT")
	case "KEEPTTL":
		return kv.Keep, ""
	case "PERSIST":
		return kv.Forever, ""
	}
	return none, ""
}

func buildSet(args [][]byte) ([]byte, string) {
	var flags kv.SetFlags
	ends := lifetimeOption{name: "set"}
	for rest := args[3:]; len(rest) > 0; {
		switch strings.ToUpper(string(rest[0])) {
		case "NX":
			flags |= kv.SetNX
		case "XX":
			flags |= kv.SetXX
		case "GET":
			flags |= kv.SetGet
		default:
			n := ends.take(rest)
			if n <= 0 {
				return nil, errSyntax
			}
			rest = rest[n:]
			continue
		}
		rest = rest[1:]
	}
	if flags&kv.SetNX != 0 && flags&kv.SetXX != 0 {
		return nil, errSyntax
	}
	life, refusal := ends.lifetime(kv.Forever)
	if refusal != "" {
		return nil, refusal
	}
	return kv.SetWith(args[1], args[2], flags, life), ""
}

func buildGetEx(args [][]byte) ([]byte, string) {
	ends := lifetimeOption{name: "getex"}
	for rest := args[2:]; len(rest) > 0; {
		n := ends.take(rest)
		if n <= 0 {
			return nil, errSyntax
		}
		rest = rest[n:]
	}
	life, refusal := ends.lifetime(kv.Keep)
	if refusal != "" {
		return nil, refusal
	}
	return kv.GetEx(args[1], life), ""
}

func buildSetEx(name string, unit time.Duration) func([][]byte) ([]byte, string) {
	return func(args [][]byte) ([]byte, string) {
		life, refusal := lifetime(name, args[2], unit, false)
		if refusal != "" {
			return nil, refusal
		}
		return kv.SetWith(args[1], args[3], 0, life), ""
	}
}

var expireOptions = map[string]kv.ExpireFlags{"NX": kv.ExpireNX, "XX": kv.ExpireXX, "GT": kv.ExpireGT, "LT": kv.ExpireLT}

func buildExpire(name string, unit time.Duration, absolute bool) func([][]byte) ([]byte, string) {
	return func(args [][]byte) ([]byte, string) {
		var flags kv.ExpireFlags
		for _, option := range args[3:] {
			flag := expireOptions[strings.ToUpper(string(option))]
			if flag == 0 {
				return nil, "ERR Unsupported option " + clip(option, 128)
			}
			flags |= flag
		}
		switch {
		case flags&kv.ExpireNX != 0 && flags != kv.ExpireNX:
			return nil, "ERR NX and XX, GT or LT options at the same time are not compatible"
		case flags&kv.ExpireGT != 0 && flags&kv.ExpireLT != 0:
			return nil, "ERR GT and LT options at the same time are not compatible"
		}
		ms, refusal := millis(name, args[2], unit, absolute)
		if refusal != "" {
			return nil, refusal
		}
		if absolute {
			return kv.Expire(args[1], kv.UntilMillis(ms), flags), ""
		}
		return kv.Expire(args[1], kv.ForMillis(ms), flags), ""
	}
}

// Commands that Redis does not have: comparing and setting by version or value, and
// blocks of ids.
var versionCommands = []commandSpec{
	{name: "cas.get", arity: 2, flags: "readonly fast", first: 1, last: 1, step: 1, read: true, weight: weightValue,
		summary: "Returns a key's version, 0 where there is none, and its value.", build: keyOnly(kv.GetVersioned)},
	{name: "cas.setver", arity: 4, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Sets a value if the key has that version, 0 for none; returns the new version or nil.", build: buildSetIfVersion},
	{name: "cas.setval", arity: 4, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Sets a value if the key holds the first of two; returns the new version or nil.", build: func(args [][]byte) ([]byte, string) {
			return kv.SetIfValue(args[1], args[2], args[3]), ""
		}},
	{name: "seq.next", arity: -2, flags: "write denyoom fast", first: 1, last: 1, step: 1,
		summary: "Hands out an id, or that many, and returns the first.", build: buildNext},
}

func buildSetIfVersion(args [][]byte) ([]byte, string) {
	version, err := strconv.ParseUint(string(args[2]), 10, 63)
	if err != nil {
		return nil, "ERR version is not an integer or out of range"
	}
	return kv.SetIfVersion(args[1], version, args[3]), ""
}

func buildNext(args [][]byte) ([]byte, string) {
	if len(args) > 3 {
		return nil, errSyntax
	}
	count := int64(1)
	if len(args) == 3 {
		n, ok := kv.ParseInt(args[2])
		if !ok {
			return nil, errNotInteger
		}
		if n < 1 {
			return nil, "ERR value is out of range, must be positive"
		}
		count = n
	}
	return kv.Next(args[1], count), ""
}
