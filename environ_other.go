//go:build !linux

package slotmesh

import "errors"

func freeDisk(string) (int64, error) { return 0, errors.ErrUnsupported }
