package resp

import (
	"strings"
	"testing"
)

// Every command says what its arguments are, as many as it takes.
func TestFormsAreOfWhatCommandsTake(t *testing.T) {
	left := len(forms)
	check := func(cmd *command) {
		form, words := forms[cmd.name], 1+strings.Count(cmd.name, "|")
		for _, arg := range arguments(form) {
			if !strings.HasPrefix(arg, "[") {
				words++
			} else if cmd.arity > 0 {
				t.Errorf("%s takes no %s", cmd.name, arg)
			}
		}
		if form != "" {
			left--
		}
		if want := max(cmd.arity, -cmd.arity); words != want && len(cmd.subs) == 0 && cmd.name != "debug" {
			t.Errorf("%s %s takes %d words, want %d", cmd.name, form, words, want)
		}
	}
	for _, cmd := range commands {
		check(cmd)
		for _, sub := range cmd.subs {
			check(sub)
		}
	}
	if left != 0 {
		t.Errorf("%d forms are of no command", left)
	}
}
