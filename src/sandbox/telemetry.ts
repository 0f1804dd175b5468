import { LOG_BYTES_PER_SECOND, MAX_METRICS, MAX_OBSERVATIONS } from '../channel/measurements.js';
import type { JsonObject } from '../lib/json.js';
import type { LogLevel } from '../model/plugin-facts.js';
import type { PluginLogger, PluginMetrics } from '../plugin-api/contexts.js';
import { bounded, plainFields } from './plain-fields.js';
import type { Redactor } from './redactor.js';

/** Where a runtime sends lines and metrics; in a plugin process this is the channel. */
export interface TelemetrySink {
  log(level: LogLevel, message: string, fields: JsonObject): void;
  metric(kind: 'count' | 'gauge' | 'observe', name: string, values: readonly number[]): void;
}

const MAX_MESSAGE = 8_192;
const METRIC_NAME = /^[a-z][a-z0-9_]{0,63}$/;
const SECOND_MS = 1_000;
/** Bound while it is the platform's own: plugins put clocks of their own in its place. */
const monotonicMs = performance.now.bind(performance);

/** So many of something a second. */
export class PerSecond {
  readonly #most: number;
  #since = monotonicMs();
  #used = 0;

  constructor(most: number) {
    this.#most = most;
  }

  take(): boolean {
    const now = monotonicMs();
    if (now - this.#since >= SECOND_MS) {
      this.#since = now;
      this.#used = 0;
    }
    return this.#used++ < this.#most;
  }
}

/** Log lines of one plugin, limited a second in number and bytes; what is dropped is counted and said in the next second. */
export class ChildLogger implements PluginLogger {
  readonly #sink: TelemetrySink;
  readonly #redactor: Redactor;
  readonly #perSecond: number;
  readonly #now: () => number;
  #windowStart = 0;
  #sent = 0;
  #bytes = 0;
  #dropped = 0;

  constructor(sink: TelemetrySink, redactor: Redactor, perSecond: number, now: () => number = monotonicMs) {
    this.#sink = sink;
    this.#redactor = redactor;
    this.#perSecond = perSecond;
    this.#now = now;
  }

  debug(message: string, fields?: Record<string, unknown>): void {
    this.#log('debug', message, fields);
  }
  info(message: string, fields?: Record<string, unknown>): void {
    this.#log('info', message, fields);
  }
  warn(message: string, fields?: Record<string, unknown>): void {
    this.#log('warn', message, fields);
  }
  error(message: string, fields?: Record<string, unknown>): void {
    this.#log('error', message, fields);
  }

  #log(level: LogLevel, message: unknown, fields: unknown): void {
    const now = this.#now();
    if (now - this.#windowStart >= SECOND_MS) this.#nextWindow(now);
    if (this.#sent >= this.#perSecond || this.#bytes >= LOG_BYTES_PER_SECOND) {
      this.#dropped++;
      return;
    }
    this.#sent++;
    const redact = (text: string): string => this.#redactor.redact(text);
    const text = bounded(redact(String(message)), MAX_MESSAGE);
    const plain = plainFields(fields, redact);
    this.#bytes += Buffer.byteLength(text) + Buffer.byteLength(JSON.stringify(plain));
    this.#sink.log(level, text, plain);
  }

  /** Says what was dropped in a second that is over, also when no further line comes. */
  flush(): void {
    const now = this.#now();
    if (now - this.#windowStart >= SECOND_MS) this.#nextWindow(now);
  }

  #nextWindow(now: number): void {
    const dropped = this.#dropped;
    this.#windowStart = now;
    this.#sent = 0;
    this.#bytes = 0;
    this.#dropped = 0;
    if (dropped > 0) this.#sink.log('warn', 'log lines were dropped', { dropped, linesPerSecond: this.#perSecond });
  }
}

/** Metrics of one plugin, gathered here and sent by `flush`, so that a hot loop costs no messages. */
export class ChildMetrics implements PluginMetrics {
  readonly #sink: TelemetrySink;
  readonly #logger: PluginLogger;
  readonly #names = new Set<string>();
  readonly #refused = new Set<string>();
  readonly #counts = new Map<string, number>();
  readonly #gauges = new Map<string, number>();
  readonly #observed = new Map<string, number[]>();

  constructor(sink: TelemetrySink, logger: PluginLogger) {
    this.#sink = sink;
    this.#logger = logger;
  }

  count(name: string, by = 1): void {
    if (!this.#accepts(name, by, by >= 0)) return;
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  gauge(name: string, value: number): void {
    if (this.#accepts(name, value, true)) this.#gauges.set(name, value);
  }

  observe(name: string, seconds: number): void {
    if (!this.#accepts(name, seconds, seconds >= 0)) return;
    const values = this.#observed.get(name) ?? [];
    if (values.length < MAX_OBSERVATIONS) values.push(seconds);
    this.#observed.set(name, values);
  }

  flush(): void {
    for (const [name, value] of this.#counts) this.#sink.metric('count', name, [value]);
    for (const [name, value] of this.#gauges) this.#sink.metric('gauge', name, [value]);
    for (const [name, values] of this.#observed) this.#sink.metric('observe', name, values);
    this.#counts.clear();
    this.#gauges.clear();
    this.#observed.clear();
  }

  /** A bad metric must not fail a task: it is said once and ignored. */
  #accepts(name: string, value: number, inRange: boolean): boolean {
    const known = this.#names.has(name);
    const nameOk = known || (typeof name === 'string' && METRIC_NAME.test(name) && this.#names.size < MAX_METRICS);
    if (nameOk && inRange && Number.isFinite(value)) {
      this.#names.add(name);
      return true;
    }
    const shown = bounded(String(name), 64);
    if (!this.#refused.has(shown) && this.#refused.size < MAX_METRICS) {
      this.#refused.add(shown);
      this.#logger.warn('a metric was ignored', {
        metric: shown,
        value: String(value),
        expected: `snake_case, at most ${MAX_METRICS} names, finite values, none below 0 for count and observe`,
      });
    }
    return false;
  }
}
