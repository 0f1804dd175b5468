import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { http2Call } from '../support.js';
import { decode, encode, PROTOCOLS, type Protocol, serverStream, startFlyte } from './support.js';

const structured = (protocol: Protocol) => (protocol.version === 1 ? 'structuredLines' : 'lines');

for (const protocol of PROTOCOLS) {
  const name = `Flyte ${protocol.version}`;
  const path = `/${protocol.asyncService}/GetTaskLogs`;

  test(`${name}: a page of logs is a header with the next token, then the lines in both forms`, async (t) => {
    const flyte = await startFlyte(t);
    const resourceMeta = await flyte.created(protocol);
    flyte.tasks.logPage = {
      token: 'next',
      lines: [{ message: 'one', timestampMs: 1500, originator: 'USER' }, { message: 'two\r\n' }],
    };
    const request = encode(protocol, 'GetTaskLogsRequest', { resourceMeta, lines: 2, token: 'from' });
    const { messages, code } = await serverStream(flyte.raw(), path, request);
    assert.equal(code, undefined);
    assert.deepEqual(flyte.tasks.logRequests, [{ lines: 2, token: 'from' }]);
    const [head, body] = messages.map((bytes) => decode(protocol, 'GetTaskLogsResponse', bytes));
    assert.equal(head.header.token, 'next');
    assert.deepEqual(body.body.results, ['one', 'two\r\n']);
    const lines = body.body[structured(protocol)];
    assert.deepEqual(lines[0].timestamp, { seconds: '1', nanos: 500_000_000 });
    assert.deepEqual(
      lines.map((line: { message: string; originator: string }) => [line.message, line.originator]),
      [
        ['one\n', 'USER'],
        ['two\r\n', 'UNKNOWN'],
      ],
    );
  });

  test(`${name}: a large page is cut into messages that an engine takes`, async (t) => {
    const flyte = await startFlyte(t);
    const resourceMeta = await flyte.created(protocol);
    const line = 'x'.repeat(200_000);
    flyte.tasks.logPage = { token: '', lines: Array.from({ length: 30 }, () => ({ message: line })) };
    const { messages } = await serverStream(
      flyte.raw(),
      path,
      encode(protocol, 'GetTaskLogsRequest', { resourceMeta }),
    );
    assert.ok(messages.length > 4);
    assert.ok(messages.every((message) => message.length < 2 * 1024 * 1024));
    const bodies = messages.slice(1).map((bytes) => decode(protocol, 'GetTaskLogsResponse', bytes).body);
    assert.equal(bodies.flatMap((body) => body.results).length, 30);
  });

  test(`${name}: a line that no message of an engine could carry is cut, and says so`, async (t) => {
    const flyte = await startFlyte(t);
    const resourceMeta = await flyte.created(protocol);
    flyte.tasks.logPage = { token: '', lines: [{ message: 'short' }, { message: '漢'.repeat(5_000_000) }] };
    const request = encode(protocol, 'GetTaskLogsRequest', { resourceMeta });
    const { messages, code } = await serverStream(flyte.raw(), path, request);
    assert.equal(code, undefined);
    assert.ok(messages.every((message) => message.length < 4 * 1024 * 1024));
    const { results } = decode(protocol, 'GetTaskLogsResponse', messages[1]!).body;
    assert.equal(results[0], 'short');
    assert.match(results[1], /漢… \(5000000 characters\)$/);
  });

  test(`${name}: logs that their engine does not read are given up at the deadline, its own or ours`, async (t) => {
    const flyte = await startFlyte(t, 0, { defaultDeadlineMs: 200 });
    const resourceMeta = await flyte.created(protocol);
    flyte.tasks.logPage = { token: '', lines: Array.from({ length: 50 }, () => ({ message: 'x'.repeat(600_000) })) };
    const request = encode(protocol, 'GetTaskLogsRequest', { resourceMeta });
    for (const headers of [{}, { 'grpc-timeout': '100m' }]) {
      const { stream } = http2Call(t, flyte.port, path, request, { initialWindowSize: 0 }, headers);
      await once(stream, 'close');
      assert.equal(stream.rstCode, http2.constants.NGHTTP2_CANCEL);
    }
    while (flyte.server.inFlight > 0) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(flyte.faults, []);
  });

  test(`${name}: logs that their plugin does not give in time are DEADLINE_EXCEEDED`, async (t) => {
    const flyte = await startFlyte(t, 0, { defaultDeadlineMs: 100 });
    const resourceMeta = await flyte.created(protocol);
    let reason: unknown;
    flyte.tasks.before = (_method, scope) =>
      new Promise((resolve) => {
        scope.signal.addEventListener('abort', () => {
          reason = scope.signal.reason;
          resolve();
        });
      });
    const request = encode(protocol, 'GetTaskLogsRequest', { resourceMeta });
    const { code } = await serverStream(flyte.raw(), path, request, Number.POSITIVE_INFINITY);
    assert.equal(code, status.DEADLINE_EXCEEDED);
    assert.equal((reason as { code: string }).code, 'DEADLINE_EXCEEDED');
  });

  test(`${name}: logs of a foreign meta that nobody knows are INVALID_ARGUMENT`, async (t) => {
    const flyte = await startFlyte(t);
    const request = encode(protocol, 'GetTaskLogsRequest', { resourceMeta: Buffer.from('{}') });
    const { code } = await serverStream(flyte.raw(), path, request);
    assert.equal(code, status.INVALID_ARGUMENT);
  });

  test(`${name}: a range of metrics that is none is refused, and no plugin sees it`, async (t) => {
    const flyte = await startFlyte(t);
    const resourceMeta = await flyte.created(protocol);
    const wrong: Record<string, object> = {
      start_time: { startTime: { seconds: '9223372036854775807' } },
      end_time: { startTime: { seconds: 100 }, endTime: { seconds: 99 } },
      step: { step: { seconds: -10 } },
      queries: { queries: Array.from({ length: 101 }, () => 'q') },
    };
    for (const [field, parts] of Object.entries(wrong)) {
      const request = encode(protocol, 'GetTaskMetricsRequest', { resourceMeta, queries: [], ...parts });
      const { error } = await flyte.async(protocol, 'GetTaskMetrics', request);
      assert.equal(error?.code, status.INVALID_ARGUMENT, field);
      assert.match(error?.details ?? '', new RegExp(`^${field}: `));
    }
    assert.equal(flyte.tasks.metricRequests.length, 0);
    const zero = encode(protocol, 'GetTaskMetricsRequest', { resourceMeta, queries: ['q'], step: { seconds: 0 } });
    assert.equal((await flyte.async(protocol, 'GetTaskMetrics', zero)).error, undefined);
    assert.equal(flyte.tasks.metricRequests[0]?.stepMs, undefined, 'no step is none');
  });

  test(`${name}: metrics come as a Prometheus range result`, async (t) => {
    const flyte = await startFlyte(t);
    const resourceMeta = await flyte.created(protocol);
    flyte.tasks.series = [{ metric: 'cpu', points: [{ timestampMs: 2500, value: 0.5 }] }];
    const request = encode(protocol, 'GetTaskMetricsRequest', {
      resourceMeta,
      queries: ['cpu'],
      startTime: { seconds: 1, nanos: 500_000_000 },
      step: { seconds: 30 },
    });
    const { bytes, error } = await flyte.async(protocol, 'GetTaskMetrics', request);
    assert.equal(error, undefined);
    assert.deepEqual(flyte.tasks.metricRequests, [
      { queries: ['cpu'], startTimeMs: 1500, endTimeMs: undefined, stepMs: 30_000 },
    ]);
    const [result] = decode(protocol, 'GetTaskMetricsResponse', bytes).results;
    assert.equal(result.metric, 'cpu');
    assert.match(JSON.stringify(result.data), /matrix.*2\.5/s);
  });
}
