package main

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What the end of an image's tag makes of the pod.
const (
	pullError     = "-pull-error"    // the image is not found
	crashLoop     = "-crash-loop"    // the container ends with exit code 1, again and again
	crashOne      = "-crash-one"     // likewise, but only in the first pod of each owner
	configError   = "-config-error"  // a Secret is missing
	slow          = "-slow"          // ready after two seconds
	neverReady    = "-never-ready"   // runs, and is never ready
	unschedulable = "-unschedulable" // no node has room
)

const (
	startTime   = 100 * time.Millisecond
	slowTime    = 2 * time.Second
	crashPeriod = time.Second
	mostCrashes = 5
)

// observation is the status that a pod should have by now.
type observation struct {
	status          corev1.PodStatus
	again           time.Duration // when it changes next; 0 for never
	reason, message string        // of the event that tells of it, if any
}

func faultOf(pod *corev1.Pod) string {
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		for _, fault := range []string{pullError, crashLoop, crashOne, configError, slow, neverReady, unschedulable} {
			if strings.HasSuffix(container.Image, fault) {
				return fault
			}
		}
	}
	return ""
}

func observe(pod *corev1.Pod, fault string, age time.Duration) observation {
	found := observation{status: *pod.Status.DeepCopy()}
	status := &found.status
	if fault == unschedulable {
		status.Phase = corev1.PodPending
		found.message = "0/1 nodes are available: 1 Insufficient cpu."
		if setCondition(status, corev1.PodScheduled, false, "Unschedulable", found.message) {
			found.reason = "FailedScheduling"
		}
		return found
	}
	setCondition(status, corev1.PodScheduled, true, "", "")
	if status.StartTime == nil {
		now := metav1.Now()
		status.StartTime = &now
	}
	var doomed corev1.ContainerState
	restarts := int32(0)
	switch fault {
	case pullError:
		found.reason, found.message = "ErrImagePull", "image not found"
		if age >= crashPeriod {
			found.reason, found.message = "ImagePullBackOff", "Back-off pulling image: ErrImagePull: image not found"
		} else {
			found.again = crashPeriod - age
		}
	case configError:
		found.reason, found.message = "CreateContainerConfigError", `secret "missing" not found`
	case crashLoop, crashOne:
		restarts = min(int32(age/crashPeriod)+1, mostCrashes)
		found.reason, found.message = "CrashLoopBackOff", "back-off restarting failed container"
		if restarts < mostCrashes {
			found.again = crashPeriod - age%crashPeriod
		}
	}
	if found.reason != "" {
		doomed.Waiting = &corev1.ContainerStateWaiting{Reason: found.reason, Message: found.message}
	}
	readyAfter := startTime
	if fault == slow {
		readyAfter = slowTime
	}
	ready := doomed.Waiting == nil && fault != neverReady && age >= readyAfter
	if doomed.Waiting == nil && fault != neverReady && !ready {
		found.again = readyAfter - age
	}
	var initialized bool
	status.InitContainerStatuses, initialized = statuses(pod.Spec.InitContainers, status.InitContainerStatuses, doomed, restarts, true, true)
	ready = ready && initialized
	if !initialized {
		doomed.Waiting = &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
	}
	status.ContainerStatuses, _ = statuses(pod.Spec.Containers, status.ContainerStatuses, doomed, restarts, ready, false)
	status.Phase = corev1.PodRunning
	if !initialized || (doomed.Waiting != nil && restarts == 0) {
		status.Phase = corev1.PodPending
	}
	setCondition(status, corev1.PodInitialized, initialized, "", "")
	setCondition(status, corev1.ContainersReady, ready, "", "")
	setCondition(status, corev1.PodReady, ready, "", "")
	return found
}

// statuses says of each container what its own image says; the second result is whether all are well.
func statuses(
	containers []corev1.Container, before []corev1.ContainerStatus, doomed corev1.ContainerState, restarts int32, ready, initial bool,
) ([]corev1.ContainerStatus, bool) {
	known := map[string]corev1.ContainerStatus{}
	for _, status := range before {
		known[status.Name] = status
	}
	var found []corev1.ContainerStatus
	well := true
	for _, container := range containers {
		now := metav1.NewTime(time.Now().Truncate(time.Second))
		status := corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: "sha256:" + container.Image,
			ContainerID: "controlplane://" + container.Name, Ready: ready,
		}
		waiting := doomed.Waiting != nil && (doomed.Waiting.Reason == "PodInitializing" || doomedByImage(container.Image))
		switch {
		case waiting:
			well, status.Ready, status.State = false, false, doomed
			if restarts > 0 && doomedByImage(container.Image) {
				status.RestartCount = restarts
				status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
					ExitCode: 1, Reason: "Error", StartedAt: now, FinishedAt: now, ContainerID: status.ContainerID,
				}
			}
		case initial:
			status.State.Terminated = &corev1.ContainerStateTerminated{
				Reason: "Completed", StartedAt: now, FinishedAt: now, ContainerID: status.ContainerID,
			}
		default:
			status.Started = &ready
			status.State.Running = &corev1.ContainerStateRunning{StartedAt: now}
		}
		if same(known[container.Name], status) {
			status = known[container.Name] // with its own times
		}
		found = append(found, status)
	}
	return found, well
}

func doomedByImage(image string) bool {
	for _, fault := range []string{pullError, crashLoop, crashOne, configError} {
		if strings.HasSuffix(image, fault) {
			return true
		}
	}
	return false
}

func same(a, b corev1.ContainerStatus) bool {
	return outline(a) == outline(b)
}

func outline(status corev1.ContainerStatus) string {
	waiting := ""
	if status.State.Waiting != nil {
		waiting = status.State.Waiting.Reason
	}
	return fmt.Sprint(
		status.Name, status.Image, status.Ready, status.RestartCount, waiting,
		status.State.Running != nil, status.State.Terminated != nil, status.Started != nil && *status.Started,
	)
}

// setCondition says whether it changed anything.
func setCondition(status *corev1.PodStatus, kind corev1.PodConditionType, holds bool, reason, message string) bool {
	value := corev1.ConditionFalse
	if holds {
		value = corev1.ConditionTrue
	}
	for index := range status.Conditions {
		condition := &status.Conditions[index]
		if condition.Type != kind {
			continue
		}
		if condition.Status == value && condition.Reason == reason {
			return false
		}
		condition.Status, condition.Reason, condition.Message = value, reason, message
		condition.LastTransitionTime = metav1.Now()
		return true
	}
	status.Conditions = append(status.Conditions, corev1.PodCondition{
		Type: kind, Status: value, Reason: reason, Message: message, LastTransitionTime: metav1.Now(),
	})
	return true
}
