import type { Codec, Message } from '../../idl/codec.js';
import { msToDuration } from '../../idl/well-known.js';
import type { PluginConfig } from '../../plugin-api/config.js';
import type { PluginReport } from '../../tasks/types.js';

const KINDS = { async: 'ASYNC', sync: 'SYNC' } as const;

function configMessage(config: PluginConfig): Message {
  const { resourceQuotas, readRateLimiter, writeRateLimiter, caching } = config;
  return {
    resourceQuotas,
    readRateLimiter: { qps: readRateLimiter.qps, burst: readRateLimiter.burst },
    writeRateLimiter: { qps: writeRateLimiter.qps, burst: writeRateLimiter.burst },
    cacheSize: caching.size,
    resyncInterval: msToDuration(caching.resyncIntervalMs),
    workers: caching.workers,
    maxSystemFailures: caching.maxSystemFailures,
  };
}

function reportMessage(report: PluginReport): Message {
  return {
    id: report.id,
    version: report.version,
    kind: report.kind === undefined ? 'KIND_UNSPECIFIED' : KINDS[report.kind],
    taskTypes: report.taskTypes.map(({ name, versions }) => ({ name, versions: [...versions] })),
    isDefault: report.isDefault,
    state: report.state,
    stateReason: report.stateReason,
    stateCode: report.stateCode,
    source: report.source,
    config: report.config && configMessage(report.config),
    quotas: report.quotas.map(({ namespace, total, used, waiting }) => ({ namespace, total, used, waiting })),
    liveTasks: report.liveTasks,
    waitingTasks: report.waitingTasks,
    pid: report.pid,
    restarts: report.restarts,
    rssBytes: report.rssBytes,
    environment: [...report.environment],
  };
}

/** pluginhost.v1.ListPluginsResponse. */
export function encodeReports(codec: Codec, reports: readonly PluginReport[]): Buffer {
  return codec.encodeStrict({ plugins: reports.map(reportMessage) }, ['plugins[].id', 'plugins[].state']);
}
