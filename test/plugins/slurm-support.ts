import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { access, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type {
  CreateContext,
  DataStore,
  LiteralValue,
  LogsContext,
  PluginLogger,
  ResourceContext,
  SecretManager,
  TaskTemplate,
} from 'webapi-plugin-host';
import type { SlurmMeta } from '../../plugins/slurm/meta.js';
import { SlurmPlugin } from '../../plugins/slurm/plugin.js';
import { type SlurmSettings, settingsSchema } from '../../plugins/slurm/settings.js';

/** A secret manager over a map that a test changes to rotate a token. */
export class MapSecrets implements SecretManager {
  reads = 0;
  constructor(readonly values: Record<string, string>) {}

  get(group: string, key: string): Promise<string> {
    this.reads++;
    const value = this.values[`${group}/${key}`];
    return value === undefined ? Promise.reject(new Error(`no secret ${group}/${key}`)) : Promise.resolve(value);
  }
}

const fileOf = (uri: string) => uri.replace(/^file:\/\//, '');

/** The local half of a data store, with plain `file://` URIs. */
export const localStore: DataStore = {
  exists: (uri) =>
    access(fileOf(uri)).then(
      () => true,
      () => false,
    ),
  get: (uri) => readFile(fileOf(uri)),
  async *stream(uri) {
    yield await readFile(fileOf(uri));
  },
  put: (uri, data) => writeFile(fileOf(uri), data),
  list: (prefix) => readdir(fileOf(prefix)),
  delete: (uri) => rm(fileOf(uri)),
};

export interface LogEntry {
  readonly level: string;
  readonly message: string;
  readonly fields: Record<string, unknown> | undefined;
}

export function collectingLogger(entries: LogEntry[]): PluginLogger {
  const at = (level: string) => (message: string, fields?: Record<string, unknown>) =>
    void entries.push({ level, message, fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** A directory that is gone after the test. */
export function scratch(t: TestContext): string {
  const dir = realpathSync(mkdtempSync(path.join(tmpdir(), 'slurm-plugin-')));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function settingsFor(url: string, workDir: string, more: Record<string, unknown> = {}): SlurmSettings {
  const cluster = { url, user: 'jobs', token: { secret: { group: 'slurm', key: 'token' } }, workDir };
  return settingsSchema.parse({ clusters: { main: cluster }, ...more });
}

export function templateFor(custom: TaskTemplate['custom'], more: Partial<TaskTemplate> = {}): TaskTemplate {
  return {
    type: 'slurm',
    taskTypeVersion: 0,
    id: { project: 'p', domain: 'd', name: 'my.task', version: '1' },
    custom,
    config: {},
    outputNames: [],
    inputNames: [],
    inputTypes: new Map(),
    outputTypes: new Map(),
    ...more,
  };
}

export interface Bench {
  readonly plugin: SlurmPlugin;
  readonly secrets: MapSecrets;
  readonly log: LogEntry[];
  createContext(key: string, template: TaskTemplate, inputs?: Record<string, LiteralValue>): CreateContext;
  resourceContext(key: string, meta: SlurmMeta): ResourceContext<SlurmMeta>;
  logsContext(key: string, meta: SlurmMeta, token: string, lines: number): LogsContext<SlurmMeta>;
}

/** The plugin called directly, with contexts made by hand. Outputs of key K lie in `<dir>/out/K`. */
export function benchFor(settings: SlurmSettings, dir: string, now?: () => number, straysTimeoutMs?: number): Bench {
  const secrets = new MapSecrets({ 'slurm/token': 'token-1' });
  const log: LogEntry[] = [];
  const clock = now && { wallMs: now, monotonicMs: now };
  const plugin = new SlurmPlugin({ settings, secretManager: secrets }, clock, straysTimeoutMs);
  const common = (key: string) => ({
    signal: new AbortController().signal,
    deadlineMs: Date.now() + 60_000,
    sentAtMs: 0,
    logger: collectingLogger(log),
    metrics: { count: () => undefined, gauge: () => undefined, observe: () => undefined },
    outputWriter: {
      put: () => Promise.reject(new Error('not used')),
      putBytes: () => Promise.reject(new Error('not used')),
      putError: () => Promise.reject(new Error('not used')),
      outputPrefix: `${dir}/out/${key}`,
    },
    outputPrefix: `${dir}/out/${key}`,
    dataStore: localStore,
    secretManager: secrets,
    connection: undefined,
    idempotencyKey: key,
  });
  const resourceContext = (key: string, resourceMeta: SlurmMeta) => ({
    ...common(key),
    resourceMeta,
    outputNames: undefined,
  });
  return {
    plugin,
    secrets,
    log,
    resourceContext,
    logsContext: (key, meta, token, lines) => ({ ...resourceContext(key, meta), token, lines }),
    createContext: (key, template, inputs = {}) => ({
      ...common(key),
      taskReader: { read: () => template, bytes: new Uint8Array() },
      inputReader: {
        get: () => Promise.resolve(inputs),
        literals: () => Promise.reject(new Error('not used')),
        bytes: () => Promise.reject(new Error('not used')),
      },
      maxDatasetSizeBytes: 0,
      taskExecutionMetadata: {
        generatedName: key,
        taskExecutionId: {
          task: { project: 'p', domain: 'd', name: 'my.task', version: '1' },
          project: 'p',
          domain: 'd',
          execution: 'e',
          nodeId: 'n0',
          retryAttempt: 0,
        },
        namespace: 'p-d',
        labels: {},
        annotations: {},
        serviceAccount: '',
        environmentVariables: { FROM_ENGINE: 'yes' },
        maxAttempts: 0,
        interruptible: false,
      },
    }),
  };
}
