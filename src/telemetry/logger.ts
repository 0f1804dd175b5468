import { type DestinationStream, type Logger, pino } from 'pino';
import { SecretMasks } from '../lib/secrets.js';
import { LOG_EVENTS, type LogEventName, type LogFields } from './events.js';
import { LogSink } from './log-sink.js';
import { createRedactor } from './redact.js';

export interface LogOptions {
  /** Least severe level that is written. Default info. */
  readonly level?: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** `json`: one object a line. `text`: one plain line for people. Default json. */
  readonly format?: 'json' | 'text';
  /** Further field names whose values are never written. */
  readonly redactNames?: readonly string[];
  /** Secrets that must never be written, wherever they stand; more may be added as they become known. */
  readonly masks?: SecretMasks;
  /** Where lines go; standard output unless given. */
  readonly sink?: DestinationStream;
}

/** The daemon's log. Lines come from the catalogue of events only. */
export interface Log {
  /** Writes one line, unless the event's level is below the configured one. Never throws. */
  emit<E extends LogEventName>(event: E, fields: LogFields<E>): void;
  /** Whether `emit` would write; for events whose fields cost something. */
  enabled(event: LogEventName): boolean;
  /** A log whose lines carry these fields too. */
  child(fields: Readonly<Record<string, unknown>>): Log;
  /** Writes out what is buffered, for a bounded time; for the end of the process. */
  flush(): void;
  /** Lines that standard output did not take and that were left out, since the start. */
  dropped(): number;
}

export function createLog(options: LogOptions = {}): Log {
  const { level = 'info', format = 'json' } = options;
  const own = options.sink === undefined ? standardOutput((lines) => log.emit('log.dropped', { lines })) : undefined;
  const sink: DestinationStream = own ?? (options.sink as DestinationStream);
  const logger = pino(
    {
      level,
      base: { pid: process.pid },
      messageKey: 'message',
      timestamp: isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    format === 'json' ? sink : textSink(sink),
  );
  const redact = createRedactor({ names: options.redactNames ?? [], masks: options.masks ?? new SecretMasks() });
  const log = wrap(logger, redact, own);
  return log;
}

/** Of the last line, to its second; a burst writes thousands in one. */
let second = Number.NaN;
let upToSecond = '';

/** As pino's own of this name writes it. */
function isoTime(): string {
  const nowMs = Date.now();
  const now = Math.floor(nowMs / 1000);
  if (now !== second) {
    second = now;
    upToSecond = `,"time":"${new Date(now * 1000).toISOString().slice(0, -4)}`;
  }
  return `${upToSecond}${String(nowMs - now * 1000).padStart(3, '0')}Z"`;
}

/** Bytes that may wait for a slow reader of standard output. */
const MAX_BUFFER = 16 * 1024 * 1024;
/** What the end of the process waits for a reader that does not read. Well below what supervisors give a stop. */
const FLUSH_MS = 1_000;

function standardOutput(onResumed: (lines: number) => void): LogSink {
  // Opening the stream is what makes Node set a pipe, socket or terminal to not block.
  void process.stdout;
  return new LogSink({ fd: 1, maxBytes: MAX_BUFFER, flushMs: FLUSH_MS, onResumed });
}

function wrap(logger: Logger, redact: (value: unknown) => unknown, sink: LogSink | undefined): Log {
  return {
    emit(event, fields) {
      const { level, message } = LOG_EVENTS[event];
      if (!logger.isLevelEnabled(level)) return;
      const safe = redact(fields);
      const line: Record<string, unknown> = { event };
      Object.assign(line, typeof safe === 'object' ? safe : { fields: safe });
      logger[level](line, message);
    },
    enabled: (event) => logger.isLevelEnabled(LOG_EVENTS[event].level),
    child: (fields) => wrap(logger.child(redact(fields) as Record<string, unknown>), redact, sink),
    flush: () => sink?.flush(),
    dropped: () => sink?.dropped ?? 0,
  };
}

/** Turns each JSON line into a plain one: time, level, message, then the fields. */
function textSink(sink: DestinationStream): DestinationStream {
  return {
    write(line: string) {
      const { time, level, message, event, pid: _pid, ...fields } = JSON.parse(line) as Record<string, unknown>;
      const rest = Object.entries(fields).map(([key, value]) => `${key}=${fieldText(value)}`);
      sink.write(`${time} ${String(level).toUpperCase().padEnd(5)} ${[event, message, ...rest].join(' ')}\n`);
    },
  };
}

function fieldText(value: unknown): string {
  if (typeof value === 'string' && /^[\w./:@-]+$/.test(value)) return value;
  return JSON.stringify(value);
}
