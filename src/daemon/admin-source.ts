import type { AdminSource, Readiness } from '../admin/index.js';
import { effectiveTree, type LoadedConfig } from '../config/index.js';
import { HostError } from '../errors/index.js';
import type { PluginHost } from '../host/types.js';
import type { JsonObject } from '../lib/json.js';
import type { PluginRuntime, Runtimes } from '../runtime/runtime.js';
import type { ShownTasks } from '../tasks/joined-tasks.js';
import { shownOrTold } from '../tasks/list/page.js';
import { type Telemetry, takeProfile } from '../telemetry/index.js';
import type { DaemonState } from './lifecycle.js';
import type { LivenessProbe } from './liveness.js';

export interface AdminParts {
  readonly config: LoadedConfig;
  readonly state: () => DaemonState;
  readonly host: PluginHost;
  readonly runtimes: Runtimes;
  readonly tasks: ShownTasks;
  readonly telemetry: Telemetry;
  readonly liveness: LivenessProbe;
  readonly onPluginsChanged: () => void;
  readonly trouble: () => Omit<Trouble, 'what'> | undefined;
  readonly cluster:
    | { show(): JsonObject; readonly trouble: Omit<Trouble, 'what'> | undefined; readonly covers: string | undefined }
    | undefined;
}

/** What the admin port shows and does. */
export function adminSource(parts: AdminParts): AdminSource {
  const { host, runtimes, tasks, telemetry } = parts;
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
  return {
    metrics: () => telemetry.scrape(),
    liveness: () => parts.liveness.check(),
    readiness: () => {
      const of = (what: string, trouble: Omit<Trouble, 'what'> | undefined) => (trouble ? [{ what, ...trouble }] : []);
      const troubles = [...of('state', parts.trouble()), ...of('replicas', parts.cluster?.trouble)];
      return readinessOf(parts.state(), host, (id) => runtimes.get(id)?.gate.paused === true, troubles);
    },
    covers: () => parts.cluster?.covers,
    plugins: () => tasks.listPlugins().map((report) => shownOrTold(report, plain)),
    tasks: (query) => tasks.lists.tasks(query),
    deletes: (page) => tasks.lists.deletes(page),
    unclearCreates: (page) => tasks.lists.unclearCreates(page),
    orphans: (page) => tasks.lists.orphans(page),
    cluster: () => parts.cluster?.show() ?? { enabled: false },
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
    profile: takeProfile,
  };
}

/** Why the state cannot be written, or no replica works; that alone makes nothing unready, since reads are served, and calls wait. */
interface Trouble {
  readonly what: string;
  readonly code: string;
  readonly message: string;
}

/**
 * Ready means: serving, and every required plugin serves. What else is not well is named all the same, as are the plugins
 * that the operator holds back (`paused`).
 */
export function readinessOf(
  state: DaemonState,
  host: PluginHost,
  paused: (pluginId: string) => boolean = () => false,
  troubles: readonly Trouble[] = [],
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
  const degraded = troubles.map(({ what, code, message }) => ({ what, why: `${code}: ${message}`, fatal: false }));
  const all = [...own, ...degraded, ...unready, ...held];
  return { ready: all.every(({ fatal }) => !fatal), state, unready: all };
}

function plain(value: object): JsonObject {
  return JSON.parse(JSON.stringify(value)) as JsonObject;
}
