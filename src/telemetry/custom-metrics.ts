import type { PluginMetricEvent } from '../model/events/host.js';
import type { MetricSet, Sample } from './metric-set.js';

/** A measurement that a plugin made itself. */
export type CustomMeasurement = Omit<PluginMetricEvent, 'pluginId'>;

const PREFIX = 'pluginhost_plugin_custom_';
const NAME = /^[a-z][a-z0-9_]{0,79}$/;
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Endings that the exposition format gives a meaning. */
const RESERVED = /_(total|seconds|bucket|sum|count|info|created)$/;

interface Series {
  value: number;
  count: number;
  readonly buckets: number[];
}

/** Names of one plugin. */
const MAX_NAMES = 50;

/**
 * Metrics that plugins name themselves: `count` becomes `pluginhost_plugin_custom_<name>_total`, `gauge` the same
 * without an ending, `observe` (seconds) `…_seconds`, each with the label `plugin`. Names per plugin are bounded; what
 * goes beyond, or is no number, is dropped and counted.
 */
export class CustomMetrics {
  readonly #set: MetricSet;
  readonly #dropped: (plugin: string) => void;
  readonly #namesOf = new Map<string, Set<string>>();
  /** Metric name -> plugin -> numbers. */
  readonly #series = new Map<string, Map<string, Series>>();

  constructor(set: MetricSet, dropped: (plugin: string) => void) {
    this.#set = set;
    this.#dropped = dropped;
  }

  /** `plugin` is a registered one. Never throws. */
  add(plugin: string, { kind, name, value }: CustomMeasurement): void {
    const stem = kind === 'gauge' ? name : name.replace(/_(total|seconds)$/, '');
    const valid = NAME.test(stem) && !RESERVED.test(stem) && !stem.includes('__');
    if (
      !valid ||
      !Number.isFinite(value) ||
      (kind !== 'gauge' && value < 0) ||
      !this.#admit(plugin, `${kind} ${stem}`)
    ) {
      this.#dropped(plugin);
      return;
    }
    const series = this.#seriesOf(kind, stem, plugin);
    if (kind === 'gauge') series.value = value;
    else series.value += value;
    if (kind === 'observe') {
      series.count++;
      const index = BUCKETS.findIndex((bound) => value <= bound);
      const bucket = index < 0 ? BUCKETS.length : index;
      series.buckets[bucket] = (series.buckets[bucket] ?? 0) + 1;
    }
  }

  #admit(plugin: string, key: string): boolean {
    let names = this.#namesOf.get(plugin);
    if (names === undefined) {
      names = new Set();
      this.#namesOf.set(plugin, names);
    }
    if (names.has(key)) return true;
    if (names.size >= MAX_NAMES) return false;
    names.add(key);
    return true;
  }

  #seriesOf(kind: CustomMeasurement['kind'], stem: string, plugin: string): Series {
    const name = `${PREFIX}${stem}${kind === 'count' ? '_total' : kind === 'observe' ? '_seconds' : ''}`;
    let byPlugin = this.#series.get(name);
    if (byPlugin === undefined) {
      const made = new Map<string, Series>();
      byPlugin = made;
      this.#series.set(name, made);
      const type = ({ count: 'counter', gauge: 'gauge', observe: 'histogram' } as const)[kind];
      const samples = () =>
        [...made].flatMap(([id, series]) =>
          kind === 'observe' ? histogram(name, id, series) : [{ labels: { plugin: id }, value: series.value }],
        );
      this.#set.foreign(name, type, 'Measured by a plugin.', samples);
    }
    let series = byPlugin.get(plugin);
    if (series === undefined) {
      series = { value: 0, count: 0, buckets: new Array(BUCKETS.length + 1).fill(0) };
      byPlugin.set(plugin, series);
    }
    return series;
  }
}

function histogram(name: string, plugin: string, series: Series): Sample[] {
  let total = 0;
  const samples: Sample[] = series.buckets.map((count, index) => {
    total += count;
    return { metricName: `${name}_bucket`, labels: { le: String(BUCKETS[index] ?? '+Inf'), plugin }, value: total };
  });
  samples.push({ metricName: `${name}_sum`, labels: { plugin }, value: series.value });
  samples.push({ metricName: `${name}_count`, labels: { plugin }, value: series.count });
  return samples;
}
