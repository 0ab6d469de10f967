package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// serveLogs is the part of the kubelet's API that "kubectl logs" needs.
func (k *kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	pod, err := k.pods.Pods(r.PathValue("namespace")).Get(r.PathValue("pod"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	lines, err := logLines(pod, r.PathValue("container"), r.URL.Query().Get("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if tail, err := strconv.Atoi(r.URL.Query().Get("tailLines")); err == nil && tail < len(lines) {
		lines = lines[len(lines)-tail:]
	}
	for _, line := range lines {
		if r.URL.Query().Get("timestamps") == "true" {
			line = pod.CreationTimestamp.UTC().Format(time.RFC3339Nano) + " " + line
		}
		fmt.Fprintln(w, line)
	}
	if r.URL.Query().Get("follow") != "true" {
		return
	}
	_ = http.NewResponseController(w).Flush() // who has left needs nothing
	for {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(pause):
			if _, err := k.pods.Pods(pod.Namespace).Get(pod.Name); err != nil {
				return
			}
		}
	}
}

func logLines(pod *corev1.Pod, name string, previous bool) ([]string, error) {
	var status corev1.ContainerStatus
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.Name == name {
			status = s
		}
	}
	if status.ContainerID == "" {
		return nil, fmt.Errorf("container %q in pod %q is waiting to start", name, pod.Name)
	}
	if previous && status.RestartCount == 0 {
		return nil, fmt.Errorf("previous terminated container %q in pod %q not found", name, pod.Name)
	}
	lines := []string{"starting " + status.Image}
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, variable := range container.Env {
			if container.Name == name && variable.Value != "" {
				lines = append(lines, variable.Name+"="+variable.Value)
			}
		}
	}
	if status.RestartCount > 0 {
		return append(lines, "panic: bad configuration"), nil
	}
	return append(lines, "serving"), nil
}
