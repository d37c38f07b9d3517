package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"

	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
)

// size of a request and an answer of the floors, which is about what a get of
// a 100-byte value takes.
const (
	requestSize = 48
	answerSize  = 128
)

// serveTCP answers requests of requestSize with answers of answerSize.
func serveTCP() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { // ends with the process
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				var in [requestSize]byte
				var out [answerSize]byte
				for {
					if _, err := io.ReadFull(c, in[:]); err != nil {
						return
					}
					copy(out[:], in[:8])
					if _, err := c.Write(out[:]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String(), nil
}

// tcpCaller returns callers with a connection each.
func tcpCaller(addr string) func() load.Call {
	return func() load.Call {
		c, err := net.Dial("tcp", addr)
		var in [answerSize]byte
		var out [requestSize]byte
		return func(context.Context, []string, []byte) error {
			if err != nil {
				return err
			}
			binary.BigEndian.PutUint64(out[:], binary.BigEndian.Uint64(out[:])+1)
			if _, err := c.Write(out[:]); err != nil {
				return err
			}
			_, err := io.ReadFull(c, in[:])
			return err
		}
	}
}
