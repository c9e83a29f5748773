package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

//go:embed story
var story embed.FS

// printStory plays the story. Whatever does not come true is an error.
func printStory(ctx context.Context) error {
	began := time.Now()
	s, err := newStage()
	if err != nil {
		return err
	}
	defer s.close()
	for _, chapter := range []struct {
		title string
		play  func(context.Context, *stage) error
	}{
		{"An allocator starts, on an etcd of its own", opening},
		{"A scheduler asks: a Deployment with two pods, a StatefulSet with one", requests},
		{"SIGKILL, and back", killed},
		{"A pod is replaced, its address stays with the Deployment", replaced},
		{"Who had that address, and is the record whole?", audited},
		{"The disaster: etcd's folder is gone", lost},
	} {
		say("\n=== %s\n", chapter.title)
		if err := chapter.play(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", chapter.title, err)
		}
	}
	say("\nAll of it came true, in %.0f s.", time.Since(began).Seconds())
	return nil
}

func opening(ctx context.Context, s *stage) error {
	if err := s.writeCluster(); err != nil {
		return err
	}
	say("Node network 10.20.1.0/24 may use 172.16.8.0/24 (VLAN 8, two addresses) and 172.16.30.0/24; 10.20.2.0/24 " +
		"may use 2001:db8:7::/64.")
	return s.start(ctx)
}

// request is the part of a recorded request that the story shows.
type request struct {
	PodName string
	Node    string
}

func requests(ctx context.Context, s *stage) error {
	for i := 1; i <= 3; i++ {
		if err := s.schedule(ctx, i); err != nil {
			return err
		}
	}
	if err := s.until(ctx, "/v1/ip?podName=db-0", `"status":"Running"`); err != nil {
		return err
	}
	say("")
	_, err := s.ctl(ctx, "ip", "list", "--keyword", "_shop_")
	return err
}

// until waits for a text in what REST answers.
func (s *stage) until(ctx context.Context, path, text string) error {
	for ctx.Err() == nil {
		response, err := s.get(ctx, s.rest()+path)
		if err != nil {
			return err
		}
		if strings.Contains(response, text) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s never says %s: %w", path, text, ctx.Err())
}

// schedule sends the filter and bind requests of one pod, as kube-scheduler sent them.
func (s *stage) schedule(ctx context.Context, n int) error {
	filter, err := story.ReadFile(fmt.Sprintf("story/%d-filter.json", n))
	if err != nil {
		return err
	}
	bind, err := story.ReadFile(fmt.Sprintf("story/%d-bind.json", n))
	if err != nil {
		return err
	}
	var pod request
	if err := json.Unmarshal(bind, &pod); err != nil {
		return err
	}
	response, err := s.ask(ctx, "filter", filter)
	if err != nil {
		return err
	}
	var fit struct {
		NodeNames []string
		Error     string
	}
	if err := json.Unmarshal([]byte(response), &fit); err != nil || fit.Error != "" || len(fit.NodeNames) == 0 {
		return fmt.Errorf("filter %s: %s", pod.PodName, response)
	}
	if response, err = s.ask(ctx, "bind", bind); err != nil || strings.TrimSpace(response) != `{"Error":""}` {
		return errors.Join(fmt.Errorf("bind %s: %s", pod.PodName, response), err)
	}
	addr, err := s.addressOf(ctx, pod.PodName)
	if err != nil {
		return err
	}
	if err := s.setPod(filter, pod.Node, "Running"); err != nil {
		return err
	}
	say("filter %-22s may run on %-22s bind to %-10s has %s", pod.PodName, strings.Join(fit.NodeNames, ", "), pod.Node,
		addr)
	return nil
}

// addressOf asks REST which address a pod has.
func (s *stage) addressOf(ctx context.Context, pod string) (string, error) {
	text, err := s.get(ctx, s.rest()+"/v1/ip?podName="+pod)
	if err != nil {
		return "", err
	}
	var page struct{ Content []struct{ IP string } }
	if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Content) != 1 {
		return "", fmt.Errorf("pod %s has not one address: %s", pod, text)
	}
	return page.Content[0].IP, nil
}

func killed(ctx context.Context, s *stage) error {
	return s.unchanged(ctx, func() error {
		say("$ kill -9 $(pidof galaxy-ipam)")
		if err := s.kill(); err != nil {
			return err
		}
		return s.start(ctx)
	})
}

// unchanged plays a misfortune and compares who has which address before and after.
func (s *stage) unchanged(ctx context.Context, misfortune func() error) error {
	before, err := s.quietly(ctx, "ip", "list", "--keyword", "_shop_")
	if err != nil {
		return err
	}
	if err := misfortune(); err != nil {
		return err
	}
	after, err := s.ctl(ctx, "ip", "list", "--keyword", "_shop_")
	if err != nil {
		return err
	}
	if after != before {
		return fmt.Errorf("the addresses are not what they were:\n%s", before)
	}
	say("The same, to the letter.")
	return nil
}

func replaced(ctx context.Context, s *stage) error {
	old, err := s.addressOf(ctx, "web-6d4cf56db6-4xk2p")
	if err != nil {
		return err
	}
	say("The pod web-6d4cf56db6-4xk2p, which has %s, ends; the Deployment makes web-6d4cf56db6-zz7rm.", old)
	if err := s.endPod(ctx, old); err != nil {
		return err
	}
	if err := s.schedule(ctx, 4); err != nil {
		return err
	}
	addr, err := s.addressOf(ctx, "web-6d4cf56db6-zz7rm")
	if err == nil && addr != old {
		err = fmt.Errorf("the new pod has %s, not %s", addr, old)
	}
	return errors.Join(err, s.until(ctx, "/v1/ip/"+old, `"status":"Running"`))
}

// endPod shows galaxy-ipam through the objects that the first pod has finished, and waits until its address is
// reserved.
func (s *stage) endPod(ctx context.Context, addr string) error {
	filter, err := story.ReadFile("story/1-filter.json")
	if err != nil {
		return err
	}
	if err := s.setPod(filter, "worker-a1", "Succeeded"); err != nil {
		return err
	}
	if err := s.until(ctx, "/v1/ip/"+addr, `"state":"reserved"`); err != nil {
		return err
	}
	say("%s is reserved for the Deployment web.", addr)
	return nil
}

func audited(ctx context.Context, s *stage) error {
	addr, err := s.addressOf(ctx, "web-6d4cf56db6-zz7rm")
	if err != nil {
		return err
	}
	if _, err := s.ctl(ctx, "ip", "history", addr); err != nil {
		return err
	}
	say("")
	_, err = s.ctl(ctx, "log", "verify")
	return err
}

func lost(ctx context.Context, s *stage) error {
	if _, err := s.ctl(ctx, "log", "backup", s.path("galaxy.backup")); err != nil {
		return err
	}
	return s.unchanged(ctx, func() error {
		say("$ kill -9 $(pidof galaxy-ipam); rm -rf ./etcd")
		if err := s.kill(); err != nil {
			return err
		}
		if err := os.RemoveAll(s.path("etcd")); err != nil {
			return err
		}
		if _, err := s.ctl(ctx, "log", "verify", s.path("galaxy.backup")); err != nil {
			return err
		}
		if _, err := s.ctl(ctx, "log", "restore", s.path("galaxy.backup"), "--embedded-etcd",
			s.path("etcd")); err != nil {
			return err
		}
		return s.start(ctx)
	})
}
