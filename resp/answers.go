package resp

import (
	"errors"
	"fmt"

	"github.com/slotmesh/slotmesh"
)

// Bounds of answers that are in memory, in bytes: a few bytes ask for a large value
// thousands of times, and a client may be slow to take what it asked for.
const (
	maxAnswers    = 256 << 20 // to a command, and to a transaction
	maxAllAnswers = 512 << 20 // to all clients of a Serve, of those above flushBytes
)

var (
	errAnswers    = fmt.Errorf("%w: answers of more than 256 MiB at once", slotmesh.ErrTooLarge)
	errAllAnswers = errors.New("answers to other clients take all the memory there is for them")
)

// bounded fails where an answer of so many bytes, of which it may have been told
// already, would take more memory than there is for it. Otherwise that is the answer's
// until settle.
func (c *conn) bounded(size int) error {
	more := int64(size) - c.answer
	switch {
	case size > maxAnswers:
		return errAnswers
	case size <= flushBytes || more <= 0:
		return nil
	case c.s.answers.Add(more) > maxAllAnswers:
		c.s.answers.Add(-more)
		return errAllAnswers
	}
	c.answer += more
	return nil
}

// settle follows a command whose answer has been sent.
func (c *conn) settle() {
	if c.answer > 0 {
		c.s.answers.Add(-c.answer)
		c.answer = 0
	}
}
