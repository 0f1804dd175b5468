import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import type { Bench } from '../../bench/lib/bench.js';
import { mainThreadMicros, onCpuMicros } from '../../bench/lib/cpu.js';
import { H2Connection, prepareCall } from '../../bench/lib/h2-client.js';
import { median, percentile } from '../../bench/lib/numbers.js';
import { idl, SERVICE, startServer } from '../rpc/support.js';

async function runBench(name: string, options: Record<string, number>) {
  const { bench } = (await import(`../../bench/${name}.js`)) as { bench: Bench };
  // biome-ignore lint/suspicious/noExplicitAny: the result is JSON
  const result: any = await bench.run({ ...bench.defaults, ...options }, () => {});
  assert.equal(result.bench, name);
  assert.equal(result.machine.load_average.length, 3);
  assert.ok(bench.describe(result).length > 0);
  return result;
}

test('status measures the daemon and its floor as processes, over many tasks, and makes ratios of both', async () => {
  const result = await runBench('status', { tasks: 20, calls: 50, rounds: 2, warmup: 50, connections: 1, streams: 5 });
  for (const side of [result.floor, result.daemon, result]) {
    for (const field of ['calls_per_second', 'cpu_us', 'p50_ms', 'p99_ms']) assert.ok(side[field] > 0, field);
    assert.ok(side.p50_ms <= side.p99_ms);
  }
  assert.ok(result.ratio_to_floor > 0 && result.cpu_ratio_to_floor > 0);
  assert.ok(result.ratio_min <= result.ratio_to_floor && result.ratio_to_floor <= result.ratio_max);
  assert.deepEqual([result.tasks, result.calls, result.rounds], [20, 50, 2]);
});

test('create measures pairs of Create and Delete', async () => {
  const result = await runBench('create', { pairs: 20, rounds: 1, warmup: 10, connections: 1, streams: 5 });
  assert.ok(result.per_second > 0 && result.cpu_us > result.cpu_us_create && result.cpu_us_create > 0);
});

test('memory weighs tasks of the size it promises against the empty daemon', async () => {
  const result = await runBench('memory', { tasks: 50, warmup: 5, settle: 0.1 });
  assert.ok(result.heap_bytes_per_task !== 0 && result.full_resident_bytes > 0);
  assert.ok(result.handle_bytes >= 240 && result.handle_bytes <= 260, `${result.handle_bytes} bytes`);
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
  const answers: (string | undefined)[] = [];
  const second = await connection.run(
    () => mixed.pop(),
    (_call, answer) =>
      answers.push(answer && idl.codec('pluginhost.v1.StatusResponse').decode(answer).status.phaseInfo.phase),
  );
  assert.deepEqual([second.calls, second.errors], [2, 2]);
  assert.equal(second.latenciesMs.length, 4);
  assert.equal(answers.filter((phase) => phase === undefined).length, 2, 'a call that failed has no answer');
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

test('a percentile is a value that was seen, the worst one at the end, and 0 where nothing was', () => {
  const values = Float64Array.from({ length: 100 }, (_, index) => index + 1);
  assert.deepEqual([percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1)], [50, 99, 100]);
  assert.equal(percentile(Float64Array.of(7), 0), 7);
  assert.equal(percentile(new Float64Array(), 0.5), 0);
});

test('the time of the main thread is that of the thread alone, and what is no schedstat is refused', () => {
  assert.equal(onCpuMicros('2500000 17 3\n'), 2500);
  assert.throws(() => onCpuMicros('none'), /not a schedstat/);
  const before = mainThreadMicros(process.pid);
  while (mainThreadMicros(process.pid) === before);
  assert.throws(() => mainThreadMicros(2 ** 30), /needs Linux/);
});
