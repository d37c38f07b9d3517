package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slotmesh/slotmesh/cmd/internal/flags"
)

// app is one run of the program: what all commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string

	join       []string
	cluster    string
	addr       string
	secretFile string
	tls        flags.TLS
	timeout    time.Duration
	output     string
	yes        bool
	verbose    bool
}

// fromEnv are the flags that the environment sets as well: those that the CLI
// and a node in the same container have in common.
var fromEnv = []string{"join", "cluster", "secret-file", "tls-cert", "tls-key", "tls-ca"}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "slotmesh",
		Short: "Look at a slotmesh cluster and operate it",
		Long: `slotmesh looks at a cluster and operates it. It joins as a visitor, which holds
no data and has no vote, does what it was asked to and leaves.

The nodes must be able to reach it: run it in their network. In a container of a
node, $SLOTMESH_JOIN and the like are taken from the environment.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no such key, or a condition did not
hold; 4 the cluster is not well (info --check, doctor); 5 no node could be joined;
6 a change that hurts was not confirmed; 130 interrupted, but for watch and top.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.FromEnv(cmd.Flags(), a.getenv, fromEnv...); err != nil {
				return usageError{err}
			}
			if a.output != "table" && a.output != "json" {
				return usagef("--output %q: want table or json", a.output)
			}
			if a.timeout <= 0 {
				return usagef("--timeout %v: want more than 0", a.timeout)
			}
			if len(a.join) == 0 || slices.Contains(a.join, "") {
				return usagef("--join %q: want host:port or DNS names", strings.Join(a.join, ","))
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	fs := root.PersistentFlags()
	fs.StringSliceVarP(&a.join, "join", "j", []string{"127.0.0.1:7946"}, "nodes to join, host:port or DNS names, separated by commas")
	fs.StringVar(&a.cluster, "cluster", "slotmesh", "name of the cluster")
	fs.StringVar(&a.addr, "addr", "", "host:port to be reached at by the nodes (default: a free port of the address that leads to them)")
	fs.StringVar(&a.secretFile, "secret-file", "", "file with the cluster's keys, as slotmeshd takes it")
	a.tls.Register(fs)
	fs.DurationVar(&a.timeout, "timeout", 10*time.Second, "time to join, and for each call")
	fs.StringVarP(&a.output, "output", "o", "table", "table or json")
	fs.BoolVar(&a.yes, "yes", false, "do not ask before changes that hurt")
	fs.BoolVarP(&a.verbose, "verbose", "v", false, "log to standard error")
	flags.Announce(fs, fromEnv...)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(&cobra.Group{ID: "look", Title: "Look:"}, &cobra.Group{ID: "data", Title: "Keys and values:"}, &cobra.Group{ID: "operate", Title: "Operate:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			c.Args = usageArgs(c.Args)
			root.AddCommand(c)
		}
	}
	add("look", a.nodesCmd(), a.slotsCmd(), a.infoCmd(), a.keyslotCmd(), a.explainCmd(), a.topCmd(), a.doctorCmd())
	add("data", a.getCmd(), a.setCmd(), a.delCmd(), a.scanCmd(), a.watchCmd())
	add("operate", a.moveCmd(), a.unpinCmd(), a.pinsCmd(), a.rebalanceCmd(), a.pauseCmd(), a.resumeCmd(), a.failoverCmd(), a.drainCmd(), a.weightCmd(),
		a.checkpointCmd(), a.benchCmd())
	return root
}

// refuseUnknown makes an unknown topic of help, or shell of completion, a usage
// error: cobra prints help and succeeds. root has its streams already, for cobra
// looks at them here.
func refuseUnknown(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = usageArgs(func(_ *cobra.Command, args []string) error {
				_, rest, err := root.Find(args)
				if err == nil && len(rest) > 0 {
					err = fmt.Errorf("unknown command %q", rest[0])
				}
				return err
			})
		case "completion":
			c.Args = usageArgs(cobra.NoArgs)
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

// usageArgs makes wrong arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.NoArgs
	}
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w; usage: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// confirm asks before a change that hurts. what is a sentence that says what
// will happen.
func (a *app) confirm(ctx context.Context, what string) error {
	if a.yes {
		return nil
	}
	if !isTerminal(a.in) {
		return fmt.Errorf("%w: %s Say --yes to go on without being asked", errDeclined, what)
	}
	fmt.Fprintf(a.err, "%s Go on? [y/N] ", what)
	answer := make(chan string, 1)
	go func() { // ends with the line, or with the process
		line, _ := bufio.NewReader(a.in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case s := <-answer:
		if s == "y" || s == "yes" {
			return nil
		}
		return errDeclined
	}
}

// readInput reads standard input to its end, but at most so many bytes.
func (a *app) readInput(ctx context.Context, most int64) ([]byte, error) {
	type input struct {
		b   []byte
		err error
	}
	read := make(chan input, 1)
	go func() { // ends with the input, or with the process
		b, err := io.ReadAll(io.LimitReader(a.in, most))
		read <- input{b, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case in := <-read:
		return in.b, in.err
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
