// Serves requests as JSON lines: {"verb": "produce", "client": "franz-go", ...} in, {"ok": ...} or {"error", "message"} out.
// Each client is a file of its own and offers the same verbs. Run by tests/harness/clients/go.py; logs go to stderr.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// client is what both libraries are driven by. Partitions are by their index, offsets and timestamps as in the protocol.
type client interface {
	produce(request) ([]int64, error)
	consume(request) ([]row, error)
	offsetsForTimes(request) (map[int64]*int64, error)
	newMember(request) (*member, error)
	dashboard(request) (*dashboard, error)
}

type request struct {
	Verb           string            `json:"verb"`
	Client         string            `json:"client"`
	Bootstrap      string            `json:"bootstrap"`
	Topic          string            `json:"topic"`
	Partition      int32             `json:"partition"`
	Records        []row             `json:"records"`
	Codec          string            `json:"codec"`
	Idempotent     bool              `json:"idempotent"`
	MaxBytes       int32             `json:"max_bytes"`
	Start          int64             `json:"start"` // an offset; -2 is the beginning, -1 the end
	Count          int               `json:"count"`
	DeadlineMs     int64             `json:"deadline_ms"`
	Timestamps     []int64           `json:"timestamps"`
	Name           string            `json:"name"`
	Group          string            `json:"group"`
	Strategy       string            `json:"strategy"`
	Protocol       string            `json:"protocol"` // classic or consumer
	CommitOnRevoke bool              `json:"commit_on_revoke"`
	InstanceID     string            `json:"instance_id"`
	Reset          string            `json:"reset"`
	SessionMs      int64             `json:"session_ms"`
	Seen           int               `json:"seen"`
	Config         map[string]string `json:"config"`
}

func serve(members map[string]*member, r request) (any, error) {
	driven, known := map[string]client{"franz-go": franz{}, "sarama": sarama{}}[r.Client]
	if !known {
		return nil, fmt.Errorf("there is no client %q", r.Client)
	}
	switch r.Verb {
	case "produce":
		return driven.produce(r)
	case "consume":
		return driven.consume(r)
	case "offsets-for-times":
		return driven.offsetsForTimes(r)
	case "dashboard":
		return driven.dashboard(r)
	case "member-start":
		started, err := driven.newMember(r)
		if err == nil {
			members[r.Name] = started
		}
		return "started", err
	}
	of, known := members[r.Name]
	if !known {
		return nil, fmt.Errorf("there is no member %q", r.Name)
	}
	switch r.Verb {
	case "member-status":
		return of.status(r.Seen, false), nil
	case "member-commit":
		return "committed", of.commit()
	case "member-stop":
		delete(members, r.Name)
		stopped := of.close()
		return of.status(r.Seen, stopped), nil
	}
	return nil, fmt.Errorf("there is no verb %q", r.Verb)
}

func main() {
	members := map[string]*member{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var r request
		var answer any
		err := json.Unmarshal(lines.Bytes(), &r)
		if err == nil {
			answer, err = serve(members, r)
		}
		if err != nil {
			answers.Encode(map[string]string{"error": errorName(err), "message": err.Error()})
		} else {
			answers.Encode(map[string]any{"ok": answer})
		}
	}
}
