package difftest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const pageFile = "../../docs/from-redis.md"

// commandTime bounds one command line of the page.
const commandTime = 3 * time.Minute

// block is one fenced block of a page.
type block struct {
	kind  string
	lines []string
}

// step is a command line and the output that the page tells of.
type step struct {
	command string
	output  []string
}

func blocks(page string) []block {
	var list []block
	var cur *block
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```") && cur == nil:
			cur = &block{kind: line[3:]}
		case strings.HasPrefix(line, "```"):
			list = append(list, *cur)
			cur = nil
		case cur != nil:
			cur.lines = append(cur.lines, line)
		}
	}
	return list
}

func (b block) steps() []step {
	var list []step
	for _, line := range b.lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			list = append(list, step{command: command})
		} else {
			list[len(list)-1].output = append(list[len(list)-1].output, line)
		}
	}
	return list
}

// pattern matches an output in whole. A line of … alone stands for any number
// of lines; in a line, … stands for anything.
func (s step) pattern() *regexp.Regexp {
	var p strings.Builder
	p.WriteString(`\A`)
	for _, line := range s.output {
		if line == "…" {
			p.WriteString(`(.*\n)*?`)
			continue
		}
		p.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*"))
		p.WriteString(`\n`)
	}
	p.WriteString(`\z`)
	return regexp.MustCompile(p.String())
}

var (
	colours = regexp.MustCompile("\x1b\\[[0-9;]*m")
	blank   = regexp.MustCompile(`\n\n+`)
	bars    = regexp.MustCompile(`(?m)^\[#*-*\] .*\n`)
)

// shell runs the command lines of the page as a shell would whose programs and
// ports are those of this test.
type shell struct {
	t     *testing.T
	tour  string // where the page's Go program is
	env   []string
	ports [][2]string // of the page, and of this test
	jobs  []*exec.Cmd
}

func (s *shell) here(text string) string {
	for _, p := range s.ports {
		text = strings.ReplaceAll(text, p[0], p[1])
	}
	return text
}

// job starts a node and returns when it says that it is ready.
func (s *shell) job(command string) {
	s.t.Helper()
	cmd := s.command(context.Background(), "exec "+command)
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.jobs = append(s.jobs, cmd)
	s.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if s.t.Failed() {
			s.t.Logf("$ %s\n%s", command, log.String())
		}
	})
	late := time.AfterFunc(commandTime, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); !strings.HasPrefix(line, "slotmeshd ready") {
		s.t.Fatalf("$ %s\n%s%v", command, line, err)
	}
}

func (s *shell) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", strings.ReplaceAll(s.here(line), "tour.go", s.tour))
	cmd.Env = s.env
	return cmd
}

// kill is the shell's own: a process that was asked to leave has to end well.
func (s *shell) kill(args []string) {
	s.t.Helper()
	signal := syscall.SIGTERM
	if args[0] == "-9" {
		signal, args = syscall.SIGKILL, args[1:]
	}
	n, err := strconv.Atoi(strings.TrimPrefix(args[0], "%"))
	if err != nil || n < 1 || n > len(s.jobs) {
		s.t.Fatalf("kill %v: no such job", args)
	}
	cmd := s.jobs[n-1]
	if err := cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil && signal == syscall.SIGTERM {
		s.t.Errorf("kill %v: the node ends with %v", args, err)
	}
}

// run runs one command line. Looks at the cluster are repeated until they show
// what the page says, for nodes hear of changes one after another; everything
// else has one try.
func (s *shell) run(st step) {
	s.t.Helper()
	words := strings.Fields(st.command)
	switch {
	case strings.HasSuffix(st.command, " &"):
		s.job(strings.TrimSuffix(st.command, " &"))
		return
	case words[0] == "export":
		s.env = append(s.env, s.here(words[1]))
		return
	case words[0] == "kill":
		s.kill(words[1:])
		return
	}
	st.output = strings.Split(s.here(strings.Join(st.output, "\n")), "\n")
	want := st.pattern()
	try := func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), commandTime)
		defer cancel()
		out, err := s.command(ctx, st.command).CombinedOutput()
		// redis-cli colours, and leaves an empty line after an error. slotmesh tells how far
		// it is where that takes more than a few seconds, as on a busy machine.
		text := bars.ReplaceAllString(strings.ReplaceAll(colours.ReplaceAllString(string(out), ""), "\r", ""), "")
		text = strings.TrimSpace(blank.ReplaceAllString(text, "\n")) + "\n"
		if !want.MatchString(text) {
			return fmt.Errorf("$ %s\n%.3000s(%v), want\n%s", st.command, text, err, strings.Join(st.output, "\n"))
		}
		return nil
	}
	if look(st.command) {
		await(s.t, "the page is right", try)
	} else if err := try(); err != nil {
		s.t.Error(err)
	}
}

func look(command string) bool {
	for _, part := range []string{"cluster info", "cluster nodes", "--cluster check", "--cluster rebalance", "slotmesh info", "slotmesh nodes"} {
		if strings.Contains(command, part) {
			return true
		}
	}
	return false
}

// TestPageForComersFromRedis runs every block of docs/from-redis.md.
func TestPageForComersFromRedis(t *testing.T) {
	need(t, "redis-cli", "bash", "go")
	page, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./slotmesh", "./slotmeshd")
	build.Dir = "../../cmd"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s := &shell{t: t, tour: filepath.Join(dir, "tour.go"), env: append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "SLOTMESH_LOG_LEVEL=warn")}
	for _, port := range []string{"7001", "7002", "7003", "7004", "7951", "7952", "7953", "7954"} {
		s.ports = append(s.ports, [2]string{port, freePort(t)})
	}
	counts := map[string]int{}
	for _, b := range blocks(string(page)) {
		switch b.kind {
		case "go":
			counts["go"]++
			if err := os.WriteFile(s.tour, []byte(strings.Join(b.lines, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		case "console":
			for _, st := range b.steps() {
				s.run(st)
				counts[strings.Fields(st.command)[0]]++
			}
		default:
			t.Errorf("a block of %q is not run", b.kind)
		}
	}
	t.Logf("ran %v", counts)
	if counts["redis-cli"] < 25 || counts["slotmesh"] < 15 || counts["go"] != 2 {
		t.Error(errors.New("the page has lost blocks, or they are not found"))
	}
}

// What the page leaves open stands for anything, and nothing else does.
func TestStepComparesWhatThePageSays(t *testing.T) {
	for _, tt := range []struct {
		page, output string
		want         bool
	}{
		{"1", "1\n", true},
		{"1", "10\n", false},
		{"a\n…\nb", "a\nb\n", true},
		{"a\n…\nb", "a\nx\ny\nb\n", true},
		{"a\n…\nb", "a\nx\nb\nc\n", false},
		{"a … c", "a b c\n", true},
		{"a … c", "a\nc\n", false},
		{"…\nx.y", "xzy\n", false},
	} {
		if got := (step{output: strings.Split(tt.page, "\n")}).pattern().MatchString(tt.output); got != tt.want {
			t.Errorf("page %q, output %q: %v, want %v", tt.page, tt.output, got, tt.want)
		}
	}
}
