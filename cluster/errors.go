package cluster

import (
	"errors"
	"fmt"

	"github.com/protoraft/protoraft/messages"
)

// Outcome is what is known of an operation. Nothing guesses: an operation whose
// fate is not known is Unknown, and only NotApplied is safe to send again.
type Outcome int

const (
	Unknown    Outcome = iota // it may have been applied, or may still be
	Applied                   // it was applied; a query was answered
	NotApplied                // it was not applied and never will be
)

func (o Outcome) String() string {
	switch o {
	case Applied:
		return "applied"
	case NotApplied:
		return "not applied"
	default:
		return "unknown"
	}
}

// Reasons an operation failed. An *Error wraps exactly one of them.
var (
	ErrNoLeader       = errors.New("no leader known")
	ErrNotLeader      = errors.New("not the leader")
	ErrBusy           = errors.New("busy: too much work queued")
	ErrTooLarge       = errors.New("command too large")
	ErrLeadershipLost = errors.New("leadership lost before the outcome was known")
	ErrTimeout        = errors.New("timed out")
	ErrStopped        = errors.New("member stopped")
	ErrStorageFailed  = errors.New("storage failed")
	ErrNoGroup        = errors.New("no such group on this node")
	ErrRefused        = errors.New("query refused by the state machine")
	ErrSessionExpired = errors.New("session expired: what became of its command is forgotten")
	ErrMembersKept    = errors.New("members not changed")
	ErrDiskFull       = errors.New("disk full, on the leader or on too many members: nothing is written until there is room, reads go on")
	// ErrReplyLost comes with the outcome Applied, of a command that was sent again to a
	// machine with a disk of its own: it was applied, once, and what the machine replied
	// then is not known any more.
	ErrReplyLost = errors.New("applied before, and the reply is lost")
)

// Errors of TransferLeadership, TakeSnapshot and StandForElection: it was not done, and is
// not under way.
var (
	ErrLeadershipKept = errors.New("leadership not handed over")
	ErrNoSnapshot     = errors.New("no snapshot taken")
	ErrNotStanding    = errors.New("not standing for election")
)

// Error is every error of a Client's Propose, Query, ChangeMembers, AbortChange, Members
// and Leader. It may be shared by many: it must not be changed.
type Error struct {
	Outcome Outcome
	Reason  error  // one of the sentinels above
	Leader  string // id of the node that leads, where known
	Detail  string // why members were not changed, what a state machine answered to a refused query, or which nodes a client cannot reach
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%v (outcome: %v)", e.Reason, e.Outcome)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

func (e *Error) Unwrap() error { return e.Reason }

// OutcomeOf tells what err, returned by Propose or Query, says of the operation:
// Applied for nil, and Unknown for an error that is not an *Error.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Applied
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Outcome
	}
	return Unknown
}

// tooBusy is shared: a flood is told so a million times a second.
var tooBusy = &Error{Outcome: NotApplied, Reason: ErrBusy}

var reasons = map[messages.Reason]error{
	messages.Reason_NO_LEADER:       ErrNoLeader,
	messages.Reason_NOT_LEADER:      ErrNotLeader,
	messages.Reason_BUSY:            ErrBusy,
	messages.Reason_TOO_LARGE:       ErrTooLarge,
	messages.Reason_LEADERSHIP_LOST: ErrLeadershipLost,
	messages.Reason_TIMED_OUT:       ErrTimeout,
	messages.Reason_STOPPED:         ErrStopped,
	messages.Reason_STORAGE_FAILED:  ErrStorageFailed,
	messages.Reason_NO_GROUP:        ErrNoGroup,
	messages.Reason_REFUSED:         ErrRefused,
	messages.Reason_SESSION_EXPIRED: ErrSessionExpired,
	messages.Reason_MEMBERS_KEPT:    ErrMembersKept,
	messages.Reason_DISK_FULL:       ErrDiskFull,
	messages.Reason_REPLY_LOST:      ErrReplyLost,
}
