import { HostError } from '../../errors/index.js';
import { show } from '../../lib/show.js';
import { DEFAULT_PLUGIN_CONFIG, type PluginConfig } from '../../plugin-api/config.js';

type Fields = Record<string, unknown>;

interface Range {
  readonly min: number;
  readonly max: number;
  readonly whole: boolean;
}

/** Ranges of plugin-api/config.ts. */
const RANGES = {
  qps: { min: 0.001, max: 100_000, whole: false },
  burst: { min: 1, max: 10_000, whole: true },
  size: { min: 1, max: 500_000, whole: true },
  workers: { min: 1, max: 10_000, whole: true },
  maxSystemFailures: { min: 0, max: 100, whole: true },
  quota: { min: 0, max: 1_000_000_000, whole: true },
} as const satisfies Record<string, Range>;

const RESYNC = { min: 5_000, max: 3_600_000 };
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const MAX_QUOTAS = 10_000;

/**
 * The limits in force: the operator's keys over the definition's over the defaults. Each layer is checked on its own,
 * so that the message can say whose value is wrong. Nothing is clamped. Throws PLUGIN_CONFIG_INVALID.
 */
export function mergePluginConfig(label: string, definition: unknown, operator: unknown): PluginConfig {
  const base = checkLayer(definition ?? {}, `${label}: definition.config`);
  const over = checkLayer(operator ?? {}, `${label}: config`);
  const defaults = DEFAULT_PLUGIN_CONFIG;
  return Object.freeze({
    resourceQuotas: Object.freeze({ ...base.resourceQuotas, ...over.resourceQuotas }),
    readRateLimiter: Object.freeze({ ...defaults.readRateLimiter, ...base.readRateLimiter, ...over.readRateLimiter }),
    writeRateLimiter: Object.freeze({
      ...defaults.writeRateLimiter,
      ...base.writeRateLimiter,
      ...over.writeRateLimiter,
    }),
    caching: Object.freeze({ ...defaults.caching, ...base.caching, ...over.caching }),
  });
}

interface Layer {
  readonly resourceQuotas: Record<string, number>;
  readonly readRateLimiter: Partial<PluginConfig['readRateLimiter']>;
  readonly writeRateLimiter: Partial<PluginConfig['writeRateLimiter']>;
  readonly caching: Partial<PluginConfig['caching']>;
}

function checkLayer(value: unknown, path: string): Layer {
  const layer = section(value, path, ['resourceQuotas', 'readRateLimiter', 'writeRateLimiter', 'caching']);
  const caching = section(layer.caching, `${path}.caching`, ['size', 'resyncInterval', 'workers', 'maxSystemFailures']);
  const { resyncInterval, ...counts } = caching;
  return {
    resourceQuotas: quotas(layer.resourceQuotas, `${path}.resourceQuotas`),
    readRateLimiter: numbers(
      section(layer.readRateLimiter, `${path}.readRateLimiter`, ['qps', 'burst']),
      `${path}.readRateLimiter`,
    ),
    writeRateLimiter: numbers(
      section(layer.writeRateLimiter, `${path}.writeRateLimiter`, ['qps', 'burst']),
      `${path}.writeRateLimiter`,
    ),
    caching: {
      ...numbers(counts, `${path}.caching`),
      ...(resyncInterval === undefined
        ? {}
        : { resyncIntervalMs: resync(resyncInterval, `${path}.caching.resyncInterval`) }),
    },
  };
}

function section(value: unknown, path: string, known: readonly string[]): Fields {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(path, value, 'an object');
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      throw new HostError('PLUGIN_CONFIG_INVALID', `${path}.${key}: no such key; known are ${known.join(', ')}`);
    }
  }
  return value as Fields;
}

function numbers(fields: Fields, path: string): Record<string, number> {
  const out: Record<string, number> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    out[key] = inRange(value, `${path}.${key}`, RANGES[key as keyof typeof RANGES]);
  }
  return out;
}

function inRange(value: unknown, path: string, range: Range): number {
  const ok =
    typeof value === 'number' &&
    value >= range.min &&
    value <= range.max &&
    (range.whole ? Number.isSafeInteger(value) : Number.isFinite(value));
  if (!ok)
    throw invalid(path, value, `${range.whole ? 'a whole number' : 'a number'} from ${range.min} to ${range.max}`);
  return value;
}

function quotas(value: unknown, path: string): Record<string, number> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(path, value, 'an object');
  const entries = Object.entries(value);
  if (entries.length > MAX_QUOTAS) throw invalid(path, entries.length, `at most ${MAX_QUOTAS} namespaces`);
  return Object.fromEntries(entries.map(([name, quota]) => [name, inRange(quota, `${path}.${name}`, RANGES.quota)]));
}

function resync(value: unknown, path: string): number {
  const expected = `milliseconds or a text such as 30s, from ${RESYNC.min} ms to ${RESYNC.max} ms`;
  const match = typeof value === 'string' ? DURATION.exec(value) : null;
  const ms = match === null ? value : Number(match[1]) * UNIT_MS[match[2]!]!;
  if (typeof ms !== 'number' || !(ms >= RESYNC.min && ms <= RESYNC.max)) throw invalid(path, value, expected);
  return ms;
}

function invalid(path: string, seen: unknown, expected: string): HostError {
  return new HostError('PLUGIN_CONFIG_INVALID', `${path} is ${show(seen)}; expected ${expected}`);
}
