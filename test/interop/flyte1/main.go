// Drives a service of the Flyte 1 agent protocol with the engine's own plugin code, round by round.
//
//	flyte1 --plugin connector-service --endpoint dns:///127.0.0.1:8000 --control http://127.0.0.1:9999 \
//	       --fixtures ../fixtures/flyte1 --data /tmp/data [--cases a,b] [--serial=false [--also a,b]] \
//	       [--service-config JSON] [--tasks 300] [--list]
//
// One JSON line a case: {"case","ok","detail","ms"}. Exits 1 when a case failed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	idl "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytestdlib/logger"
	"github.com/flyteorg/flyte/flytestdlib/storage"
)

// Env is what every case gets: the service's address, the remote's control, and one running engine.
type Env struct {
	pluginName string
	endpoint   string
	control    Control
	fixtures   string
	dataDir    string
	store      *storage.DataStore
	engine     *Engine
	run        string
	tasks      int
}

// Fixture reads a task template and its inputs as the real SDK compiled them.
func (e *Env) Fixture(name string) (*idl.TaskTemplate, *idl.LiteralMap, error) {
	template, inputs := &idl.TaskTemplate{}, &idl.LiteralMap{}
	for file, message := range map[string]proto.Message{"template": template, "inputs": inputs} {
		bytes, err := os.ReadFile(filepath.Join(e.fixtures, fmt.Sprintf("%s.%s.pb", name, file)))
		if err != nil {
			return nil, nil, err
		}
		if err := proto.Unmarshal(bytes, message); err != nil {
			return nil, nil, err
		}
	}
	return template, inputs, nil
}

// Case is one thing to show. Serial ones change the remote or the service for everybody, or measure the whole; those on demand are
// run only where they are named.
type Case struct {
	Name     string
	Serial   bool
	OnDemand bool
	Run      func(context.Context, *Env, string) (string, error)
}

type result struct {
	Case   string `json:"case"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Millis int64  `json:"ms"`
}

func (e *Env) runCase(c Case) (r result) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute+time.Duration(e.tasks)*150*time.Millisecond)
	defer cancel()
	defer func() {
		if panicked := recover(); panicked != nil {
			r = result{Case: c.Name, Detail: fmt.Sprintf("panic: %v", panicked)}
		}
		r.Millis = time.Since(started).Milliseconds()
		line, _ := json.Marshal(r)
		fmt.Println(string(line))
	}()
	detail, err := c.Run(ctx, e, c.Name+"-"+e.run)
	if err != nil {
		return result{Case: c.Name, Detail: err.Error()}
	}
	return result{Case: c.Name, OK: true, Detail: detail}
}

// choose answers the named cases, or all but those on demand; without the serial ones where serial is false, except those of also.
func choose(names string, serial bool, also string) []Case {
	var chosen []Case
	for _, c := range allCases() {
		if names == "" && (c.OnDemand || c.Serial && !serial && !slices.Contains(strings.Split(also, ","), c.Name)) {
			continue
		}
		if names == "" || slices.Contains(strings.Split(names, ","), c.Name) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

func main() {
	plugin := flag.String("plugin", "connector-service", "the engine plugin to load: connector-service or agent-service")
	endpoint := flag.String("endpoint", "", "address of the service under test")
	control := flag.String("control", "", "URL of the remote's control port")
	fixtures := flag.String("fixtures", "", "directory of compiled templates and inputs")
	data := flag.String("data", "", "directory of the data store")
	names := flag.String("cases", "", "comma-separated case names; all by default")
	serial := flag.Bool("serial", true, "run the cases that disturb the others, too")
	also := flag.String("also", "", "comma-separated serial cases that are run with --serial=false")
	serviceConfig := flag.String("service-config", "", "gRPC service config of the engine; its own default unless given")
	tasks := flag.Int("tasks", 300, "how many tasks the case work has")
	list := flag.Bool("list", false, "print the case names and exit")
	flag.Parse()
	if *list {
		for _, c := range allCases() {
			fmt.Println(c.Name)
		}
		return
	}
	_ = logger.SetConfig(&logger.Config{Level: logger.ErrorLevel, Mute: true})
	if err := registerPlugin(*plugin, *endpoint, *serviceConfig, []string{"interop_nobody"}); err != nil {
		fatal(err)
	}
	env := &Env{
		pluginName: *plugin,
		endpoint:   *endpoint,
		control:    Control{base: *control},
		fixtures:   *fixtures,
		dataDir:    *data,
		store:      newFileDataStore(),
		run:        fmt.Sprintf("%x", time.Now().UnixMilli()),
		tasks:      *tasks,
	}
	engine, err := env.StartEngine(context.Background())
	if err != nil {
		fatal(err)
	}
	env.engine = engine
	if !env.runAll(choose(*names, *serial, *also)) {
		os.Exit(1)
	}
}

func (e *Env) runAll(cases []Case) bool {
	results := make([]result, len(cases))
	var group sync.WaitGroup
	for i, c := range cases {
		if !c.Serial {
			group.Add(1)
			go func() {
				defer group.Done()
				results[i] = e.runCase(c)
			}()
		}
	}
	group.Wait()
	ok := true
	for i, c := range cases {
		if c.Serial {
			results[i] = e.runCase(c)
		}
		ok = ok && results[i].OK
	}
	return ok
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
