import { messageOf } from '../../errors/index.js';
import type { Codec, Message } from '../../idl/codec.js';
import { msToDuration } from '../../idl/well-known.js';
import { cutText } from '../../lib/text.js';
import type { PluginReport } from '../../model/plugin-report.js';
import type { PluginConfig } from '../../plugin-api/config.js';

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

/**
 * pluginhost.v1.ListPluginsResponse. A row that cannot be encoded breaks nobody's listing (rule 15): it is answered
 * without what is wrong, which its reason names, or left out where not even that can be told.
 */
export function encodeReports(codec: Codec, reports: readonly PluginReport[]): Buffer {
  const rows = reports.map((report) => {
    const row = reportMessage(report);
    return tryEncode(codec, row).bytes ?? tryEncode(codec, mended(codec, row)).bytes ?? Buffer.alloc(0);
  });
  // Messages written one after another are one with all their rows.
  return Buffer.concat(rows);
}

function tryEncode(codec: Codec, row: Message): { readonly bytes?: Buffer; readonly problem?: string } {
  try {
    return { bytes: codec.encodeStrict({ plugins: [row] }, ['plugins[].id', 'plugins[].state']) };
  } catch (thrown) {
    return { problem: messageOf(thrown) };
  }
}

/** The fields, and the elements of lists, that can be encoded by themselves. */
function mended(codec: Codec, row: Message): Message {
  const { id, state } = row;
  const kept: Message = { id, state };
  const problems: string[] = [];
  const fits = (field: string, value: unknown): boolean => {
    const { problem } = tryEncode(codec, { id, state, [field]: value });
    if (problem !== undefined) problems.push(problem);
    return problem === undefined;
  };
  for (const [field, value] of Object.entries(row)) {
    if (Array.isArray(value)) kept[field] = value.filter((one) => fits(field, [one]));
    else if (fits(field, value)) kept[field] = value;
  }
  const left = `${problems.length} parts of this row cannot be shown: ${cutText(problems.join('; '), 400)}`;
  kept.stateReason = [kept.stateReason, left].filter(Boolean).join('; ');
  return kept;
}
