package sim

import "github.com/protoraft/protoraft/messages"

// ResetPeers orders a member to go on alone.
func (s *Script) ResetPeers(id string, group uint64, accept bool) error {
	n, err := s.running(id)
	if err != nil {
		return err
	}
	n.host.system.Root.RequestWithCustomSender(n.memberPID(group), &messages.ResetPeers{Group: group, AcceptLoss: accept}, s.pid(n))
	s.settle()
	return nil
}
