package scenarios

import (
	"fmt"
	"strconv"

	"github.com/protoraft/protoraft/test/sim"
)

// commands are what transcripts can say; docs/TESTING.md lists them for writers.
var commands = map[string]func(*play, *arguments) error{
	"start": func(p *play, a *arguments) error {
		held := a.word("held")
		return p.each(a, func(id string) error { return p.script.Start(id, held) })
	},
	"crash": func(p *play, a *arguments) error {
		fate := sim.Killed
		for _, f := range []sim.Fate{sim.Kept, sim.Lost, sim.Torn} {
			if a.word(string(f)) {
				fate = f
			}
		}
		return p.each(a, func(id string) error { return p.script.Crash(id, fate) })
	},
	"hold":    func(p *play, a *arguments) error { return p.each(a, p.script.Hold) },
	"release": func(p *play, a *arguments) error { return p.each(a, p.script.Release) },
	"silence": func(p *play, a *arguments) error { return p.each(a, p.script.Silence) },
	"disk": func(p *play, a *arguments) error {
		id := a.next()
		return p.script.FailDisk(id, a.next())
	},
	"lose":    func(p *play, a *arguments) error { return p.each(a, p.script.Lose) },
	"keep":    func(p *play, a *arguments) error { return p.each(a, p.script.Keep) },
	"putback": func(p *play, a *arguments) error { return p.each(a, p.script.PutBack) },
	"rot": func(p *play, a *arguments) error {
		group, index := a.group(), a.number("index", 1)
		return p.each(a, func(id string) error { return p.script.Rot(id, group, index) })
	},
	"break": func(p *play, a *arguments) error {
		group := a.group()
		return p.each(a, func(id string) error { return p.script.Break(id, group) })
	},

	"drift": func(p *play, a *arguments) error {
		group := a.group()
		return p.each(a, func(id string) error { return p.script.Drift(id, group) })
	},

	"elect": func(p *play, a *arguments) error {
		id, group := a.next(), a.group()
		return p.script.Quietly(func() error {
			if err := p.script.Fire("election", id, group); err != nil {
				return err
			}
			return p.script.Deliver(sim.Some{})
		})
	},
	"fire": func(p *play, a *arguments) error {
		what, group := a.next(), a.group()
		return p.each(a, func(id string) error { return p.script.Fire(what, id, group) })
	},
	"tick": func(p *play, a *arguments) error {
		d, err := a.duration()
		p.script.Tick(d, false)
		return err
	},
	"run": func(p *play, a *arguments) error {
		d, err := a.duration()
		p.script.Tick(d, true)
		return err
	},

	"deliver": func(p *play, a *arguments) error {
		quiet, some := a.word("quietly"), a.some()
		if quiet {
			return p.script.Quietly(func() error { return p.script.Deliver(some) })
		}
		return p.script.Deliver(some)
	},
	"drop": func(p *play, a *arguments) error {
		drop := func() error { p.script.Drop(a.some()); return nil }
		if a.word("quietly") {
			return p.script.Quietly(drop)
		}
		return drop()
	},
	"duplicate": func(p *play, a *arguments) error { p.script.Duplicate(a.some()); return nil },
	"reverse":   func(p *play, a *arguments) error { p.script.Reverse(a.some()); return nil },
	"wire":      func(p *play, _ *arguments) error { p.script.Wire(); return nil },
	"cut": func(p *play, a *arguments) error {
		oneWay, from, to := a.word("one-way"), a.next(), a.next()
		if err := p.script.Cut(from, to); err != nil || oneWay {
			return err
		}
		return p.script.Cut(to, from)
	},
	"isolate": func(p *play, a *arguments) error { return p.each(a, p.script.Isolate) },
	"heal":    func(p *play, _ *arguments) error { p.script.Heal(); return nil },

	"propose": func(p *play, a *arguments) error {
		id, group := a.next(), a.group()
		texts := a.rest()
		if len(texts) == 0 {
			return fmt.Errorf("expected what to propose")
		}
		for _, text := range texts {
			if err := p.script.Propose(id, group, text, text); err != nil {
				return err
			}
		}
		return nil
	},
	"read": func(p *play, a *arguments) error {
		p.reads++
		name := a.name("as", fmt.Sprintf("r%d", p.reads))
		return p.script.Read(a.next(), a.group(), name, a.name("how", "linearizable"))
	},
	"transfer": func(p *play, a *arguments) error {
		return p.script.Transfer(a.next(), a.group(), a.name("to", ""))
	},
	"snapshot": func(p *play, a *arguments) error {
		group := a.group()
		return p.each(a, func(id string) error { return p.script.Snapshot(id, group) })
	},
	"change": func(p *play, a *arguments) error {
		id, group := a.next(), a.group()
		if a.word("abort") {
			return p.script.AbortChange(id, group)
		}
		return p.script.ChangeMembers(id, group, sim.MemberChange{
			Add: a.names("add"), Remove: a.names("remove"), Promote: a.names("promote"), Demote: a.names("demote"), Move: a.names("move"),
			Expected: a.number("expect", 0),
		})
	},
	"relocate": func(p *play, a *arguments) error { return p.each(a, p.script.Relocate) },
	"reset": func(p *play, a *arguments) error {
		accept := a.word("accept")
		return p.script.ResetPeers(a.next(), a.group(), accept)
	},
	"receive": func(p *play, a *arguments) error {
		id, group := a.next(), a.group()
		var terms []uint64
		for _, word := range a.rest() {
			term, err := strconv.ParseUint(word, 10, 64)
			if err != nil {
				return fmt.Errorf("%s: expected a term", word)
			}
			terms = append(terms, term)
		}
		return p.script.Receive(id, group, terms)
	},

	"log": func(p *play, a *arguments) error {
		group := a.group()
		return p.each(a, func(id string) error { return p.script.Log(id, group) })
	},
	"writes": func(p *play, a *arguments) error { return p.each(a, p.script.Writes) },
	"status": func(p *play, _ *arguments) error { p.script.Status(); return nil },
}
