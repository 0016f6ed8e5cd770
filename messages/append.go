package messages

// WithoutBlock is a copy of the message whose block is left out, to be sent beside it.
func (x *AppendEntries) WithoutBlock() *AppendEntries {
	return &AppendEntries{
		Group: x.Group, Term: x.Term, Leader: x.Leader, Session: x.Session,
		PrevIndex: x.PrevIndex, PrevTerm: x.PrevTerm, Commit: x.Commit, Resets: x.Resets,
	}
}
