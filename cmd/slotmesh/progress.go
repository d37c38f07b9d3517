package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress shows how far a long work is: a bar that is drawn over itself on a
// terminal, elsewhere a line now and then. It is for one goroutine.
type progress struct {
	w       io.Writer
	live    bool
	what    string
	total   int64 // 0: unknown
	drawn   time.Time
	began   time.Time
	last    int64
	printed bool
}

const (
	barWidth     = 30
	drawEvery    = 100 * time.Millisecond
	sayEvery     = 5 * time.Second
	clearTheLine = "\r\x1b[K"
)

func (a *app) progress(what string, total int64) *progress {
	now := time.Now()
	return &progress{w: a.err, live: isTerminal(a.err), what: what, total: total, began: now, drawn: now}
}

// at says that n of the total are done.
func (p *progress) at(n int64) {
	p.last = n
	every := sayEvery
	if p.live {
		every = drawEvery
	}
	if now := time.Now(); now.Sub(p.drawn) >= every {
		p.drawn = now
		p.draw(now)
	}
}

func (p *progress) draw(now time.Time) {
	p.printed = true
	line := p.text(now.Sub(p.began))
	if p.live {
		fmt.Fprint(p.w, clearTheLine, line)
	} else {
		fmt.Fprintln(p.w, line)
	}
}

// end leaves the last state standing where any was shown.
func (p *progress) end() {
	if p.printed {
		p.draw(time.Now())
		if p.live {
			fmt.Fprintln(p.w)
		}
	}
}

func (p *progress) text(took time.Duration) string {
	if p.total <= 0 {
		return fmt.Sprintf("%s %s, %s", count(p.last), p.what, ago(took))
	}
	done := float64(min(max(p.last, 0), p.total)) / float64(p.total)
	full := int(done * barWidth)
	line := fmt.Sprintf("[%s%s] %3.0f%%  %s of %s %s, %s", strings.Repeat("#", full), strings.Repeat("-", barWidth-full),
		100*done, count(p.last), count(p.total), p.what, ago(took))
	if done > 0 && done < 1 {
		line += fmt.Sprintf(", about %s left", ago(time.Duration(float64(took)*(1-done)/done)))
	}
	return line
}
