package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
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

	auditPolicy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"
)

var controllers = []string{
	"deployment-controller",
	"replicaset-controller",
	"statefulset-controller",
	"daemonset-controller",
	"garbage-collector-controller",
	"namespace-controller",
	"disruption-controller",
	"endpointslice-controller",
	"horizontal-pod-autoscaler-controller",
	"resourcequota-controller",
}

// newCluster makes what the components need in dir: certificates, kubeconfig, ports; and says how each starts.
func newCluster(dir string) (*cluster, error) {
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	storePort, peerPort, serverPort, managerPort, kubeletPort := ports[0], ports[1], ports[2], ports[3], ports[4]
	a, err := newAuthority(dir)
	if err != nil {
		return nil, err
	}
	c := &cluster{
		dir:      dir,
		server:   fmt.Sprintf("https://127.0.0.1:%d", serverPort),
		auditLog: a.file("audit.log"),
	}
	for _, name := range []string{"server", kubeletName} {
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
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(config, "controlplane"))
	if err != nil {
		return nil, err
	}
	store := fmt.Sprintf("http://127.0.0.1:%d", storePort)
	c.components = []*component{
		{
			name:      etcdName,
			arguments: []string{a.file("etcd"), store, fmt.Sprintf("http://127.0.0.1:%d", peerPort)},
			ready:     func() error { return dial(storePort) },
		},
		{
			name: apiserverName,
			arguments: []string{
				"--etcd-servers=" + store,
				"--bind-address=127.0.0.1",
				fmt.Sprintf("--secure-port=%d", serverPort),
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
				"--enable-priority-and-fairness=false",
				"--profiling=false",
				"--audit-policy-file=" + a.file("audit.yaml"),
				"--audit-log-path=" + c.auditLog,
				"--audit-log-mode=blocking",
			},
			ready: func() error {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
			},
		},
		{
			name: managerName,
			arguments: []string{
				"--kubeconfig=" + c.kubeconfig,
				"--leader-elect=false",
				"--controllers=" + strings.Join(controllers, ","),
				"--bind-address=127.0.0.1",
				fmt.Sprintf("--secure-port=%d", managerPort),
				"--tls-cert-file=" + a.file("server.crt"),
				"--tls-private-key-file=" + a.file("server.key"),
				"--kube-api-qps=500",
				"--kube-api-burst=1000",
				"--profiling=false",
			},
			ready: func() error { return dial(managerPort) },
		},
		{
			name: kubeletName,
			arguments: []string{
				c.kubeconfig, a.file("kubelet.crt"), a.file("kubelet.key"), fmt.Sprint(kubeletPort),
			},
			ready: func() error { return dial(kubeletPort) },
		},
	}
	return c, nil
}

// freePorts finds ports below those that the system gives to outgoing connections: one of these could take
// a component's port while the component is down, even the very connection that tries to reach it.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range 1000 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		defer listener.Close() // all at the end, so that they differ
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
		if len(ports) == count {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports between 10000 and 30000")
}

func dial(port int) error {
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err == nil {
		connection.Close()
	}
	return err
}
