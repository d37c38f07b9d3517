// Package process runs children that never outlive the program that started
// them, and makes them fail.
package process

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// childEnv holds the child's name, and so tells a program that it is one.
const childEnv = "SLOTMESH_BENCHMARK_CHILD"

// Child is a process started here. Its methods are for one goroutine, but for
// Call.
type Child struct {
	Name string
	cmd  *exec.Cmd
	rpc  *rpc.Client // nil for a Command
	dead bool
}

// Name returns the name under which this process was started by Again, and
// "" in a program that somebody else started.
func Name() string { return os.Getenv(childEnv) }

// Again starts this very program once more. Its standard input and output are
// a connection for Serve.
func Again(name string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c, err := start(name, cmd)
	if err != nil {
		return nil, err
	}
	c.rpc = rpc.NewClient(pipe{out, in})
	return c, nil
}

// Command starts another program, whose output is dropped.
func Command(name, program string, args ...string) (*Child, error) {
	return start(name, exec.Command(program, args...))
}

func start(name string, cmd *exec.Cmd) (*Child, error) {
	// A stopped child notices no end of file: the kernel must kill it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return &Child{Name: name, cmd: cmd}, nil
}

// Serve offers services, by name and in the form of net/rpc, to the program
// that started this one, and returns when that hangs up or dies.
func Serve(services map[string]any) error {
	server := rpc.NewServer()
	for name, service := range services {
		if err := server.RegisterName(name, service); err != nil {
			return err
		}
	}
	server.ServeConn(pipe{os.Stdin, os.Stdout})
	return nil
}

// pipe makes one connection of two streams.
type pipe struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.WriteCloser.Close()) }

// Call calls a method that the child serves and gives up after the timeout.
func (c *Child) Call(timeout time.Duration, method string, args, reply any) error {
	pending := c.rpc.Go(method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-pending.Done:
		if pending.Error != nil {
			return fmt.Errorf("%s %s: %w", c.Name, method, pending.Error)
		}
		return nil
	case <-time.After(timeout):
		return fmt.Errorf("%s %s: no answer in %s", c.Name, method, timeout)
	}
}

// PID returns the number of the process.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Alive reports whether Kill was not called yet.
func (c *Child) Alive() bool { return !c.dead }

// Pause stops the process as SIGSTOP does, Resume lets it go on.
func (c *Child) Pause() error  { return c.cmd.Process.Signal(syscall.SIGSTOP) }
func (c *Child) Resume() error { return c.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends the process with SIGKILL and waits for its end. A second call does
// nothing.
func (c *Child) Kill() {
	if c.dead {
		return
	}
	c.dead = true
	_ = c.cmd.Process.Kill()
	if c.rpc != nil {
		_ = c.rpc.Close()
	}
	_ = c.cmd.Wait() // says "killed"
}
