// Package cmd tests the programs below it as processes.
package cmd

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is for machines that do much else.
const patience = 90 * time.Second

// programs builds both programs.
func programs(t *testing.T) (daemon, cli string) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./slotmeshd", "./slotmesh").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "slotmeshd"), filepath.Join(dir, "slotmesh")
}

// process is a node of its own.
type process struct {
	t    *testing.T
	name string
	addr string
	cmd  *exec.Cmd
	log  bytes.Buffer
	out  *bufio.Reader
}

// start starts a node that is set up by its environment but for its address.
func start(t *testing.T, daemon, name, addr string, env ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, addr: addr, cmd: exec.Command(daemon, "--addr", addr)}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "SLOTMESH_NAME=" + name, "SLOTMESH_CLUSTER=e2e", "SLOTMESH_MEMORY=64MiB", "SLOTMESH_LOG_LEVEL=warn"}, env...)
	p.cmd.Stderr = &p.log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, p.log.String())
		}
	})
	return p
}

// awaitReady waits for the line that a node prints when it is ready.
func (p *process) awaitReady() {
	p.t.Helper()
	line := make(chan string, 1)
	go func() { // ends with the process
		s, _ := p.out.ReadString('\n')
		line <- s
	}()
	select {
	case s := <-line:
		if want := fmt.Sprintf("slotmeshd ready: node %s at %s in cluster e2e", p.name, p.addr); !strings.HasPrefix(s, want) {
			p.t.Fatalf("%s printed %q, want %q", p.name, s, want)
		}
	case <-time.After(patience):
		p.t.Fatalf("%s is not ready after %v", p.name, patience)
	}
}

// stop sends a signal and returns the exit code.
func (p *process) stop(s os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.cmd.Wait()); ok {
		return exit.ExitCode()
	}
	return 0
}

// freeAddr is a port that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// awaitCLI runs a command until it exits with code and its output satisfies ok.
func awaitCLI(t *testing.T, cli string, env []string, code int, ok func(out string) bool, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	got := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		out.Reset()
		errOut.Reset()
		cmd := exec.Command(cli, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errOut
		err := cmd.Run()
		got = 0
		if exit, is := errors.AsType[*exec.ExitError](err); is {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got == code && (ok == nil || ok(out.String())) {
			return out.String()
		}
	}
	t.Fatalf("slotmesh %s: exit %d, output %q, errors %q; want exit %d", strings.Join(args, " "), got, out.String(), errOut.String(), code)
	return ""
}

// certificates writes an authority and a certificate that it signed, and returns
// the variables that name them.
func certificates(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), authorityKey)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	return []string{
		"SLOTMESH_TLS_CA=" + write("ca.pem", "CERTIFICATE", authorityDER),
		"SLOTMESH_TLS_CERT=" + write("cert.pem", "CERTIFICATE", leafDER),
		"SLOTMESH_TLS_KEY=" + write("key.pem", "PRIVATE KEY", keyDER),
	}
}

// TestProcessesEndToEnd starts three nodes with certificates, a secret and disks, kills one,
// has it come back, and stops it in peace; the CLI watches from outside.
func TestProcessesEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes; left out by -short")
	}
	daemon, cli := programs(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("# of the test\nMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	join := "SLOTMESH_JOIN=" + strings.Join(addrs, ",")
	data := t.TempDir()
	tls := certificates(t)
	web, redis := freeAddr(t), freeAddr(t)
	extra := [3][2]string{{"SLOTMESH_HTTP=" + web, "SLOTMESH_RESP=" + redis}}
	node := func(i int) *process {
		name := fmt.Sprint("n", i+1)
		return start(t, daemon, name, addrs[i], append(slices.Clone(tls), join, "SLOTMESH_BOOTSTRAP_EXPECT=3", "SLOTMESH_SECRET_FILE="+secret,
			"SLOTMESH_DATA_DIR="+filepath.Join(data, name), extra[i][0], extra[i][1])...)
	}
	nodes := []*process{node(0), node(1), node(2)}
	for _, p := range nodes {
		p.awaitReady()
	}
	probe(t, "http://"+web+"/healthz", "ok")
	probe(t, "http://"+web+"/readyz", "ok")
	probe(t, "http://"+web+"/safez?wait=1m", "ok")
	ping(t, redis)
	env := []string{"SLOTMESH_CLUSTER=e2e", join, "SLOTMESH_SECRET_FILE=" + secret}
	awaitCLI(t, cli, env, 5, nil, "info", "--timeout", "1s") // without a certificate
	env = append(env, tls...)
	awaitCLI(t, cli, env, 0, nil, "doctor", "--strict")
	const keys = 4 // each is a visit
	for i := range keys {
		awaitCLI(t, cli, env, 0, nil, "set", fmt.Sprint("key", i), fmt.Sprint("value", i))
	}
	awaitCLI(t, cli, env, 0, nil, "bench", "--yes", "--duration", "500ms", "--keys", "100")

	// A copy that a busy machine made late is dropped, and made anew.
	whole := func(out string) bool { return strings.HasPrefix(out, "state:ok\n") }
	awaitCLI(t, cli, env, 0, whole, "info", "--check")
	if code := nodes[1].stop(syscall.SIGKILL); code != -1 {
		t.Errorf("a killed node exits with %d, want -1", code)
	}
	awaitCLI(t, cli, env, 0, func(out string) bool { return out == "value1\n" }, "get", "key1")
	awaitCLI(t, cli, env, 0, func(out string) bool {
		var i struct{ Nodes, Slots_without_primary int }
		return json.Unmarshal([]byte(out), &i) == nil && i.Nodes == 2 && i.Slots_without_primary == 0
	}, "info", "-o", "json")
	awaitCLI(t, cli, env, 4, func(out string) bool { return strings.Contains(out, "of two nodes the survivor") }, "doctor", "--strict")

	nodes[1] = node(1)
	nodes[1].awaitReady()
	awaitCLI(t, cli, env, 0, whole, "info", "--check")
	copied := awaitCLI(t, cli, env, 0, nil, "checkpoint", "n2", "--label", "copy", "-o", "json")
	if dir := filepath.Join(data, "n2-checkpoints", "copy"); !strings.Contains(copied, dir) {
		t.Errorf("checkpoint says %s, want %s", copied, dir)
	}
	if code := nodes[1].stop(syscall.SIGTERM); code != 0 {
		t.Errorf("a node that was asked to stop exits with %d, want 0", code)
	}
	for i := range keys {
		awaitCLI(t, cli, env, 0, func(out string) bool { return out == fmt.Sprintf("value%d\n", i) }, "get", fmt.Sprint("key", i))
	}
}

// probe waits until a probe answers what is wanted.
func probe(t *testing.T, url, want string) {
	t.Helper()
	var got string
	client := http.Client{Timeout: patience}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		rsp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rsp.Body)
		_ = rsp.Body.Close()
		if got = strings.TrimSpace(string(b)); err == nil && rsp.StatusCode == http.StatusOK && got == want {
			return
		}
	}
	t.Errorf("%s answers %s, want %s", url, got, want)
}

// ping talks to the port for Redis clients.
func ping(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(conn, "PING\r\n")
	line, rerr := bufio.NewReader(conn).ReadString('\n')
	if line != "+PONG\r\n" {
		t.Errorf("PING = %q, %v, want +PONG", line, errors.Join(err, rerr))
	}
}

// TestDaemonRefusesWrongFlags names everything that is wrong.
func TestDaemonRefusesWrongFlags(t *testing.T) {
	daemon, _ := programs(t)
	for _, tt := range []struct {
		args, env []string
		says      []string
	}{
		{[]string{"--weight", "heavy"}, nil, []string{"weight"}},
		{[]string{"--fsync", "often", "--eviction", "some", "--partition", "no", "--data-dir", "/tmp/x"}, nil, []string{"--fsync", "--eviction", "--partition", "needs --name"}},
		{nil, []string{"SLOTMESH_MEMORY=lots", "SLOTMESH_BACKUPS=x"}, []string{"SLOTMESH_MEMORY", "SLOTMESH_BACKUPS"}},
		{[]string{"--backups", "9", "--zone", "a b"}, nil, []string{"--backups", "--zone"}},
		{[]string{"surplus"}, nil, []string{"surplus"}},
		{[]string{"--secret-file", "/nonexistent"}, nil, []string{"/nonexistent"}},
		{[]string{"--log-level", "loud"}, nil, []string{"loud"}},
	} {
		cmd := exec.Command(daemon, append(tt.args, "--addr", "127.0.0.1:0")...)
		cmd.Env = tt.env
		out, err := cmd.CombinedOutput()
		exit, _ := errors.AsType[*exec.ExitError](err)
		if exit == nil || exit.ExitCode() != 2 {
			t.Errorf("slotmeshd %v %v: %v, want exit 2", tt.args, tt.env, err)
		}
		for _, s := range tt.says {
			if !strings.Contains(string(out), s) {
				t.Errorf("slotmeshd %v %v printed %q, want a word on %q", tt.args, tt.env, out, s)
			}
		}
	}
}
