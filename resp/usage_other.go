//go:build !unix

package resp

import "time"

func usage() (user, system time.Duration, ok bool) { return 0, 0, false }
