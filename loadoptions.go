package slotmesh

import (
	"math/rand/v2"
	"time"
)

// LoadOption changes what GetOrLoad and GetOrLoadMany do. All callers of a key
// should use the same ones. LoadJitter, LoadStale and LoadEarly need LoadTTL: without
// it, as out of range, they give ErrInvalid. It is a plain value, so that a hit
// allocates nothing for it.
type LoadOption struct {
	what uint8
	d    time.Duration
	part float64
}

const (
	loadsNothing uint8 = iota // the zero LoadOption
	loadsTTL
	loadsJitter
	loadsStale
	loadsEarly
	loadsNegative
	loadsTimeout
)

type loadOptions struct {
	ttl, stale, early, negative, timeout time.Duration
	jitter                               float64
}

const (
	defaultLoadTimeout = 10 * time.Second
	minLoadTimeout     = 10 * time.Millisecond
	maxLoadTimeout     = 10 * time.Minute
)

// loadOptionsOf allocates nothing unless there is a fault. It is on the way of a
// hit, mostly without options.
func loadOptionsOf(opts []LoadOption) (loadOptions, error) {
	if len(opts) == 0 {
		return loadOptions{timeout: defaultLoadTimeout}, nil
	}
	return readLoadOptions(opts)
}

func readLoadOptions(opts []LoadOption) (loadOptions, error) {
	o := loadOptions{timeout: defaultLoadTimeout}
	var f faults
	for _, opt := range opts {
		switch d := opt.d; opt.what {
		case loadsTTL:
			if o.ttl = d; d <= 0 {
				f.add("LoadTTL(%v): want more than 0", d)
			}
		case loadsJitter:
			if o.jitter = opt.part; !(0 <= o.jitter && o.jitter <= 1) { // nor NaN
				f.add("LoadJitter(%v): want 0 to 1", opt.part)
			}
		case loadsStale:
			if o.stale = d; d < 0 {
				f.add("LoadStale(%v): want at least 0", d)
			}
		case loadsEarly:
			if o.early = d; d < 0 {
				f.add("LoadEarly(%v): want at least 0", d)
			}
		case loadsNegative:
			if o.negative = d; d <= 0 {
				f.add("LoadNegative(%v): want more than 0", d)
			}
		case loadsTimeout:
			if o.timeout = d; d < minLoadTimeout || d > maxLoadTimeout {
				f.add("LoadTimeout(%v): want %v to %v", d, minLoadTimeout, maxLoadTimeout)
			}
		}
	}
	if o.ttl == 0 && (o.stale != 0 || o.early != 0 || o.jitter != 0) {
		f.add("LoadStale, LoadEarly and LoadJitter need LoadTTL")
	}
	if f != nil {
		return o, f.joined()
	}
	o.ttl, o.stale = min(o.ttl, maxLoadLife), min(o.stale, maxLoadLife)
	return o, nil
}

// maxLoadLife is for ever to all who load; twice it is still a time.Duration.
const maxLoadLife = 100 * 365 * 24 * time.Hour

// LoadTTL lets what was loaded expire after d. Without it it lasts for ever.
// A d of zero or less gives ErrInvalid; one of more than a hundred years counts as that.
func LoadTTL(d time.Duration) LoadOption { return LoadOption{what: loadsTTL, d: d} }

// LoadJitter makes each TTL shorter by a random part of it, up to fraction, so
// that what was loaded together does not expire together. fraction is 0 to 1.
func LoadJitter(fraction float64) LoadOption { return LoadOption{what: loadsJitter, part: fraction} }

// LoadStale keeps a value for d beyond its TTL. In that time callers get it at
// once and one of them, in the whole fleet, loads anew behind their backs. An
// error of that load is told nobody and leaves the value, and the node that got it does
// not load that key anew for 100ms, after each further one twice as long, up to 10s;
// ErrNotFound removes the value.
// Get returns it as well until it is gone. More than a hundred years count as that.
func LoadStale(d time.Duration) LoadOption { return LoadOption{what: loadsStale, d: d} }

// LoadEarly has a value loaded anew before its TTL ends, by one caller picked
// at random, the likelier the nearer the end is: so that a hot key never
// expires under load. d is about how long a load takes. What that load gives counts
// as with LoadStale: ErrNotFound removes the value. It is the XFetch rule of Vattani,
// Chierichetti and Lowenstein with beta 1.
func LoadEarly(d time.Duration) LoadOption { return LoadOption{what: loadsEarly, d: d} }

// LoadNegative remembers for d that the loader returned ErrNotFound: callers
// get ErrNotFound without a load. Get and the other calls see an absent key.
// Without it ErrNotFound is returned and not remembered.
func LoadNegative(d time.Duration) LoadOption { return LoadOption{what: loadsNegative, d: d} }

// LoadTimeout bounds one load: the loader's context ends after d, its callers
// on that node get a LoadError that is context.DeadlineExceeded, and somebody
// who waits on another node loads instead. Default 10s, 10ms to 10m. The calls'
// own contexts bound how long they wait.
func LoadTimeout(d time.Duration) LoadOption { return LoadOption{what: loadsTimeout, d: d} }

// lifetime is the TTL that a loaded value gets, stale time included; 0 is for
// ever.
func (o *loadOptions) lifetime() time.Duration {
	if o.ttl == 0 {
		return 0
	}
	ttl := o.ttl
	if o.jitter > 0 {
		ttl -= time.Duration(rand.Float64() * o.jitter * float64(ttl))
	}
	return max(ttl, time.Millisecond) + o.stale
}

// due reports whether a value with left to live is to be loaded anew, though
// it may be returned.
func (o *loadOptions) due(left time.Duration) bool {
	if o.ttl == 0 || o.stale == 0 && o.early == 0 {
		return false
	}
	left -= o.stale
	return left <= 0 || o.early > 0 && float64(left) <= rand.ExpFloat64()*float64(o.early)
}
