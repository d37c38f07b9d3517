package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// flood writes commands until it can't, and counts the bytes that were taken.
func flood(client net.Conn, taken *atomic.Int64) error {
	pings := bytes.Repeat([]byte("*2\r\n$4\r\nPING\r\n$20\r\n01234567890123456789\r\n"), 1000)
	for {
		n, err := client.Write(pings)
		if taken.Add(int64(n)); err != nil {
			return err
		}
	}
}

func TestPipelineIsTakenBeforeItsAnswersAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := connect(t, &server{})
		const n = 100_000
		var out, want []byte
		for i := range n {
			out = fmt.Appendf(out, "ECHO %0100d\r\n", i)
			want = fmt.Appendf(want, "$100\r\n%0100d\r\n", i)
		}
		for range 2 { // the second time behind what was read ahead
			if _, err := client.Write(out); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("not all answers came in order: %v", err)
			}
		}
	})
}

// A client that only writes is sent away after a while, and until then no more is
// read from it than there is room for.
func TestBacklogIsBounded(t *testing.T) {
	const slack = 1 << 17 // under way
	for _, tt := range []struct {
		name   string
		users  map[string]string
		others int64 // bytes of the backlogs of others
		want   int64
	}{
		{"of one client", nil, 0, maxBacklog},
		{"of all clients", nil, maxBacklogs - 4<<20, 4 << 20},
		{"of a stranger", map[string]string{"default": "secret"}, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{options: options{users: tt.users}}
				client := connect(t, s)
				s.backlogs.Store(tt.others)
				began := time.Now()
				var taken atomic.Int64
				gone := make(chan time.Duration)
				go func() {
					if err := flood(client, &taken); !errors.Is(err, io.ErrClosedPipe) {
						t.Errorf("the connection ended with %v", err)
					}
					gone <- time.Since(began)
				}()
				time.Sleep(writeTimeout - time.Second)
				if n := taken.Load(); n < tt.want-slack || n > tt.want+slack {
					t.Errorf("%d bytes were taken, want %d", n, tt.want)
				}
				if after := <-gone; after != writeTimeout {
					t.Errorf("it was sent away after %v", after)
				}
				s.backlogs.Add(-tt.others)
			})
		})
	}
}

func TestBacklogWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		client := connect(t, s)
		s.backlogs.Store(maxBacklogs)
		const n = 100_000
		go func() {
			time.Sleep(writeTimeout / 2) // others need theirs no more
			s.backlogs.Store(0)
		}()
		for range n {
			if _, err := io.WriteString(client, "PING\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(client, make([]byte, n*len("+PONG\r\n"))); err != nil {
			t.Error(err)
		}
	})
}

func TestClientGoesWhileItsBacklogIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		client := connect(t, s)
		_ = client.SetWriteDeadline(time.Now().Add(writeTimeout / 2))
		var taken atomic.Int64
		if err := flood(client, &taken); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if got, want := taken.Load(), int64(maxBacklog/2); got < want {
			t.Errorf("%d bytes were taken, want more than %d", got, want)
		}
		client.Close()
		s.wg.Wait()
	})
}

func TestShortWaitAllocatesNothing(t *testing.T) {
	b := newBacklog(nil, nil)
	if n := testing.AllocsPerRun(100, func() {
		b.begin()
		b.end()
	}); n != 0 {
		t.Errorf("a wait allocates %v times", n)
	}
}
