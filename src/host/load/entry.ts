import { HostError } from '../../errors/index.js';
import type { JsonObject } from '../../lib/json.js';
import { show } from '../../lib/show.js';
import type { PluginEntry, PluginIsolation } from '../types.js';
import { type ResolvedSource, sourceLabel } from './source.js';

/** A PluginEntry with every default filled in and checked. */
export interface NormalEntry {
  readonly source: PluginEntry['source'];
  readonly label: string;
  readonly id: string | undefined;
  readonly required: boolean;
  readonly settings: JsonObject;
  readonly config: unknown;
  readonly pass: readonly string[];
  readonly set: Readonly<Record<string, string>>;
  readonly isolation: PluginIsolation;
  readonly memoryLimitMb: number;
  readonly loadTimeoutMs: number;
  readonly callTimeoutMs: number;
  readonly nodeOptions: readonly string[];
}

/** An entry whose module was found. */
export interface ResolvedEntry extends NormalEntry {
  readonly resolved: ResolvedSource;
}

const ISOLATION = /^(?:process|worker|shared:[A-Za-z0-9_-]{1,40})$/;
const NUMBERS = {
  memoryLimitMb: { min: 64, max: 1_048_576, default: 512 },
  loadTimeoutMs: { min: 100, max: 3_600_000, default: 30_000 },
  callTimeoutMs: { min: 1, max: 3_600_000, default: 30_000 },
} as const;

/** Throws CONFIG_VALUE_INVALID, naming the key. */
export function normalizeEntry(entry: PluginEntry): NormalEntry {
  const label = sourceLabel(entry.source);
  const isolation = entry.isolation ?? 'process';
  if (!ISOLATION.test(isolation)) {
    throw invalid(label, 'isolation', isolation, 'process, worker, or shared:<group> with letters, digits, _ and -');
  }
  if (entry.id !== undefined && !/^[a-z][a-z0-9-]{0,39}$/.test(entry.id)) {
    throw invalid(label, 'id', entry.id, 'lower-case letters, digits and dashes, starting with a letter, at most 40');
  }
  const nodeOptions = entry.nodeOptions ?? [];
  if (isolation === 'worker' && nodeOptions.length > 0) {
    throw invalid(label, 'nodeOptions', nodeOptions, 'nothing: a worker thread takes no options of the Node binary');
  }
  const set = entry.environment?.set ?? {};
  for (const [name, value] of Object.entries(set)) {
    // The value itself is not shown: it may be a secret.
    if (!value.includes('\0')) continue;
    const text = `plugin ${label}: environment.set.${name} holds a NUL; no variable of a process can`;
    throw new HostError('CONFIG_VALUE_INVALID', text);
  }
  return {
    source: entry.source,
    label,
    id: entry.id,
    required: entry.required ?? false,
    settings: entry.settings ?? {},
    config: entry.config,
    pass: entry.environment?.pass ?? [],
    set,
    isolation,
    memoryLimitMb: inRange(label, 'memoryLimitMb', entry.memoryLimitMb),
    loadTimeoutMs: inRange(label, 'loadTimeoutMs', entry.loadTimeoutMs),
    callTimeoutMs: inRange(label, 'callTimeoutMs', entry.callTimeoutMs),
    nodeOptions,
  };
}

function inRange(label: string, key: keyof typeof NUMBERS, value: number | undefined): number {
  const range = NUMBERS[key];
  if (value === undefined) return range.default;
  if (typeof value === 'number' && value >= range.min && value <= range.max) return value;
  throw invalid(label, key, value, `a number from ${range.min} to ${range.max}`);
}

function invalid(label: string, key: string, seen: unknown, expected: string): HostError {
  return new HostError('CONFIG_VALUE_INVALID', `plugin ${label}: ${key} is ${show(seen)}; expected ${expected}`);
}
