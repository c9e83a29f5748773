package cni

import (
	"fmt"
	"sync"

	"github.com/containernetworking/cni/pkg/types"
	"go.uber.org/zap"

	"galaxy/plugins"
)

// guard keeps what is wrong with one container from ending the agent.
type guard struct {
	log    *zap.Logger
	logged sync.Map // what was logged, so that it is logged once
}

// do does something for a container. A panic in it is an error, and is logged with the container and the stack.
func (g *guard) do(containerID string, work func() error) (err error) {
	defer func() {
		reason := recover()
		if reason == nil {
			return
		}
		err = plugins.Errorf(types.ErrInternal, "panic: %v; the log of the galaxy agent has the stack", reason)
		if _, logged := g.logged.LoadOrStore(fmt.Sprint(containerID, " ", reason), true); !logged {
			g.log.Error("the agent panicked over a container, and goes on with the others",
				zap.String("container", containerID),
				zap.Any("panic", reason), zap.Stack("stack"))
		}
	}()
	return work()
}
