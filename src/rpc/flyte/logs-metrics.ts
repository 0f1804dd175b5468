import type { Codec, Message } from '../../idl/codec.js';
import { structFromJson } from '../../idl/struct.js';
import { durationToMs, msToTimestamp, timestampToMs } from '../../idl/well-known.js';
import { lenField } from '../../idl/wire.js';
import { cutText } from '../../lib/text.js';
import { isTime, isWait } from '../../model/answer-bounds.js';
import type { LogLine, MetricSeries } from '../../plugin-api/plugin.js';
import type { MetricsRequest } from '../../tasks/types.js';
import { fieldInvalid } from '../fields.js';
import type { Dialect } from './dialect.js';

/** Lines that one page may hold, whatever was asked for. */
export const LOG_LINES_MAX = 10_000;
/** A message of a page is closed above this; engines take 4 MiB. */
const BODY_BYTES = 1024 * 1024;

/** A longer line is cut, in UTF-16 units: it goes out twice, with up to three bytes for each. */
const LINE_MAX = 256 * 1024;

/** Field of the lines with their time and origin. */
const STRUCTURED: Readonly<Record<1 | 2, string>> = { 1: 'structuredLines', 2: 'lines' };

/** The messages of one page: a header with the next page's token, then the lines. */
export function* logMessages(
  dialect: Dialect,
  page: { readonly lines: readonly LogLine[]; readonly token: string },
): Generator<Buffer> {
  const codec = dialect.codec('GetTaskLogsResponse');
  yield codec.encode({ header: { token: page.token } });
  let lines: LogLine[] = [];
  let bytes = 0;
  for (const whole of page.lines) {
    const line = cutLine(whole);
    lines.push(line);
    bytes += 2 * Buffer.byteLength(line.message) + 32;
    if (bytes < BODY_BYTES) continue;
    yield bodyOf(dialect, codec, lines);
    lines = [];
    bytes = 0;
  }
  if (lines.length > 0) yield bodyOf(dialect, codec, lines);
}

function cutLine(line: LogLine): LogLine {
  const { length } = line.message;
  if (length <= LINE_MAX) return line;
  return { ...line, message: `${cutText(line.message, LINE_MAX)}… (${length} characters)` };
}

/** Both forms are sent: the plain one is deprecated, and the only one that older engines read. */
function bodyOf(dialect: Dialect, codec: Codec, lines: readonly LogLine[]): Buffer {
  const structured = lines.map((line) => ({
    message: line.message.endsWith('\n') ? line.message : `${line.message}\n`,
    timestamp: line.timestampMs === undefined ? undefined : msToTimestamp(line.timestampMs),
    originator: line.originator ?? 'UNKNOWN',
  }));
  return codec.encode({
    body: { results: lines.map((line) => line.message), [STRUCTURED[dialect.version]]: structured },
  });
}

/** Queries of one GetTaskMetrics. */
const MAX_QUERIES = 100;

/** What GetTaskMetrics asks for, as a plugin can work with it. Throws REQUEST_FIELD_INVALID. */
export function metricsRequest(message: Message): MetricsRequest {
  const queries = message.queries as string[];
  if (queries.length > MAX_QUERIES) {
    throw fieldInvalid('queries', `${queries.length} of them; at most ${MAX_QUERIES} are taken`);
  }
  const startTimeMs = timeOf('start_time', message.startTime);
  const endTimeMs = timeOf('end_time', message.endTime);
  if (startTimeMs !== undefined && endTimeMs !== undefined && endTimeMs < startTimeMs) {
    throw fieldInvalid('end_time', 'is before start_time');
  }
  const stepMs = durationToMs(message.step) ?? 0;
  if (stepMs !== 0 && !isWait(stepMs)) throw fieldInvalid('step', `${stepMs} ms is no length of time`);
  return { queries, startTimeMs, endTimeMs, stepMs: stepMs === 0 ? undefined : stepMs };
}

function timeOf(field: string, timestamp: Message | null | undefined): number | undefined {
  const timeMs = timestampToMs(timestamp);
  if (timeMs === null) return undefined;
  if (!isTime(timeMs)) throw fieldInvalid(field, `${timeMs} ms is no time of the years 1 to 9999`);
  return timeMs;
}

const RESULTS = 1;
const METRIC = 1;
const DATA = 2;

/** GetTaskMetricsResponse; each series in the form of a Prometheus range query's result, as the .proto asks for. */
export function encodeMetrics(dialect: Dialect, series: readonly MetricSeries[]): Buffer {
  return Buffer.concat(
    series.map(({ metric, points }) => {
      const values = points.map((point) => [point.timestampMs / 1000, String(point.value)]);
      const data = { resultType: 'matrix', result: [{ metric: { __name__: metric }, values }] };
      return lenField(
        RESULTS,
        Buffer.concat([lenField(METRIC, metric), lenField(DATA, dialect.struct.encode(structFromJson(data)))]),
      );
    }),
  );
}
