package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	patience = 2 * time.Minute
	pause    = 50 * time.Millisecond
	lastLog  = 8000 // bytes, so that the reason is among them where a stack follows it
)

var errStopped = errors.New("told to stop")

// A component's parent-death signal comes when the thread that started it ends: so that is the main thread.
func init() { runtime.LockOSThread() }

type component struct {
	name      string
	arguments []string
	ready     func() error
	process   *exec.Cmd
	ended     chan struct{} // closed when the process has ended; nil where it was not to run
}

type cluster struct {
	dir        string
	server     string
	kubeconfig string
	auditLog   string
	components []*component
	commands   chan string   // lines of standard input
	stopping   chan struct{} // closed when all is to end: by a signal, or with standard input
}

// supervise runs a cluster until standard input ends. Its files are in dir, which it makes and in the end deletes.
//
// It prints one line of JSON when all is ready, and one for each command: "kill NAME" and "start NAME".
func supervise(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := newCluster(dir)
	if err != nil {
		return err
	}
	c.listen()
	defer c.stop()
	for _, part := range c.components {
		if err := c.start(part); errors.Is(err, errStopped) {
			return nil
		} else if err != nil {
			return err
		}
	}
	c.tell(nil)
	for {
		select {
		case <-c.stopping:
			return nil
		case command := <-c.commands:
			c.tell(c.obey(command))
		}
	}
}

func (c *cluster) listen() {
	c.commands, c.stopping = make(chan string), make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			c.commands <- lines.Text()
		}
	}()
	go func() {
		defer close(c.stopping)
		select {
		case <-signals:
		case <-ended:
		}
	}()
}

// start returns when the component is ready.
func (c *cluster) start(part *component) error {
	if part.runs() {
		return fmt.Errorf("%s runs already", part.name)
	}
	log, err := os.OpenFile(c.log(part), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// By this path it is found even when a newer build has taken its place.
	part.process = exec.Command("/proc/self/exe", append([]string{part.name}, part.arguments...)...)
	part.process.Args[0] = os.Args[0]
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
	for {
		// One may end only after it was ready, and the next then waits for it in vain.
		for _, each := range c.components {
			if each.ended != nil && !each.runs() {
				return fmt.Errorf("%s ended:\n%s", each.name, c.lastLines(each))
			}
		}
		err := part.ready()
		if err == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s is not ready after %v: %w", part.name, patience, err)
		}
		select {
		case <-c.stopping:
			return errStopped
		case <-time.After(pause):
		}
	}
}

func (c *cluster) log(part *component) string { return filepath.Join(c.dir, part.name+".log") }

func (c *cluster) lastLines(part *component) string {
	content, err := os.ReadFile(c.log(part))
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

func (part *component) runs() bool {
	if part.ended == nil {
		return false
	}
	select {
	case <-part.ended:
		return false
	default:
		return true
	}
}

func (part *component) kill() {
	if part.runs() {
		_ = part.process.Process.Kill() // it may have ended meanwhile
		<-part.ended
	}
	part.ended = nil
}

func (c *cluster) stop() {
	for index := len(c.components) - 1; index >= 0; index-- {
		c.components[index].kill()
	}
}

func (c *cluster) tell(err error) {
	pids := map[string]int{}
	for _, part := range c.components {
		if part.runs() {
			pids[part.name] = part.process.Process.Pid
		}
	}
	told := map[string]any{"kubeconfig": c.kubeconfig, "server": c.server, "audit_log": c.auditLog, "pids": pids}
	if err != nil {
		told["error"] = err.Error()
	}
	line, _ := json.Marshal(told) // strings and numbers
	_, _ = io.WriteString(os.Stdout, string(line)+"\n")
}
