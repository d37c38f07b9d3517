package node

import (
	"maps"
	"strings"
	"testing"
)

func TestAttributesSurvivePacking(t *testing.T) {
	for _, attributes := range []map[string]string{
		{},
		{"resp": "10.0.0.1:6379"},
		{"a": "1", "b": strings.Repeat("x", MaxAttributeValue), "größe": ""},
	} {
		packed := packAttributes(attributes)
		if got := unpackAttributes(packed); !maps.Equal(got, attributes) {
			t.Errorf("%v became %v", attributes, got)
		}
	}
}

func FuzzUnpackAttributes(f *testing.F) {
	f.Add(packAttributes(map[string]string{"resp": "10.0.0.1:6379", "zone": "a"}))
	f.Add("\x01a\x7fb")
	f.Fuzz(func(t *testing.T, packed string) {
		attributes := unpackAttributes(packed)
		for key, value := range attributes {
			if err := CheckAttribute(key, value); err != nil {
				t.Errorf("%q holds a bad attribute: %v", packed, err)
			}
		}
		if again := unpackAttributes(packAttributes(attributes)); !maps.Equal(again, attributes) {
			t.Errorf("%v became %v", attributes, again)
		}
	})
}
