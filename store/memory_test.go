package store_test

import (
	"testing"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/storetest"
)

func TestMemoryConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Engine { return store.NewMemory(store.MemoryOptions{}) })
}

func TestModelConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Engine { return newModel() })
}
