import { getOrMake } from '../lib/get-or-make.js';
import { type Labels, METRICS, type NamesOf } from './metric-catalogue.js';
import type { MetricSet, Sample } from './metric-set.js';

/**
 * Numbers that are added up here and told at each scrape. To look a series up by its labels, as prom-client does each time, takes ten
 * times as long as to count, and each call of a plugin is counted six times.
 */

/** A series of a counter. */
export class Tally {
  #value = 0;

  constructor(readonly labels: Readonly<Record<string, string>>) {}

  add(by = 1): void {
    this.#value += by;
  }

  /** None before it has counted anything. */
  samples(): readonly Sample[] {
    return this.#value === 0 ? [] : [{ labels: this.labels, value: this.#value }];
  }
}

/** A series of a histogram. */
export class HistogramTally {
  readonly #name: string;
  readonly #bounds: readonly number[];
  /** Not cumulative; one more for what is above the last bound. */
  readonly #buckets: Float64Array;
  #sum = 0;

  constructor(
    name: NamesOf<'histogram'>,
    readonly labels: Readonly<Record<string, string>>,
  ) {
    this.#name = name;
    this.#bounds = METRICS[name].buckets;
    this.#buckets = new Float64Array(this.#bounds.length + 1);
  }

  observe(value: number): void {
    this.#sum += value;
    let index = 0;
    while (index < this.#bounds.length && value > this.#bounds[index]!) index++;
    this.#buckets[index]!++;
  }

  samples(): readonly Sample[] {
    let total = 0;
    const samples: Sample[] = [...this.#buckets].map((count, index) => {
      total += count;
      const le = index < this.#bounds.length ? String(this.#bounds[index]) : '+Inf';
      return { metricName: `${this.#name}_bucket`, labels: { ...this.labels, le }, value: total };
    });
    samples.push({ metricName: `${this.#name}_sum`, labels: this.labels, value: this.#sum });
    samples.push({ metricName: `${this.#name}_count`, labels: this.labels, value: total });
    return samples;
  }
}

/** Finds the series of one metric by its labels, and makes it where there is none; for keeping, and not for each count. */
export type SeriesOf<N extends NamesOf<'counter'> | NamesOf<'histogram'>, T> = (labels: Labels<N>) => T;

export function counterTallies<N extends NamesOf<'counter'>>(set: MetricSet, name: N): SeriesOf<N, Tally> {
  return tallies(set, name, (labels) => new Tally(labels));
}

export function histogramTallies<N extends NamesOf<'histogram'>>(set: MetricSet, name: N): SeriesOf<N, HistogramTally> {
  return tallies(set, name, (labels) => new HistogramTally(name, labels));
}

function tallies<N extends NamesOf<'counter'> | NamesOf<'histogram'>, T extends { samples(): readonly Sample[] }>(
  set: MetricSet,
  name: N,
  make: (labels: Readonly<Record<string, string>>) => T,
): SeriesOf<N, T> {
  const names: readonly string[] = METRICS[name].labels;
  const series = new Map<string, T>();
  set.collected(name, () => [...series.values()].flatMap((one) => one.samples()));
  return (labels) => {
    const given = labels as Readonly<Record<string, string>>;
    return getOrMake(series, JSON.stringify(names.map((label) => given[label])), () => make(given));
  };
}
