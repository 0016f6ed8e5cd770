package messages_test

import (
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// Results pass the wire as a ResultsFrame and come out equal, every field of them.
func TestResultsRoundTrip(t *testing.T) {
	sent := &messages.Results{Items: []messages.ResultItem{
		{Request: 1, Outcome: messages.Outcome_APPLIED, Index: 9, Data: []byte("ok")},
		{Request: 2, Outcome: messages.Outcome_NOT_APPLIED, Reason: messages.Reason_NOT_LEADER, Leader: "n2"},
	}}
	serialized, err := sent.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(serialized.(*messages.ResultsFrame))
	if err != nil {
		t.Fatal(err)
	}
	frame := &messages.ResultsFrame{}
	if err := proto.Unmarshal(raw, frame); err != nil {
		t.Fatal(err)
	}
	got, err := frame.Deserialize()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sent) {
		t.Errorf("received %+v, sent %+v", got, sent)
	}
	// A field added to Result must be carried by ResultItem too.
	fields := (&messages.Result{}).ProtoReflect().Descriptor().Fields().Len()
	if n := reflect.TypeFor[messages.ResultItem]().NumField(); n != fields {
		t.Errorf("ResultItem has %d fields, Result %d", n, fields)
	}
}
