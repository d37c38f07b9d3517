package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// report prints steps, lines and, on a terminal, a progress bar.
type report struct {
	out      *os.File
	terminal bool
	steps    int
}

func newReport(out *os.File) *report {
	info, err := out.Stat()
	return &report{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (r *report) step(title string) {
	r.steps++
	fmt.Fprintf(r.out, "\n%d. %s\n", r.steps, title)
}

func (r *report) line(format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	if text != "" {
		text = "   " + text
	}
	fmt.Fprintln(r.out, text)
}

// progress is a bar on a terminal and nothing elsewhere.
type progress struct {
	report *report
	what   string
	total  int

	mu    sync.Mutex // guards what follows, and the terminal's line
	done  int
	drawn time.Time
}

func (r *report) progress(what string, total int) *progress {
	return &progress{report: r, what: what, total: total}
}

func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if !p.report.terminal || time.Since(p.drawn) < 50*time.Millisecond {
		return
	}
	p.drawn = time.Now()
	const width = 40
	filled := width * p.done / p.total
	fmt.Fprintf(p.report.out, "\r   %-8s [%s%s] %3d %%", p.what,
		strings.Repeat("#", filled), strings.Repeat(".", width-filled), 100*p.done/p.total)
}

// finish removes the bar.
func (p *progress) finish() {
	if p.report.terminal {
		fmt.Fprint(p.report.out, "\r\033[K")
	}
}

// count is n with a comma between thousands.
func count(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", count(n/1000), n%1000)
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
