import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import {
  type LabelOf,
  type Labels,
  METRICS,
  type MetricEntry,
  type MetricName,
  type NamesOf,
} from './metric-catalogue.js';

/** One line of a metric's exposition. */
export interface Sample {
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Set where it differs from the metric's name: `…_bucket`, `…_sum`, `…_count`. */
  readonly metricName?: string;
}

/**
 * prom-client's default metrics that promtool rejects: gauges with the ending of counters.
 */
const REJECTED_DEFAULTS = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/**
 * The metrics of one daemon in a registry of its own, made from the catalogue. Several may live in one process (tests),
 * but only one should ask for the process metrics.
 */
export class MetricSet {
  readonly #registry = new Registry();
  readonly #made = new Map<string, unknown>();

  /** Registers what the process itself measures: CPU, memory, file descriptors, garbage collection, event-loop delay. */
  addProcessMetrics(): void {
    collectDefaultMetrics({ register: this.#registry });
    for (const name of REJECTED_DEFAULTS) this.#registry.removeSingleMetric(name);
  }

  counter<N extends NamesOf<'counter'>>(name: N): Counter<LabelOf<N>> {
    return this.#once(name, ({ help, labels }) => new Counter({ name, help, labelNames: [...labels], registers: [] }));
  }

  gauge<N extends NamesOf<'gauge'>>(name: N): Gauge<LabelOf<N>> {
    return this.#once(name, ({ help, labels }) => new Gauge({ name, help, labelNames: [...labels], registers: [] }));
  }

  histogram<N extends NamesOf<'histogram'>>(name: N): Histogram<LabelOf<N>> {
    return this.#once(name, ({ help, labels, buckets = [] }) => {
      return new Histogram({ name, help, labelNames: [...labels], buckets: [...buckets], registers: [] });
    });
  }

  /**
   * A metric whose samples are asked for at each scrape, for numbers that are kept elsewhere: on the hot path a plain
   * increment is several times cheaper than prom-client's look-up by labels.
   */
  collected<N extends MetricName>(name: N, samples: () => Iterable<Sample>): void {
    const entry: MetricEntry = METRICS[name];
    this.#add(name, entry.type, entry.help, samples);
  }

  /** A collected metric that is not in the catalogue: those that plugins name. */
  foreign(name: string, type: MetricEntry['type'], help: string, samples: () => Iterable<Sample>): void {
    this.#add(name, type, help, samples);
  }

  /** The Prometheus text format, version 0.0.4. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  get names(): string[] {
    return this.#registry.getMetricsAsArray().map(({ name }) => name);
  }

  #once<M>(name: MetricName, make: (entry: MetricEntry) => M): M {
    let metric = this.#made.get(name) as M | undefined;
    if (metric === undefined) {
      metric = make(METRICS[name]);
      this.#made.set(name, metric);
      this.#registry.registerMetric(metric as Counter);
    }
    return metric;
  }

  #add(name: string, type: string, help: string, samples: () => Iterable<Sample>): void {
    const get = async () => ({ name, help, type, aggregator: 'sum', values: [...samples()] });
    // The registry asks a metric for its name and for get(), nothing else.
    this.#registry.registerMetric({ name, type, help, get } as unknown as Counter);
  }
}

/** Replaces all samples of a gauge, so that those of plugins that are gone do not stay. */
export function setAll<N extends NamesOf<'gauge'>>(
  gauge: Gauge<LabelOf<N>>,
  samples: Iterable<readonly [Labels<N>, number]>,
): void {
  gauge.reset();
  for (const [labels, value] of samples) gauge.set(labels as never, value);
}
