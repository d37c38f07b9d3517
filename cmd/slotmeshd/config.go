package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/cmd/internal/flags"
)

// config is what flags and the environment say.
type config struct {
	name, cluster, addr, advertise, zone string
	join                                 []string
	expect, backups, minBackups, weight  int
	dataDir, fsync, eviction, policy     string
	memory                               flags.Bytes
	secretFile                           string
	tls                                  flags.TLS
	logLevel, logFormat                  string
	http, resp, respAdvertise            string
	shutdownTimeout, repairDelay         time.Duration
	stop                                 string
	version                              bool
}

// How a node ends.
const (
	stopLeave   = "leave"
	stopRestart = "restart"
)

// parse reads flags and then the environment. Flags come first, and pflag.ErrHelp
// means that help was asked for and written to out.
func parse(args []string, getenv func(string) string, out io.Writer) (*config, error) {
	c := new(config)
	fs := pflag.NewFlagSet("slotmeshd", pflag.ContinueOnError)
	fs.SetOutput(out)
	fs.SortFlags = false
	fs.StringVar(&c.name, "name", "", "name of this node, the same after a restart (default: host name and port)")
	fs.StringVar(&c.cluster, "cluster", "slotmesh", "name of the cluster")
	fs.StringVar(&c.addr, "addr", "0.0.0.0:7946", "host:port to listen on, TCP and UDP")
	fs.StringVar(&c.advertise, "advertise", "", "host:port at which the others reach this node (default: found out)")
	fs.StringSliceVar(&c.join, "join", nil, "nodes to join, host:port or DNS names, separated by commas; none founds a cluster")
	fs.IntVar(&c.expect, "bootstrap-expect", 0, "let a new cluster share out its slots once so many nodes have met")
	fs.IntVar(&c.backups, "backups", 1, "copies of each slot beside the primary's, 0 to 5; the same on all nodes")
	fs.IntVar(&c.minBackups, "min-backups", 0, "refuse writes to slots with fewer in-sync backups")
	fs.StringVar(&c.dataDir, "data-dir", "", "directory to keep the records in as well; it belongs to one --name")
	fs.StringVar(&c.fsync, "fsync", "everysec", "when writes are synced to --data-dir: always, everysec or never")
	fs.Var(&c.memory, "memory", "limit of all records held here, such as 512MiB (default: a quarter of what the process may use)")
	fs.StringVar(&c.eviction, "eviction", "auto", "at the memory limit: auto removes keys, none refuses writes")
	fs.StringVar(&c.policy, "partition", "available", "without a majority of a slot's nodes: available goes on, majority waits")
	fs.StringVar(&c.zone, "zone", "", "failure domain; backups go to another one than their primary")
	fs.IntVar(&c.weight, "weight", 1, "share of the slots relative to others, 0 to 1000; 0 holds no data")
	fs.StringVar(&c.secretFile, "secret-file", "", "file with the cluster's keys in base64, one a line, the first is used for sending; read anew when it changes")
	c.tls.Register(fs)
	fs.StringVar(&c.http, "http", "", "host:port of /healthz, /readyz, /safez and the page /debug/slotmesh (default: none)")
	fs.StringVar(&c.resp, "resp", "", "host:port for clients of Redis Cluster (default: none)")
	fs.StringVar(&c.respAdvertise, "resp-advertise", "", "host:port at which those clients reach this node (default: found out)")
	fs.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn, error or off")
	fs.StringVar(&c.logFormat, "log-format", "text", "text or json, to standard error")
	fs.DurationVar(&c.shutdownTimeout, "shutdown-timeout", 25*time.Second, "time to hand all slots over after SIGTERM")
	fs.StringVar(&c.stop, "stop", "leave", "on SIGTERM: leave gives all records away; restart keeps them in --data-dir and hands slots to their backups")
	fs.DurationVar(&c.repairDelay, "repair-delay", 5*time.Second, "time in which a node that is away may be back before its copies are made elsewhere")
	fs.BoolVar(&c.version, "version", false, "print the version and leave")
	flags.Announce(fs)
	fs.Usage = func() {
		fmt.Fprintf(out, "slotmeshd is a node of a slotmesh cluster: a program that does nothing but embed the library.\n\nUsage:\n  slotmeshd [flags]\n\nFlags:\n%s", fs.FlagUsages())
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%q is no flag: slotmeshd takes flags only", fs.Arg(0))
	}
	return c, flags.FromEnv(fs, getenv)
}

// options turns the configuration into the library's options. The library
// checks ranges; here is what it cannot see.
func (c *config) options(log *slog.Logger) ([]slotmesh.Option, error) {
	var errs []error
	fsync, ok := map[string]slotmesh.Fsync{
		"always": slotmesh.FsyncAlways, "everysec": slotmesh.FsyncEverySec, "never": slotmesh.FsyncNever,
	}[c.fsync]
	if !ok {
		errs = append(errs, fmt.Errorf("--fsync %q: want always, everysec or never", c.fsync))
	}
	eviction, ok := map[string]slotmesh.Eviction{"auto": slotmesh.EvictAuto, "none": slotmesh.EvictNone}[c.eviction]
	if !ok {
		errs = append(errs, fmt.Errorf("--eviction %q: want auto or none", c.eviction))
	}
	policy, ok := map[string]slotmesh.PartitionPolicy{"available": slotmesh.Available, "majority": slotmesh.Majority}[c.policy]
	if !ok {
		errs = append(errs, fmt.Errorf("--partition %q: want available or majority", c.policy))
	}
	if fsync != slotmesh.FsyncEverySec && c.dataDir == "" {
		errs = append(errs, fmt.Errorf("--fsync %s needs --data-dir", c.fsync))
	}
	if c.respAdvertise != "" {
		host, port, err := net.SplitHostPort(c.respAdvertise)
		if n, badPort := strconv.ParseUint(port, 10, 16); err != nil || badPort != nil || n == 0 || host == "" || net.ParseIP(host).IsUnspecified() {
			errs = append(errs, fmt.Errorf("--resp-advertise %q: want a host:port that clients can reach", c.respAdvertise))
		}
	}
	if c.shutdownTimeout <= 0 {
		errs = append(errs, fmt.Errorf("--shutdown-timeout %v: want more than 0", c.shutdownTimeout))
	}
	switch {
	case c.stop != stopLeave && c.stop != stopRestart:
		errs = append(errs, fmt.Errorf("--stop %q: want leave or restart", c.stop))
	case c.stop == stopRestart && c.dataDir == "":
		errs = append(errs, errors.New("--stop restart needs --data-dir: what the node holds would be gone"))
	case c.stop == stopRestart && c.backups == 0:
		errs = append(errs, errors.New("--stop restart needs --backups: there is nobody to hand slots to"))
	}
	opts := []slotmesh.Option{
		slotmesh.WithName(c.name), slotmesh.WithCluster(c.cluster), slotmesh.WithAddr(c.addr), slotmesh.WithAdvertiseAddr(c.advertise),
		slotmesh.WithSeeds(c.join...), slotmesh.WithBootstrapExpect(c.expect),
		slotmesh.WithBackups(c.backups), slotmesh.WithMinBackups(c.minBackups), slotmesh.WithPartitionPolicy(policy),
		slotmesh.WithMaxMemory(int64(c.memory)), slotmesh.WithEviction(eviction),
		slotmesh.WithZone(c.zone), slotmesh.WithWeight(c.weight), slotmesh.WithRepairDelay(c.repairDelay), slotmesh.WithLogger(log),
	}
	if c.dataDir != "" {
		opts = append(opts, slotmesh.WithDataDir(c.dataDir), slotmesh.WithFsync(fsync))
		if c.name == "" {
			errs = append(errs, errors.New("--data-dir needs --name: a disk belongs to a name"))
		}
	}
	secured, err := c.tls.Options()
	if err != nil {
		errs = append(errs, err)
	}
	opts = append(opts, secured...)
	if c.secretFile != "" {
		keys, err := flags.Secrets(c.secretFile)
		if err != nil {
			errs = append(errs, err)
		}
		opts = append(opts, slotmesh.WithSecret(keys...))
	}
	return opts, errors.Join(errs...)
}

// flagged names flags in the place of the options that the library's errors name.
var flagged = strings.NewReplacer(
	"WithName", "--name", "WithCluster", "--cluster", "WithAddr", "--addr", "WithAdvertiseAddr", "--advertise",
	"WithSeeds", "--join", "WithBootstrapExpect", "--bootstrap-expect", "WithBackups", "--backups", "WithMinBackups", "--min-backups",
	"WithDataDir", "--data-dir", "WithMaxMemory", "--memory", "WithZone", "--zone", "WithWeight", "--weight",
	"WithRepairDelay", "--repair-delay", "WithSecret", "--secret-file", "WithTLS", "--tls-cert",
)

// logger writes to standard error, where nothing else goes.
func (c *config) logger() (*slog.Logger, error) {
	if c.logLevel == "off" {
		return slog.New(slog.DiscardHandler), nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn, error or off", c.logLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(c.logFormat) {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", c.logFormat)
}
