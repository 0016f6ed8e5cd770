package actors

import "github.com/hashicorp/go-hclog"

// memberLog is a member's logger, made when there is something to say: ten thousand
// members that sleep would keep one each for nothing.
type memberLog struct {
	runtime hclog.Logger
	node    string
	group   uint64
}

func (l *memberLog) logger() hclog.Logger {
	return l.runtime.Named("raft").With("node", l.node, "group", l.group)
}

func (l *memberLog) With(args ...any) hclog.Logger  { return l.logger().With(args...) }
func (l *memberLog) Named(name string) hclog.Logger { return l.logger().Named(name) }
func (l *memberLog) Info(what string, args ...any)  { l.log(hclog.Info, what, args) }
func (l *memberLog) Warn(what string, args ...any)  { l.log(hclog.Warn, what, args) }
func (l *memberLog) Error(what string, args ...any) { l.log(hclog.Error, what, args) }
func (l *memberLog) Debug(what string, args ...any) { l.log(hclog.Debug, what, args) }

func (l *memberLog) log(level hclog.Level, what string, args []any) {
	if l.runtime.GetLevel() <= level {
		l.logger().Log(level, what, args...)
	}
}
