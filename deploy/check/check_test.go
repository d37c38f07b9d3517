package check

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// manifest is what one file holds.
type manifest struct {
	services []corev1.Service
	budgets  []policyv1.PodDisruptionBudget
	policies []networkingv1.NetworkPolicy
	pods     corev1.PodTemplateSpec
	selector *metav1.LabelSelector
	replicas *int32
	claims   []corev1.PersistentVolumeClaim
	headless string // the StatefulSet's serviceName
}

// read decodes a file. A field that Kubernetes does not know is an error.
func read(t *testing.T, file string) *manifest {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := new(manifest)
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		m.add(t, doc)
	}
}

func (m *manifest) add(t *testing.T, doc []byte) {
	t.Helper()
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		t.Fatal(err)
	}
	strict := func(v any) {
		t.Helper()
		if err := yaml.UnmarshalStrict(doc, v); err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "v1 Service":
		var s corev1.Service
		strict(&s)
		m.services = append(m.services, s)
	case "policy/v1 PodDisruptionBudget":
		var b policyv1.PodDisruptionBudget
		strict(&b)
		m.budgets = append(m.budgets, b)
	case "networking.k8s.io/v1 NetworkPolicy":
		var p networkingv1.NetworkPolicy
		strict(&p)
		m.policies = append(m.policies, p)
	case "apps/v1 StatefulSet":
		var s appsv1.StatefulSet
		strict(&s)
		m.pods, m.selector, m.replicas, m.claims, m.headless = s.Spec.Template, s.Spec.Selector, s.Spec.Replicas, s.Spec.VolumeClaimTemplates, s.Spec.ServiceName
	case "apps/v1 Deployment":
		var d appsv1.Deployment
		strict(&d)
		m.pods, m.selector, m.replicas = d.Spec.Template, d.Spec.Selector, d.Spec.Replicas
	default:
		t.Errorf("a document of kind %q, which nobody checks", kind.APIVersion+" "+kind.Kind)
	}
}

var manifests = []string{"../kubernetes/statefulset.yaml", "../kubernetes/deployment.yaml"}

func TestKubernetesManifests(t *testing.T) {
	known := flagsOfDaemon(t)
	for _, file := range manifests {
		t.Run(filepath.Base(file), func(t *testing.T) {
			m := read(t, file)
			if len(m.pods.Spec.Containers) != 1 || len(m.services) == 0 || len(m.budgets) != 1 {
				t.Fatalf("%d containers, %d services, %d budgets", len(m.pods.Spec.Containers), len(m.services), len(m.budgets))
			}
			m.checkSelectors(t)
			m.checkPorts(t)
			m.checkEnvironment(t, known)
			m.checkTimes(t)
			m.checkVolumes(t)
		})
	}
}

// checkSelectors: whoever selects pods selects these.
func (m *manifest) checkSelectors(t *testing.T) {
	pods := labels.Set(m.pods.Labels)
	selects := func(what string, s *metav1.LabelSelector) {
		sel, err := metav1.LabelSelectorAsSelector(s)
		if err != nil || sel.Empty() || !sel.Matches(pods) {
			t.Errorf("%s selects %v (%v), and the pods have %v", what, s, err, pods)
		}
	}
	selects("the workload", m.selector)
	for _, b := range m.budgets {
		selects("the disruption budget", b.Spec.Selector)
		if n := b.Spec.MaxUnavailable; n == nil || n.IntValue() != 1 {
			t.Errorf("the disruption budget lets %v go at once, want 1", n)
		}
	}
	for _, p := range m.policies {
		selects("the network policy", &p.Spec.PodSelector)
	}
	for _, c := range m.pods.Spec.TopologySpreadConstraints {
		selects("a spread constraint", c.LabelSelector)
	}
	headless := ""
	for _, s := range m.services {
		if !labels.SelectorFromSet(s.Spec.Selector).Matches(pods) || len(s.Spec.Selector) == 0 {
			t.Errorf("service %s selects %v, and the pods have %v", s.Name, s.Spec.Selector, pods)
		}
		if s.Spec.ClusterIP == corev1.ClusterIPNone {
			headless = s.Name
			if !s.Spec.PublishNotReadyAddresses {
				t.Errorf("service %s lists ready pods only: then none ever is", s.Name)
			}
		}
	}
	if headless == "" || m.headless != "" && m.headless != headless || m.env("SLOTMESH_JOIN") != headless+":7946" {
		t.Errorf("pods join %q, the headless service is %q and that of the workload %q", m.env("SLOTMESH_JOIN"), headless, m.headless)
	}
}

func (m *manifest) env(name string) string {
	for _, e := range m.pods.Spec.Containers[0].Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// checkPorts: whoever names a port of the container names one there is.
func (m *manifest) checkPorts(t *testing.T) {
	c := &m.pods.Spec.Containers[0]
	ports := map[string]corev1.ContainerPort{}
	for _, p := range c.Ports {
		ports[p.Name] = p
	}
	for _, s := range m.services {
		for _, p := range s.Spec.Ports {
			if to, ok := ports[p.TargetPort.String()]; !ok || to.Protocol != p.Protocol {
				t.Errorf("service %s: port %s leads to %s %s, which is not there", s.Name, p.Name, p.TargetPort.String(), p.Protocol)
			}
		}
	}
	for _, get := range []*corev1.HTTPGetAction{c.StartupProbe.HTTPGet, c.LivenessProbe.HTTPGet, c.ReadinessProbe.HTTPGet, c.Lifecycle.PreStop.HTTPGet} {
		if _, ok := ports[get.Port.String()]; !ok {
			t.Errorf("%s asks port %s, which is not there", get.Path, get.Port.String())
		}
		path, _, _ := strings.Cut(get.Path, "?")
		if !slices.Contains([]string{"/healthz", "/readyz", "/safez"}, path) {
			t.Errorf("%s is none of what slotmeshd answers", get.Path)
		}
	}
}

// checkEnvironment: every variable is one that slotmeshd reads.
func (m *manifest) checkEnvironment(t *testing.T, known []string) {
	for _, e := range m.pods.Spec.Containers[0].Env {
		if strings.HasPrefix(e.Name, "SLOTMESH_") && !slices.Contains(known, e.Name) {
			t.Errorf("slotmeshd reads no %s", e.Name)
		}
	}
	if links := m.pods.Spec.EnableServiceLinks; links == nil || *links {
		t.Error("service links put variables of other meaning beside ours")
	}
	if m.replicas == nil || m.env("SLOTMESH_BOOTSTRAP_EXPECT") != "3" || *m.replicas != 3 {
		t.Errorf("%v replicas and %s expected: want the same", m.replicas, m.env("SLOTMESH_BOOTSTRAP_EXPECT"))
	}
}

// checkTimes: what happens between SIGTERM and SIGKILL fits in.
func (m *manifest) checkTimes(t *testing.T) {
	handOver, err := time.ParseDuration(m.env("SLOTMESH_SHUTDOWN_TIMEOUT"))
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(m.pods.Spec.Containers[0].Lifecycle.PreStop.HTTPGet.Path, "wait=")
	wait, err := time.ParseDuration(query)
	if err != nil {
		t.Fatal(err)
	}
	grace := time.Duration(*m.pods.Spec.TerminationGracePeriodSeconds) * time.Second
	if grace < wait+handOver+5*time.Second {
		t.Errorf("grace period %v, want more than the %v of preStop and the %v of the hand-over", grace, wait, handOver)
	}
}

// checkVolumes: every mount has its volume, and the files are where they are
// looked for.
func (m *manifest) checkVolumes(t *testing.T) {
	have := map[string]bool{}
	for _, v := range m.pods.Spec.Volumes {
		have[v.Name] = true
	}
	for _, c := range m.claims {
		have[c.Name] = true
	}
	under := func(file string) bool {
		return slices.ContainsFunc(m.pods.Spec.Containers[0].VolumeMounts, func(v corev1.VolumeMount) bool {
			return strings.HasPrefix(file, v.MountPath+"/")
		})
	}
	for _, v := range m.pods.Spec.Containers[0].VolumeMounts {
		if !have[v.Name] {
			t.Errorf("%s is mounted and is no volume", v.Name)
		}
	}
	for _, name := range []string{"SLOTMESH_DATA_DIR", "SLOTMESH_SECRET_FILE"} {
		if file := m.env(name); file != "" && !under(file) {
			t.Errorf("%s is %s, where nothing is mounted", name, file)
		}
	}
}

// TestComposeFile loads the file as docker compose does.
func TestComposeFile(t *testing.T) {
	o, err := cli.NewProjectOptions([]string{"../docker-compose.yml"})
	if err != nil {
		t.Fatal(err)
	}
	project, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known := flagsOfDaemon(t)
	for _, s := range project.Services {
		for name := range s.Environment {
			if strings.HasPrefix(name, "SLOTMESH_") && !slices.Contains(known, name) {
				t.Errorf("%s: slotmeshd reads no %s", s.Name, name)
			}
		}
		if name := s.Environment["SLOTMESH_NAME"]; name == nil || *name != s.Name {
			t.Errorf("%s has another SLOTMESH_NAME", s.Name)
		}
		if s.Build == nil || s.Build.Dockerfile == "" {
			t.Errorf("%s is not built", s.Name)
		} else if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	if len(project.Services) != 3 {
		t.Errorf("%d services, want 3", len(project.Services))
	}
}

// TestDockerfileCopiesWhatIsThere: there is no engine to build it with, so at
// least its parts are there, and those of the programs without cgo.
func TestDockerfileCopiesWhatIsThere(t *testing.T) {
	b, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	stages, copied := 0, 0
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		switch {
		case len(words) > 1 && words[0] == "FROM":
			stages++
		case len(words) > 2 && words[0] == "COPY" && !strings.HasPrefix(words[1], "--"):
			for _, file := range words[1 : len(words)-1] {
				if _, err := os.Stat(filepath.Join("../..", file)); err != nil {
					t.Errorf("%s: %v", strings.TrimSpace(line), err)
				}
				if slices.Contains(strings.Fields(string(ignored)), strings.Split(file, "/")[0]) {
					t.Errorf("%s: .dockerignore leaves it out", strings.TrimSpace(line))
				}
				copied++
			}
		}
	}
	if stages != 2 || copied < 4 {
		t.Errorf("%d stages and %d files copied, want 2 and at least 4", stages, copied)
	}
	// Building all of it anew without cgo takes minutes; what is missing shows.
	cmd := exec.Command("go", "list", "-deps", "./slotmeshd", "./slotmesh")
	cmd.Dir, cmd.Env = "../../cmd", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", cmd.Args, err, out)
	}
}

var announced = regexp.MustCompile(`\[\$(SLOTMESH_[A-Z_]+)\]`)

// flagsOfDaemon asks slotmeshd which variables it reads.
func flagsOfDaemon(t *testing.T) (names []string) {
	t.Helper()
	out, err := help()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range announced.FindAllStringSubmatch(out, -1) {
		names = append(names, m[1])
	}
	if len(names) < 10 {
		t.Fatalf("slotmeshd --help names %v", names)
	}
	return names
}

var help = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "run", "./slotmeshd", "--help")
	cmd.Dir = "../../cmd"
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("slotmeshd --help: %w\n%s", err, errOut.String())
	}
	return out.String(), nil
})
