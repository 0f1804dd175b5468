import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { H2Connection, prepareCall } from '../../bench/lib/h2-client.js';
import { median } from '../../bench/lib/numbers.js';
import { bench } from '../../bench/status/bench.js';
import { idl, SERVICE, startServer } from '../rpc/support.js';

test('the status bench measures all targets in one run and makes the ratio of them', async () => {
  const lines: string[] = [];
  const options = { ...bench.defaults, tasks: 50, rounds: 2, seconds: 0.05, warmup: 0.05, connections: 1, streams: 2 };
  // biome-ignore lint/suspicious/noExplicitAny: the result is JSON
  const result: any = await bench.run(options, (line) => lines.push(line));
  assert.equal(lines.length, 2);
  for (const name of ['floor', 'tuned_floor', 'status']) {
    assert.ok(result[name].calls_per_second > 0, name);
    assert.ok(result[name].cpu_us_per_call > 0, name);
  }
  assert.ok(result.ratio_to_floor > 0 && result.cpu_ratio_to_floor > 0);
  assert.ok(result.ratio_min <= result.ratio_to_floor && result.ratio_to_floor <= result.ratio_max);
  // Times of observation differ by a byte or two when encoded.
  assert.ok(Math.abs(result.floor.answer_bytes - result.status.answer_bytes) < 4);
  assert.match(bench.describe(result), /^bare grpc-js .*\n.*\nStatus .*\nratio to floor /);
});

test('the generator tells calls that were answered from those that failed, and addresses every handle', async (t) => {
  const fixture = await startServer(t);
  const handles: Buffer[] = [];
  for (const generatedName of ['a', 'b', 'c']) {
    handles.push((await fixture.client().create({ generatedName, template: { type: 'demo' } })).handle);
  }
  const asked = new Map<string, number>();
  const peek = fixture.tasks.peek.bind(fixture.tasks);
  fixture.tasks.peek = (handle) => {
    asked.set(handle.toString('latin1'), (asked.get(handle.toString('latin1')) ?? 0) + 1);
    return peek(handle);
  };
  const request = (handle: Buffer) => idl.codec('pluginhost.v1.StatusRequest').encode({ handle });
  const good = handles.map((handle) => prepareCall(`${SERVICE}/Status`, 'x', request(handle)));
  const bad = prepareCall(`${SERVICE}/Status`, 'x', request(Buffer.from('nonsense')));
  const calls = Array.from({ length: 300 }, (_, index) => good[index % 3]!);
  const connection = await H2Connection.open(fixture.port, 8);
  t.after(() => connection.close());
  const first = await connection.run(() => calls.pop());
  assert.deepEqual([first.calls, first.errors], [300, 0]);
  assert.deepEqual([...asked.values()], [100, 100, 100]);
  const mixed = [bad, good[0]!, bad, good[1]!];
  const second = await connection.run(() => mixed.pop());
  assert.deepEqual([second.calls, second.errors], [2, 2]);
});

test('a connection that breaks fails the round, and does not hang it', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const connection = await H2Connection.open((server.address() as { port: number }).port, 1);
  const call = prepareCall('/x', 'x', Buffer.alloc(0));
  await assert.rejects(connection.run(() => call));
});

test('the median is the middle, and of nothing there is none', () => {
  assert.deepEqual([median([3, 1, 2]), median([4, 1, 2, 3])], [2, 2.5]);
  assert.throws(() => median([]), RangeError);
});
