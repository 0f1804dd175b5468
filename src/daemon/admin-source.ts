import type { AdminSource, Page, PageQuery, Readiness } from '../admin/index.js';
import { effectiveTree, type LoadedConfig } from '../config/index.js';
import { HostError, messageOf } from '../errors/index.js';
import type { PluginHost } from '../host/types.js';
import type { JsonObject } from '../lib/json.js';
import type { TaskRecord } from '../model/task-record.js';
import type { TaskStore } from '../store/task-store.js';
import type { PluginRuntime, Runtimes } from '../tasks/runtime.js';
import type { TasksControl } from '../tasks/tasks.js';
import type { Telemetry } from '../telemetry/index.js';
import type { DaemonState } from './lifecycle.js';
import type { LivenessProbe } from './liveness.js';

export interface AdminParts {
  readonly config: LoadedConfig;
  readonly state: () => DaemonState;
  readonly host: PluginHost;
  readonly runtimes: Runtimes;
  readonly store: TaskStore;
  readonly tasks: TasksControl;
  readonly telemetry: Telemetry;
  readonly liveness: LivenessProbe;
  readonly onPluginsChanged: () => void;
}

/** What the admin port shows and does. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: it only joins parts, one after the other
export function adminSource(parts: AdminParts): AdminSource {
  const { host, runtimes, store, tasks, telemetry } = parts;
  const assertKnown = (id: string): void => {
    const ids = host.plugins().map((plugin) => plugin.id);
    const known = ids.length === 0 ? 'none is configured' : `there are: ${ids.join(', ')}`;
    if (!ids.includes(id)) throw new HostError('PLUGIN_UNKNOWN', `no plugin is called "${id}"; ${known}`);
  };
  const runtime = (id: string): PluginRuntime => {
    assertKnown(id);
    const found = runtimes.get(id);
    if (found !== undefined) return found;
    throw new HostError('PLUGIN_NOT_SERVING', `plugin "${id}" does not serve; plugin-host plugins says why`);
  };
  const row = (task: TaskRecord) => taskRow(task, runtimes.get(task.identity.plugin));
  return {
    metrics: () => telemetry.scrape(),
    liveness: () => parts.liveness.check(),
    readiness: () => readinessOf(parts.state(), host, (id) => runtimes.get(id)?.gate.paused === true),
    plugins: () => tasks.listPlugins().map((report) => shownOrTold(report, plain) ?? { id: report.id }),
    tasks: ({ plugin, phase, stage, project, id, ...page }) =>
      pageOf(store.allTasks(), page, (task) => {
        const { identity, state } = task;
        const wanted: readonly (readonly [string | undefined, string])[] = [
          [plugin, identity.plugin],
          [phase, state.phase],
          [stage, task.stage],
          [project, identity.project],
        ];
        const named = id === undefined || task.id.startsWith(id);
        return named && wanted.every(([want, seen]) => want === undefined || want === seen) ? row(task) : undefined;
      }),
    deletes: (page) =>
      pageOf(
        tasks.owedDeletes.list(),
        page,
        ({ id, identity, reason, sinceMs, attempts, nextAttemptMs, needsCredentials, lastError }) => ({
          id,
          plugin: identity.plugin,
          reason,
          since: iso(sinceMs),
          attempts,
          nextAttempt: nextAttemptMs === undefined ? null : iso(nextAttemptMs),
          needsCredentials,
          lastError: lastError === undefined ? null : { ...lastError },
        }),
      ),
    unclearCreates: (page) =>
      pageOf(
        tasks.unclearCreates.list(),
        page,
        ({ id, identity, sinceMs, looks, nextLookMs, leftBecause, lastError }) => ({
          id,
          plugin: identity.plugin,
          taskType: identity.taskType,
          project: identity.project,
          domain: identity.domain,
          since: iso(sinceMs),
          looks,
          nextLook: nextLookMs === undefined ? null : iso(nextLookMs),
          left: leftBecause ?? null,
          lastError: { ...lastError },
        }),
      ),
    orphans: (page) => pageOf(tasks.orphans.list(), page, row),
    config: () => effectiveTree(parts.config.effective),
    pause: (id) => {
      runtime(id).gate.pause();
      parts.onPluginsChanged();
    },
    resume: (id) => {
      runtime(id).gate.resume();
      parts.onPluginsChanged();
    },
    reload: async (id) => {
      assertKnown(id);
      await host.reload(id);
      parts.onPluginsChanged();
    },
  };
}

/**
 * Ready means: serving, and every required plugin serves. What else is not well is named all the same, as are the plugins
 * that the operator holds back (`paused`).
 */
export function readinessOf(
  state: DaemonState,
  host: PluginHost,
  paused: (pluginId: string) => boolean = () => false,
): Readiness {
  const unready = host
    .plugins()
    .filter((plugin) => plugin.state !== 'serving' && plugin.state !== 'skipped')
    .map(({ id, state: now, stateReason, required }) => ({
      what: `plugin ${id}`,
      why: stateReason === '' ? now : `${now}: ${stateReason}`,
      fatal: required,
    }));
  const held = host
    .plugins()
    .filter(({ id }) => paused(id))
    .map(({ id }) => ({ what: `plugin ${id}`, why: 'paused by an operator', fatal: false }));
  const own = state === 'ready' ? [] : [{ what: 'daemon', why: `it is ${state}`, fatal: true }];
  const all = [...own, ...unready, ...held];
  return { ready: all.every(({ fatal }) => !fatal), state, unready: all };
}

export function taskRow(task: TaskRecord, runtime: PluginRuntime | undefined): JsonObject & { id: string } {
  const { identity, state } = task;
  const missing = task.stage === 'live' ? runtime?.refresher.missing(task.id) : undefined;
  return {
    id: task.id,
    plugin: identity.plugin,
    taskType: identity.taskType,
    project: identity.project,
    domain: identity.domain,
    stage: task.stage,
    phase: state.phase,
    phaseVersion: task.phaseVersion,
    reason: state.reason,
    error: state.error === undefined ? null : { ...state.error },
    remotePhase: state.remotePhase,
    created: iso(task.createdAtMs),
    observed: task.observedAtMs === undefined ? null : iso(task.observedAtMs),
    consecutiveFailures: task.consecutiveFailures,
    lastFailure: task.lastFailure === undefined ? null : { ...task.lastFailure },
    notFound:
      missing === undefined ? null : { since: iso(missing.sinceMs), reads: missing.reads, frozen: missing.wave },
    confirmed: task.confirmed,
    undelivered: task.undeliveredAtMs === undefined ? null : iso(task.undeliveredAtMs),
    adopted: task.adopted,
    handle: task.answeredHandle === undefined ? null : task.answeredHandle.toString('base64'),
  };
}

/**
 * A page in the order of the source, which holds until its rows go. Throws REQUEST_FIELD_INVALID when the row of `after`
 * went meanwhile: an empty page would pass for the end of the list.
 */
function pageOf<T extends { readonly id: string }>(
  rows: Iterable<T>,
  { limit, after }: PageQuery,
  show: (row: T) => JsonObject | undefined,
): Page {
  const shown: JsonObject[] = [];
  let last: string | undefined;
  let skipping = after !== '';
  for (const row of rows) {
    if (skipping) {
      skipping = row.id !== after;
      continue;
    }
    const line = shownOrTold(row, show);
    if (line === undefined) continue;
    if (shown.length === limit) return { rows: shown, next: last };
    shown.push(line);
    last = row.id;
  }
  if (skipping) {
    throw new HostError(
      'REQUEST_FIELD_INVALID',
      `after=${JSON.stringify(after.slice(0, 80))} names a row that is not in the list (any more); start again without it`,
    );
  }
  return { rows: shown, next: undefined };
}

/** A row that cannot be shown is named with the reason, and breaks no listing (rule 15). */
function shownOrTold<T extends { readonly id: string }>(
  row: T,
  show: (row: T) => JsonObject | undefined,
): JsonObject | undefined {
  try {
    return show(row);
  } catch (thrown) {
    return { id: row.id, unshown: messageOf(thrown) };
  }
}

function plain(value: object): JsonObject {
  return JSON.parse(JSON.stringify(value)) as JsonObject;
}

const iso = (ms: number): string => new Date(ms).toISOString();
