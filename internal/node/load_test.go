package node

import (
	"bytes"
	"testing"
	"time"
)

func TestLoadRoundTrips(t *testing.T) {
	want := Load{Token: 1 << 60, Lease: 3 * time.Second, Wait: true, Ignore: 1 << 50}
	var got Load
	if ok := got.unpack(want.Call(0, "k").Value); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	waits := want.Call(0, "k").Value
	want.Look = true
	if ok := got.unpack(want.Call(0, "k").Value); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if b := want.Call(0, "k").Value; !bytes.HasPrefix(b, waits) {
		t.Errorf("%x does not begin with %x, as which earlier releases are to read it", b, waits)
	}
	long := Load{Token: 1, Lease: 1000 * time.Hour}
	if ok := got.unpack(long.Call(0, "k").Value); !ok || got.Lease != maxLoadLease {
		t.Errorf("got %+v, %v, want the longest lease", got, ok)
	}
	free := Release{Token: 9, How: ReleaseFailed, Text: "text"}
	var back Release
	if ok := back.unpack(free.Call(0, "k").Value); !ok || back != free {
		t.Errorf("got %+v, %v, want %+v", back, ok, free)
	}
}

func FuzzUnpackLoad(f *testing.F) {
	f.Add(Load{Token: 1, Lease: time.Second}.Call(0, "k").Value)
	f.Add(Release{Token: 1, How: ReleaseFailed, Text: "text"}.Call(0, "k").Value)
	f.Fuzz(func(t *testing.T, b []byte) {
		var l Load
		if l.unpack(b) && (l.Lease < 0 || l.Lease > maxLoadLease || l.Token == 0) {
			t.Errorf("took %+v", l)
		}
		var r Release
		if r.unpack(b) && len(r.Text) > 1<<10 {
			t.Errorf("took a text of %d bytes", len(r.Text))
		}
	})
}
