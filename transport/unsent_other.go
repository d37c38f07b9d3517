//go:build !linux

package transport

import "net"

func waitHere(net.Conn) {}
