package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/webapi"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/webapi/agent"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/webapi/connector"
	"github.com/flyteorg/flyte/flytestdlib/config"
	"github.com/flyteorg/flyte/flytestdlib/contextutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils/labeled"
	"github.com/flyteorg/flyte/flytestdlib/storage"
)

const (
	// pollEvery is the engine's shortest allowed resync interval; its default is 30 s.
	pollEvery = 5 * time.Second
	// roundEvery stands for the engine's re-evaluation, 10 s by default.
	roundEvery = 500 * time.Millisecond
	// maxSystemFailures is the default: the sixth failed GetTask stops the polling for good.
	maxSystemFailures = 5
)

// Engine is one engine process: the real plugin, freshly loaded, and a data store.
type Engine struct {
	env    *Env
	plugin core.Plugin
	store  *storage.DataStore
}

type setupContext struct {
	core.SetupContext
	scope promutils.Scope
}

func (s setupContext) MetricsScope() promutils.Scope             { return s.scope }
func (s setupContext) ResourceRegistrar() core.ResourceRegistrar { return quotaRegistrar{} }

type quotaRegistrar struct{}

func (quotaRegistrar) RegisterResourceQuota(context.Context, core.ResourceNamespace, int) error {
	return nil
}

var loads atomic.Int64

// tune makes the engine's own cache poll at its fastest and keeps its read limit out of the way.
func tune(cfg *webapi.PluginConfig) {
	cfg.Caching.ResyncInterval = config.Duration{Duration: pollEvery}
	cfg.Caching.MaxSystemFailures = maxSystemFailures
	cfg.ReadRateLimiter.QPS = 100
	cfg.ReadRateLimiter.Burst = 500
}

// registerPlugin configures the engine's plugin for the endpoint and registers it, once per process.
func registerPlugin(name, endpoint, serviceConfig string, extraTypes []string) error {
	labeled.SetMetricKeys(contextutils.ProjectKey, contextutils.DomainKey, contextutils.WorkflowIDKey, contextutils.TaskIDKey)
	storage.GetConfig().Limits.GetLimitMegabytes = 10 // what the Flyte 1 chart sets
	switch name {
	case agent.ID:
		cfg := *agent.GetConfig()
		cfg.DefaultAgent.Endpoint = endpoint
		if serviceConfig != "" {
			cfg.DefaultAgent.DefaultServiceConfig = serviceConfig
		}
		cfg.SupportedTaskTypes = append(cfg.SupportedTaskTypes, extraTypes...)
		tune(&cfg.WebAPI)
		if err := agent.SetConfig(&cfg); err != nil {
			return err
		}
		agent.RegisterAgentPlugin(&agent.AgentService{})
	case connector.ID:
		cfg := *connector.GetConfig()
		cfg.DefaultConnector.Endpoint = endpoint
		if serviceConfig != "" {
			cfg.DefaultConnector.DefaultServiceConfig = serviceConfig
		}
		cfg.SupportedTaskTypes = append(cfg.SupportedTaskTypes, extraTypes...)
		tune(&cfg.WebAPI)
		if err := connector.SetConfig(&cfg); err != nil {
			return err
		}
		connector.RegisterConnectorPlugin(&connector.ConnectorService{})
	default:
		return fmt.Errorf("unknown engine plugin %q; expected %s or %s", name, agent.ID, connector.ID)
	}
	return nil
}

// StartEngine loads the registered plugin anew: an empty cache and nothing remembered, as after a restart of the engine.
func (e *Env) StartEngine(ctx context.Context) (*Engine, error) {
	for _, entry := range pluginmachinery.PluginRegistry().GetCorePlugins() {
		if entry.ID != e.pluginName {
			continue
		}
		scope := promutils.NewScope(fmt.Sprintf("interop_%d", loads.Add(1)))
		plugin, err := core.LoadPlugin(ctx, setupContext{scope: scope}, entry)
		if err != nil {
			return nil, err
		}
		return &Engine{env: e, plugin: plugin, store: e.store}, nil
	}
	return nil, fmt.Errorf("the engine plugin %s is not registered", e.pluginName)
}

// TypesRouted lists the task types the engine learnt from the service (and its static ones).
func TypesRouted(name string) map[string]bool {
	routed := map[string]bool{}
	for _, entry := range pluginmachinery.PluginRegistry().GetCorePlugins() {
		if entry.ID == name {
			for _, taskType := range entry.RegisteredTaskTypes {
				routed[taskType] = true
			}
		}
	}
	return routed
}
