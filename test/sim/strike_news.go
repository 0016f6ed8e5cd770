package sim

import (
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/messages"
)

// heldNews is a Replicator's report of what a peer has acknowledged, held up until its
// leader has lost its office and leads again.
type heldNews struct {
	m       *memberModel
	peer    *node
	term    uint64
	release func() // nil before it was held
}

// strikeNews has a leader hear in its next term but one what a Replicator of this one
// has to report. The peer it is of is cut off meanwhile: nothing newer comes from it.
func (w *World) strikeNews(n *node) {
	m, h, et := w.leading(n), w.hunter, w.setup.electionTimeout
	if m == nil || w.now < h.until || w.setup.nodes < 3 {
		return
	}
	peer := w.nodes[w.chaos.IntN(len(w.nodes))]
	if peer == m.n || !peer.up {
		return
	}
	h.until = w.now + 8*et
	news := &heldNews{m: m, peer: peer, term: m.leads}
	m.n.heldNews = news
	h.hunts(m.g, w.now, w.now+et, et/12, func() { h.asksOf(m.n, opAppend, false) })
	w.at(w.now+et/4, func() { news.pursue(w.now + 6*et) })
}

// pursue has leadership go to another member and back.
func (news *heldNews) pursue(until time.Duration) {
	m, w := news.m, news.m.c.w
	leader := m.g.leadingMember()
	switch {
	case w.healed || w.now >= until || !m.n.up:
		news.end()
		return
	case leader == nil || news.release == nil:
	case leader != m:
		w.asksHandOverTo(leader, m.n.id)
	case leader.leads == news.term:
		w.asksHandOverTo(leader, "")
	default:
		w.cover.add("news of an earlier leadership")
		news.end()
		return
	}
	w.after(w.setup.electionTimeout/6, func() { news.pursue(until) })
}

func (news *heldNews) end() {
	if news.m.n.heldNews == news {
		news.m.n.heldNews = nil
	}
	if news.release != nil {
		news.release()
	}
}

// holdsNews says whether a Replicator's turn is the one to be held up, and cuts its peer off.
func (n *node) holdsNews(b *stepMailbox, heard []any) bool {
	news := n.heldNews
	if news == nil || news.release != nil || b.kind != replicatorActor || b.group != news.m.g.id || b.term != news.term {
		return false
	}
	_, child, _ := strings.Cut(b.pid.Id, "/")
	if !strings.HasPrefix(child, news.peer.id+"-") {
		return false
	}
	for _, item := range heard {
		_, inner, _ := actor.UnwrapEnvelope(item)
		if a, ok := inner.(*messages.AppendAccepted); ok && a.Term == news.term {
			w := n.w
			w.cutOff(news.peer, w.now, w.now+6*w.setup.electionTimeout)
			return true
		}
	}
	return false
}

// leadingMember is the leader of the latest term, nil for none.
func (g *groupModel) leadingMember() (leader *memberModel) {
	for _, m := range g.members {
		if m.leads != 0 && m.n.up && (leader == nil || m.leads > leader.leads) {
			leader = m
		}
	}
	return leader
}
