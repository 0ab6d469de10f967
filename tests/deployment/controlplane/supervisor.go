package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	etcdName      = "etcd"
	apiserverName = "apiserver"
	managerName   = "controller-manager"
	kubeletName   = "kubelet"

	patience = 2 * time.Minute
	pause    = 50 * time.Millisecond
	lastLog  = 2000

	auditPolicy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"
	controllers = "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller," +
		"garbage-collector-controller,namespace-controller,disruption-controller,endpointslice-controller," +
		"horizontal-pod-autoscaler-controller,resourcequota-controller"
)

// A component's parent-death signal comes when the thread that started it ends: so that is the main thread.
func init() { runtime.LockOSThread() }

type component struct {
	name      string
	arguments []string
	ready     func() error
	process   *exec.Cmd
	ended     chan struct{}
}

type cluster struct {
	dir        string
	server     string
	kubeconfig string
	components []*component
	client     *kubernetes.Clientset
}

// supervise runs a cluster whose files are in dir until standard input ends.
//
// It prints one line of JSON when all is ready, and one for each command: "kill NAME" and "start NAME".
func supervise(dir string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	c, err := newCluster(dir)
	if err != nil {
		return err
	}
	defer c.stop()
	for _, part := range c.components {
		if err := c.start(part); err != nil {
			return err
		}
	}
	c.tell(nil)
	commands := make(chan string)
	go func() {
		defer close(commands)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			commands <- lines.Text()
		}
	}()
	for {
		select {
		case <-signals:
			return nil
		case command, more := <-commands:
			if !more {
				return nil
			}
			c.tell(c.obey(command))
		}
	}
}

func newCluster(dir string) (*cluster, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	a, err := newAuthority(dir)
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, server: fmt.Sprintf("https://127.0.0.1:%d", ports[2])}
	for _, name := range []string{"server", "kubelet"} {
		if err := a.issueServer(name); err != nil {
			return nil, err
		}
	}
	if c.kubeconfig, err = a.issueClient("admin", "system:masters", c.server); err != nil {
		return nil, err
	}
	if _, _, err = a.issue("service-account", &x509.Certificate{}); err != nil {
		return nil, err
	}
	if err := os.WriteFile(a.file("audit.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return nil, err
	}
	if c.client, err = kubernetes.NewForConfig(rest.AddUserAgent(config, "controlplane")); err != nil {
		return nil, err
	}
	store := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	c.components = []*component{
		{
			name:      etcdName,
			arguments: []string{a.file("etcd"), store, fmt.Sprintf("http://127.0.0.1:%d", ports[1])},
			ready:     func() error { return dial(ports[0]) },
		},
		{
			name: apiserverName,
			arguments: []string{
				"--etcd-servers=" + store,
				"--bind-address=127.0.0.1",
				fmt.Sprintf("--secure-port=%d", ports[2]),
				"--tls-cert-file=" + a.file("server.crt"),
				"--tls-private-key-file=" + a.file("server.key"),
				"--client-ca-file=" + a.file("ca.crt"),
				"--authorization-mode=RBAC",
				"--service-cluster-ip-range=10.0.0.0/24",
				"--service-account-issuer=https://controlplane.example",
				"--service-account-key-file=" + a.file("service-account.key"),
				"--service-account-signing-key-file=" + a.file("service-account.key"),
				"--disable-admission-plugins=ServiceAccount",
				"--endpoint-reconciler-type=none",
				"--kubelet-client-certificate=" + a.file("admin.crt"),
				"--kubelet-client-key=" + a.file("admin.key"),
				"--kubelet-certificate-authority=" + a.file("ca.crt"),
				"--allow-privileged",
				"--profiling=false",
				"--audit-policy-file=" + a.file("audit.yaml"),
				"--audit-log-path=" + a.file("audit.log"),
				"--audit-log-mode=blocking",
			},
			ready: func() error {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
			},
		},
		{
			name: managerName,
			arguments: []string{
				"--kubeconfig=" + c.kubeconfig,
				"--leader-elect=false",
				"--controllers=" + controllers,
				"--secure-port=0",
				"--kube-api-qps=500",
				"--kube-api-burst=1000",
				"--profiling=false",
			},
		},
		{
			name: kubeletName,
			arguments: []string{
				c.kubeconfig, a.file("kubelet.crt"), a.file("kubelet.key"), fmt.Sprint(ports[3]),
			},
			ready: func() error { return dial(ports[3]) },
		},
	}
	return c, nil
}

func (c *cluster) start(part *component) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.dir, part.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	part.process = exec.Command(executable, append([]string{part.name}, part.arguments...)...)
	part.process.Stdout, part.process.Stderr = log, log
	part.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := part.process.Start(); err != nil {
		return err
	}
	part.ended = make(chan struct{})
	go func(process *exec.Cmd, ended chan struct{}) {
		_ = process.Wait() // what it ended with is in its log
		close(ended)
	}(part.process, part.ended)
	return c.await(part)
}

func (c *cluster) await(part *component) error {
	until := time.Now().Add(patience)
	for part.ready != nil {
		err := part.ready()
		if err == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s is not ready after %v: %w", part.name, patience, err)
		}
		select {
		case <-part.ended:
			return fmt.Errorf("%s ended:\n%s", part.name, c.lastLines(part.name))
		case <-time.After(pause):
		}
	}
	return nil
}

func (c *cluster) lastLines(name string) string {
	content, err := os.ReadFile(filepath.Join(c.dir, name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-lastLog):])
}

func (c *cluster) obey(command string) error {
	verb, name, _ := strings.Cut(command, " ")
	for _, part := range c.components {
		if part.name != name {
			continue
		}
		switch verb {
		case "kill":
			part.kill()
			return nil
		case "start":
			return c.start(part)
		}
	}
	return fmt.Errorf("no such command: %q", command)
}

func (part *component) kill() {
	if part.process != nil && part.process.Process != nil {
		_ = part.process.Process.Kill() // it may have ended already
		<-part.ended
	}
}

func (c *cluster) stop() {
	for index := len(c.components) - 1; index >= 0; index-- {
		c.components[index].kill()
	}
}

func (c *cluster) tell(err error) {
	pids := map[string]int{}
	for _, part := range c.components {
		pids[part.name] = part.process.Process.Pid
	}
	told := map[string]any{
		"kubeconfig": c.kubeconfig,
		"server":     c.server,
		"audit_log":  filepath.Join(c.dir, "audit.log"),
		"pids":       pids,
	}
	if err != nil {
		told["error"] = err.Error()
	}
	line, _ := json.Marshal(told) // strings and numbers
	_, _ = io.WriteString(os.Stdout, string(line)+"\n")
}

func freePorts(count int) ([]int, error) {
	ports := make([]int, count)
	for index := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // all at the end, so that they differ
		ports[index] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func dial(port int) error {
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err == nil {
		connection.Close()
	}
	return err
}
