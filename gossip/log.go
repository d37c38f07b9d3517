package gossip

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
)

// maxLogs bounds the log lines waiting to be written. Beyond it they are lost.
const maxLogs = 256

// logs hands log lines to a goroutine of their own. memberlist logs, and asks
// the delegates, while it holds its node lock; a slog handler may block.
type logs struct {
	to *slog.Logger // nil: nothing is logged
	ch chan logLine
}

type logLine struct {
	level slog.Level
	msg   string
	attrs []slog.Attr
}

func newLogs(to *slog.Logger) *logs { return &logs{to: to, ch: make(chan logLine, maxLogs)} }

func (l *logs) add(level slog.Level, msg string, attrs ...slog.Attr) {
	if l.to == nil || !l.to.Enabled(context.Background(), level) {
		return
	}
	select {
	case l.ch <- logLine{level, msg, attrs}:
	default:
	}
}

// run ends when stop closes.
func (l *logs) run(stop <-chan struct{}) {
	for {
		select {
		case line := <-l.ch:
			l.to.LogAttrs(context.Background(), line.level, line.msg, line.attrs...)
		case <-stop:
			return
		}
	}
}

// logger is what memberlist logs to. Without a Logger of ours the log package
// does not even format.
func (l *logs) logger() *log.Logger {
	if l.to == nil || !l.to.Enabled(context.Background(), slog.LevelDebug) {
		return log.New(io.Discard, "", 0)
	}
	return log.New(memberlistLog{l}, "", 0)
}

// memberlistLog turns memberlist's lines into records. All are for debugging:
// its errors are mostly about a single packet or probe, from anyone who can
// send one; what matters arrives as an event and is logged as such.
type memberlistLog struct{ l *logs }

func (w memberlistLog) Write(line []byte) (int, error) {
	text := bytes.TrimSpace(line)
	severity := "info"
	if end := bytes.IndexByte(text, ']'); end > 0 && text[0] == '[' {
		severity, text = string(bytes.ToLower(text[1:end])), bytes.TrimSpace(text[end+1:])
	}
	text = bytes.TrimPrefix(text, []byte("memberlist: "))
	w.l.add(slog.LevelDebug, "memberlist", slog.String("severity", severity), slog.String("text", string(text)))
	return len(line), nil
}
