package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listersv1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

const nodeName = "node-1"

// kubelet stands in for all kubelets and the scheduler: it binds pods to its one node, says of them what
// their images' tags say, ends them when they are deleted, and serves their logs.
type kubelet struct {
	client *kubernetes.Clientset
	pods   listersv1.PodLister
	queue  workqueue.TypedRateLimitingInterface[string]

	mutex     sync.Mutex
	addresses uint16
	began     map[types.UID]time.Time
	chosen    map[types.UID]types.UID // of each owner the pod that crashes, where only one is to
}

// runKubelet runs the loop; arguments: kubeconfig, certificate, key, port of the logs.
func runKubelet(arguments []string) error {
	port, err := strconv.Atoi(arguments[3])
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", arguments[0])
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 500, 1000
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(config, "kubelet"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	factory := informers.NewSharedInformerFactory(client, 0)
	k := &kubelet{
		client: client,
		pods:   factory.Core().V1().Pods().Lister(),
		// It tries again soon after the API server was away.
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](5*time.Millisecond, time.Second),
		),
		began:  map[types.UID]time.Time{},
		chosen: map[types.UID]types.UID{},
	}
	enqueue := func(object any) {
		if key, err := cache.MetaNamespaceKeyFunc(object); err == nil {
			k.queue.Add(key)
		}
	}
	_, err = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, object any) { enqueue(object) },
	})
	if err != nil {
		return err
	}
	if err := k.register(ctx, int32(port)); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for range 4 {
		go k.work(ctx)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	return http.ListenAndServeTLS(fmt.Sprintf("127.0.0.1:%d", port), arguments[1], arguments[2], mux)
}

func (k *kubelet) register(ctx context.Context, port int32) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{"kubernetes.io/hostname": nodeName}}}
	node, err := k.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	node.Status = corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
	}
	if node, err = k.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		return err
	}
	node.Spec.Taints = nil // a new node has one, that it is not ready, which keeps a DaemonSet's pods away
	_, err = k.client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
	return err
}

func (k *kubelet) work(ctx context.Context) {
	for {
		key, _ := k.queue.Get()
		again, err := k.sync(ctx, key)
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			k.queue.AddRateLimited(key)
		case again > 0:
			k.queue.Forget(key)
			k.queue.AddAfter(key, again)
		default:
			k.queue.Forget(key)
		}
		k.queue.Done(key)
	}
}

// sync does what is due for one pod, and says when to look at it again.
func (k *kubelet) sync(ctx context.Context, key string) (time.Duration, error) {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return 0, err
	}
	pod, err := k.pods.Pods(namespace).Get(name)
	if err != nil {
		return 0, err
	}
	pods := k.client.CoreV1().Pods(namespace)
	if pod.DeletionTimestamp != nil {
		none := int64(0)
		return 0, pods.Delete(ctx, name, metav1.DeleteOptions{
			GracePeriodSeconds: &none, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
		})
	}
	fault := faultOf(pod)
	if pod.Spec.NodeName == "" && fault != unschedulable {
		binding := &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: nodeName},
		}
		return 0, pods.Bind(ctx, binding, metav1.CreateOptions{}) // the update brings it here again
	}
	if fault == crashOne && !k.choose(pod) {
		fault = ""
	}
	found := observe(pod, fault, k.age(pod))
	if found.status.PodIP == "" && found.status.StartTime != nil {
		ip := k.address()
		found.status.PodIP, found.status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	}
	if equality.Semantic.DeepEqual(found.status, pod.Status) {
		return found.again, nil
	}
	updated := pod.DeepCopy()
	updated.Status = found.status
	if _, err := pods.UpdateStatus(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return 0, err
	}
	if found.event != "" {
		return found.again, k.record(ctx, pod, found.event, found.message)
	}
	return found.again, nil
}

// age is measured from when the pod was first seen, since a pod's own times are whole seconds; only of a pod
// from before this kubelet's start is that all there is.
func (k *kubelet) age(pod *corev1.Pod) time.Duration {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if _, known := k.began[pod.UID]; !known {
		k.began[pod.UID] = time.Now()
		if pod.Status.StartTime != nil {
			k.began[pod.UID] = pod.Status.StartTime.Time
		}
	}
	return time.Since(k.began[pod.UID])
}

// address is another one for each pod; nothing answers there.
func (k *kubelet) address() string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.addresses++
	return netip.AddrFrom4([4]byte{10, 1, byte(k.addresses >> 8), byte(k.addresses)}).String()
}

func (k *kubelet) choose(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return true
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if _, known := k.chosen[owner.UID]; !known {
		k.chosen[owner.UID] = pod.UID
	}
	return k.chosen[owner.UID] == pod.UID
}

func (k *kubelet) record(ctx context.Context, pod *corev1.Pod, reason, message string) error {
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: pod.Name + ".", Namespace: pod.Namespace},
		InvolvedObject: corev1.ObjectReference{
			Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		},
		Type: corev1.EventTypeWarning, Reason: reason, Message: message, Count: 1,
		FirstTimestamp: now, LastTimestamp: now, Source: corev1.EventSource{Component: "kubelet", Host: nodeName},
	}
	_, err := k.client.CoreV1().Events(pod.Namespace).Create(ctx, event, metav1.CreateOptions{})
	return err
}
