package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Job is what the interop remote knows of one job.
type Job struct {
	ID      string `json:"id"`
	Token   string `json:"token"`
	Label   string `json:"label"`
	State   string `json:"state"`
	Deletes int    `json:"deletes"`
	Seen    struct {
		Type         string   `json:"type"`
		Version      int32    `json:"version"`
		Image        string   `json:"image"`
		Args         []string `json:"args"`
		Command      []string `json:"command"`
		Statement    string   `json:"statement"`
		InputBytes   int      `json:"inputBytes"`
		InputHash    string   `json:"inputHash"`
		OutputPrefix string   `json:"outputPrefix"`
	} `json:"seen"`
}

// Control talks to the remote's control port (and, through it, to whoever runs the service under test).
type Control struct{ base string }

func (c Control) post(path string, body interface{}) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 2 * time.Minute}
	response, err := client.Post(c.base+"/"+path, "application/json", bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("control %s answered %d: %s", path, response.StatusCode, text)
	}
	return nil
}

func (c Control) get(path string, into interface{}) error {
	response, err := http.Get(c.base + "/" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// Jobs lists the jobs with the label, in the order of their creation.
func (c Control) Jobs(label string) ([]Job, error) {
	var answer struct{ Jobs []Job }
	err := c.get("jobs?label="+url.QueryEscape(label), &answer)
	return answer.Jobs, err
}

// Runs tells how often the sync work of a label was done.
func (c Control) Runs(label string) (int, error) {
	var answer struct{ Runs map[string]int }
	err := c.get("runs", &answer)
	return answer.Runs[label], err
}

func (c Control) Release(label string) error {
	return c.post("release", map[string]string{"label": label})
}

// Fault sets the remote's mode: ok, throttle, unavailable or down.
func (c Control) Fault(mode string) error {
	return c.post("fault", map[string]string{"mode": mode})
}

// RestartService has the service under test killed, its state wiped, and started again at the same address.
func (c Control) RestartService() error {
	return c.post("restart", map[string]bool{"empty": true})
}

// KillService has the service under test killed and started again with what it kept.
func (c Control) KillService() error {
	return c.post("restart", map[string]bool{"empty": false})
}

// ExpectJobs fails unless the remote has exactly these many jobs of the label; it answers them.
func (c Control) ExpectJobs(label string, count int) ([]Job, error) {
	jobs, err := c.Jobs(label)
	if err != nil {
		return nil, err
	}
	if len(jobs) != count {
		return jobs, fmt.Errorf("expected %d jobs at the remote, got %d", count, len(jobs))
	}
	return jobs, nil
}
