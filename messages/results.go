package messages

import "github.com/asynkron/protoactor-go/remote"

// Results carries the answers of one turn to one receiver. In memory they stand
// side by side in one slice; on the wire they are a ResultsFrame.
type Results struct {
	Items []ResultItem
}

// ResultItem is Result in memory.
type ResultItem struct {
	Request uint64
	Outcome Outcome
	Reason  Reason
	Index   uint64
	Data    []byte
	Leader  string
}

// Serialize implements remote.RootSerializable.
func (r *Results) Serialize() (remote.RootSerialized, error) {
	f := &ResultsFrame{Results: make([]*Result, len(r.Items))}
	for i := range r.Items {
		it := &r.Items[i]
		f.Results[i] = &Result{
			Request: it.Request, Outcome: it.Outcome, Reason: it.Reason,
			Index: it.Index, Data: it.Data, Leader: it.Leader,
		}
	}
	return f, nil
}

// Deserialize implements remote.RootSerialized.
func (f *ResultsFrame) Deserialize() (remote.RootSerializable, error) {
	r := &Results{Items: make([]ResultItem, len(f.Results))}
	for i, it := range f.Results {
		r.Items[i] = ResultItem{
			Request: it.Request, Outcome: it.Outcome, Reason: it.Reason,
			Index: it.Index, Data: it.Data, Leader: it.Leader,
		}
	}
	return r, nil
}
