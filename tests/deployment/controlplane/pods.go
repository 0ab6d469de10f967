package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What the end of an image's tag makes of the container, or of the pod.
const (
	pullError     = "-pull-error"    // the image is not found
	crashLoop     = "-crash-loop"    // the container ends with exit code 1, again and again
	crashOne      = "-crash-one"     // likewise, but only in the first pod of each owner
	configError   = "-config-error"  // a Secret is missing
	slow          = "-slow"          // ready after two seconds
	neverReady    = "-never-ready"   // runs, and is never ready
	unschedulable = "-unschedulable" // no node has room
)

var faults = []string{pullError, crashLoop, crashOne, configError, slow, neverReady, unschedulable}

const (
	startTime   = 100 * time.Millisecond
	slowTime    = 2 * time.Second
	backOff     = time.Second
	mostCrashes = 5
)

// observation is the status that a pod should have by now.
type observation struct {
	status         corev1.PodStatus
	again          time.Duration // when it changes next; 0 for never
	event, message string        // reason and text of what is to be told of it, if anything
}

// trouble is what keeps a container from running.
type trouble struct {
	reason, why    string
	crashes        int32
	again          time.Duration
	event, message string
}

func faultOf(pod *corev1.Pod) string {
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, fault := range faults {
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
			found.event = "FailedScheduling"
		}
		return found
	}
	setCondition(status, corev1.PodScheduled, true, "", "")
	if status.StartTime == nil {
		now := metav1.Now()
		status.StartTime = &now
	}

	initialized := true
	status.InitContainerStatuses = nil
	for _, container := range pod.Spec.InitContainers {
		its := troubleOf(pod, container, fault, age)
		now := statusOf(container, its)
		if its.reason == "" {
			now.Ready = true
			now.State.Terminated = ended(now, 0, "Completed")
		} else {
			initialized = false
			found.tell(its)
		}
		status.InitContainerStatuses = append(status.InitContainerStatuses, known(pod.Status.InitContainerStatuses, now))
	}

	ready, started, crashed := initialized, false, false
	status.ContainerStatuses = nil
	for _, container := range pod.Spec.Containers {
		its := trouble{reason: "PodInitializing"}
		if initialized {
			its = troubleOf(pod, container, fault, age)
		}
		now := statusOf(container, its)
		if its.reason == "" {
			wait := readyAfter(container) - age
			if wait > 0 {
				found.again = wait
			}
			now.Ready = wait <= 0 && !strings.HasSuffix(container.Image, neverReady)
			now.Started = new(true)
			now.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.Now()}
			started = true
		} else {
			found.tell(its)
		}
		ready, crashed = ready && now.Ready, crashed || its.crashes > 0
		status.ContainerStatuses = append(status.ContainerStatuses, known(pod.Status.ContainerStatuses, now))
	}

	status.Phase = corev1.PodPending
	if started || crashed {
		status.Phase = corev1.PodRunning
	}
	why := ""
	if !ready {
		why = "ContainersNotReady"
	}
	setCondition(status, corev1.PodInitialized, initialized, "", "")
	setCondition(status, corev1.ContainersReady, ready, why, "")
	setCondition(status, corev1.PodReady, ready, why, "")
	return found
}

func (found *observation) tell(its trouble) {
	if its.again > 0 {
		found.again = its.again
	}
	if its.event != "" {
		found.event, found.message = its.event, its.message
	}
}

func readyAfter(container corev1.Container) time.Duration {
	if strings.HasSuffix(container.Image, slow) {
		return slowTime
	}
	return startTime
}

func troubleOf(pod *corev1.Pod, container corev1.Container, fault string, age time.Duration) trouble {
	if !strings.HasSuffix(container.Image, fault) {
		return trouble{}
	}
	switch fault {
	case pullError:
		why := fmt.Sprintf("failed to pull image %q: not found", container.Image)
		if age < backOff {
			return trouble{
				reason: "ErrImagePull", why: why, again: backOff - age,
				event: "Failed", message: fmt.Sprintf("Failed to pull image %q: not found", container.Image),
			}
		}
		pulling := fmt.Sprintf("Back-off pulling image %q", container.Image)
		return trouble{
			reason: "ImagePullBackOff", why: pulling + ": ErrImagePull: " + why, event: "BackOff", message: pulling,
		}
	case configError:
		why := `secret "missing" not found`
		return trouble{reason: "CreateContainerConfigError", why: why, event: "Failed", message: "Error: " + why}
	case crashLoop, crashOne:
		its := trouble{
			reason:  "CrashLoopBackOff",
			why:     fmt.Sprintf("back-off 1s restarting failed container=%s pod=%s_%s", container.Name, pod.Name, pod.Namespace),
			crashes: min(int32(age/backOff)+1, mostCrashes),
			event:   "BackOff",
			message: fmt.Sprintf("Back-off restarting failed container %s in pod %s", container.Name, pod.Name),
		}
		if its.crashes < mostCrashes {
			its.again = backOff - age%backOff
		}
		return its
	}
	return trouble{}
}

func statusOf(container corev1.Container, its trouble) corev1.ContainerStatus {
	status := corev1.ContainerStatus{Name: container.Name, Image: container.Image, RestartCount: its.crashes}
	if its.reason != "" {
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: its.reason, Message: its.why}
		status.Started = new(false)
	}
	if its.reason == "" || its.crashes > 0 {
		status.ImageID, status.ContainerID = "sha256:"+container.Image, "controlplane://"+container.Name
	}
	if its.crashes > 0 {
		status.LastTerminationState.Terminated = ended(status, 1, "Error")
	}
	return status
}

func ended(status corev1.ContainerStatus, code int32, reason string) *corev1.ContainerStateTerminated {
	now := metav1.Now()
	return &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: now, FinishedAt: now, ContainerID: status.ContainerID,
	}
}

// known returns the status from before, with its own times, where nothing else has changed.
func known(before []corev1.ContainerStatus, now corev1.ContainerStatus) corev1.ContainerStatus {
	for _, status := range before {
		if equality.Semantic.DeepEqual(timeless(status), timeless(now)) {
			return status
		}
	}
	return now
}

func timeless(status corev1.ContainerStatus) corev1.ContainerStatus {
	copied := *status.DeepCopy()
	for _, state := range []*corev1.ContainerState{&copied.State, &copied.LastTerminationState} {
		if state.Running != nil {
			state.Running.StartedAt = metav1.Time{}
		}
		if state.Terminated != nil {
			state.Terminated.StartedAt, state.Terminated.FinishedAt = metav1.Time{}, metav1.Time{}
		}
	}
	return copied
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
		if condition.Status != value {
			condition.LastTransitionTime = metav1.Now()
		}
		condition.Status, condition.Reason, condition.Message = value, reason, message
		return true
	}
	status.Conditions = append(status.Conditions, corev1.PodCondition{
		Type: kind, Status: value, Reason: reason, Message: message, LastTransitionTime: metav1.Now(),
	})
	return true
}
