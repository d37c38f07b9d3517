package transport

// lateness finds requests whose time has run out on their way, although the
// two ends have no clock in common: what a request took longer than the
// quickest one of late was spent in queues, or while a process stood still.
// The true time is at least that, so no request is dropped too early.
type lateness struct {
	from          int64 // when the present window began
	before, least int64 // the quickest of the window before, and of this one
}

const lateWindow = 10_000_000 // microseconds

// expired takes in a request and reports whether its caller waits no more.
// Times are in microseconds, now by the receiver's clock.
func (l *lateness) expired(r *Request, now int64) bool {
	if r.Timeout <= 0 || r.Sent == 0 {
		return false
	}
	took := now - r.Sent
	switch {
	case l.from == 0 || now-l.from > 2*lateWindow:
		*l = lateness{now, took, took}
	case now-l.from > lateWindow:
		l.from, l.before, l.least = now, l.least, took
	default:
		l.least = min(l.least, took)
	}
	return took-min(l.before, l.least) > r.Timeout
}
