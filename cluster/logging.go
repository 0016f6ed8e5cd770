package cluster

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"
)

// NewSystem makes an actor system whose own log goes to logger, quietly: what
// Proto.Actor calls information is Debug here, dead letters are Trace, and only
// an actor's panic is raised, to Error. A nil logger discards everything.
//
// A process needs one system. One that was made by actor.NewActorSystem does as well, and
// takes some 9 MB more where there are thousands of groups.
func NewSystem(logger hclog.Logger) *actor.ActorSystem {
	handler := newSlogHandler(logger)
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(handler)
	}))
	thinRegistry(system.ProcessRegistry)
	return system
}

// registryBuckets is how many maps Proto.Actor's registry of a system is divided into, of
// 32 parts each. It comes with 1024, and as each of their 32768 parts is used once, be it
// by an actor that asks one question and ends, it keeps room for eight: 9 MB a process, and
// most of what ten thousand groups took there.
const registryBuckets = 32

// thinRegistry divides what a new system's registry has among fewer maps. Nobody else may
// know the system yet.
func thinRegistry(r *actor.ProcessRegistryValue) {
	all := r.LocalPIDs.LocalPIDs
	r.LocalPIDs.LocalPIDs = slices.Clone(all[:registryBuckets])
	for _, bucket := range all {
		for id, process := range bucket.Items() {
			bucket.Remove(id)
			r.LocalPIDs.GetBucket(id).Set(id, process)
		}
	}
}

// slogHandler gives Proto.Actor's log lines to hclog.
type slogHandler struct {
	to     hclog.Logger
	attrs  []any  // hclog's key, value, key, value …
	prefix string // of the open groups, "a.b."
}

func newSlogHandler(logger hclog.Logger) slog.Handler {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	return &slogHandler{to: logger.Named("actor")}
}

// Enabled must let Info through whatever hclog's level: a panic arrives as Info.
func (h *slogHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.to.IsDebug()
}

func (h *slogHandler) Handle(_ context.Context, r slog.Record) error {
	level := levelOf(r.Level, r.Message)
	if level < h.to.GetLevel() {
		return nil
	}
	args := append([]any(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		args = appendAttr(args, h.prefix, a)
		return true
	})
	h.to.Log(level, r.Message, args...)
	return nil
}

func (h *slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	w := *h
	w.attrs = append([]any(nil), h.attrs...)
	for _, a := range attrs {
		w.attrs = appendAttr(w.attrs, h.prefix, a)
	}
	return &w
}

func (h *slogHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	w := *h
	w.prefix += name + "."
	return &w
}

// Lines whose level says the wrong thing, by how they begin. The endpoints' own
// errors are the daily life of a cluster whose peers come and go; links.go says
// once what an operator needs of it.
var levelByMessage = []struct {
	prefix string
	level  hclog.Level
}{
	{"[DeadLetter]", hclog.Trace},
	{"[ACTOR] Recovering", hclog.Error},
	{"Endpoint", hclog.Debug},
	{"gRPC Failed to send", hclog.Debug},
}

func levelOf(level slog.Level, message string) hclog.Level {
	for _, m := range levelByMessage {
		if strings.HasPrefix(message, m.prefix) {
			return m.level
		}
	}
	switch {
	case level >= slog.LevelError:
		return hclog.Error
	case level >= slog.LevelWarn:
		return hclog.Warn
	case level >= slog.LevelInfo:
		return hclog.Debug
	default:
		return hclog.Trace
	}
}

func appendAttr(args []any, prefix string, a slog.Attr) []any {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return args
	}
	if v.Kind() != slog.KindGroup {
		return append(args, prefix+a.Key, v.Any())
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, member := range v.Group() {
		args = appendAttr(args, prefix, member)
	}
	return args
}

// limiter lets one log line through each interval and counts the others.
type limiter struct {
	mu         sync.Mutex
	last       time.Time
	suppressed int
}

// allow tells whether to log now, and how many lines were kept back before.
func (l *limiter) allow(interval time.Duration) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < interval {
		l.suppressed++
		return 0, false
	}
	suppressed = l.suppressed
	l.last, l.suppressed = now, 0
	return suppressed, true
}
