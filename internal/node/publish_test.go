package node

import (
	"context"
	"testing"
)

// Two messages leave one mark between the looks of two goroutines in Next and their
// sleep. Who takes the first message wakes the other.
func TestMessagesLeftWakeAnother(t *testing.T) {
	n := &Node{hub: newHub()}
	s := n.Subscription(0)
	if err := s.Add(false, "a"); err != nil {
		t.Fatal(err)
	}
	n.hub.deliver("a", nil)
	n.hub.deliver("a", nil)
	<-s.wake // by the first, which has looked before
	if _, err := s.Next(context.Background()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.wake:
	default:
		t.Error("a message is left, and nobody is woken")
	}
}
