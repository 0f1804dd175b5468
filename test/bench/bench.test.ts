import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type Bench, COMMON_FIELDS, ofTries, type Result, type Targets, verdicts } from '../../bench/lib/bench.js';
import { mainThreadMicros, onCpuMicros } from '../../bench/lib/cpu.js';
import { H2Connection, prepareCall } from '../../bench/lib/h2-client.js';
import { median, percentile } from '../../bench/lib/numbers.js';
import { idl, SERVICE, startServer } from '../rpc/support.js';

async function runBench(name: string, options: Record<string, number>) {
  const { bench } = (await import(`../../bench/${name}.js`)) as { bench: Bench };
  // biome-ignore lint/suspicious/noExplicitAny: the result is JSON
  const result: any = await bench.run({ ...bench.defaults, ...options }, () => {});
  assert.equal(result.bench, name);
  const expected = new Set([...COMMON_FIELDS, ...bench.fields, ...Object.keys(bench.defaults)]);
  assert.deepEqual(Object.keys(result).sort(), [...expected].sort());
  assert.equal(result.machine.load_average.length, 3);
  assert.ok(bench.describe(result).length > 0);
  return result;
}

test('status measures the daemon and its floor as processes, over many tasks, and makes ratios of both', async () => {
  const result = await runBench('status', {
    tasks: 20,
    calls: 50,
    rounds: 2,
    warmup: 50,
    seconds: 0.2,
    connections: 1,
    streams: 5,
  });
  for (const side of [result.floor, result.daemon, result]) {
    for (const field of ['calls_per_second', 'cpu_us', 'p50_ms', 'p99_ms']) assert.ok(side[field] > 0, field);
    assert.ok(side.p50_ms <= side.p99_ms);
  }
  assert.ok(result.ratio_to_floor > 0 && result.cpu_ratio_to_floor > 0);
  assert.ok(result.ratio_min <= result.ratio_to_floor && result.ratio_to_floor <= result.ratio_max);
  assert.ok(result.p99_ratio > 0 && result.half_rate > 0);
  assert.deepEqual([result.tasks, result.calls, result.rounds], [20, 50, 2]);
});

test('live asks by the clock for tasks that are read meanwhile', async () => {
  const result = await runBench('live', { tasks: 30, resync: 5, rate: 100, seconds: 0.5, warmup: 20, connections: 1 });
  assert.ok(result.achieved_ratio > 0 && result.p50_ms > 0 && result.p50_ms <= result.p99_ms);
  assert.ok(result.resident_bytes_per_task > 0 && result.plugin_share >= 0 && result.late_polls >= 0);
});

test('watch weighs following tasks that change against polling each of them', async () => {
  const result = await runBench('watch', {
    tasks: 200,
    poll: 1,
    change: 2,
    resync: 5,
    seconds: 2,
    rounds: 1,
    warmup: 50,
  });
  assert.ok(result.changes_per_second > 0 && result.polls_per_second === 200);
  assert.ok(result.poll_share > 0 && result.ratio >= 0);
});

test('hog lets plugins spin and flood in turns with none that does', async () => {
  const result = await runBench('hog', { tasks: 50, rate: 50, seconds: 0.5, rounds: 1, warmup: 50, idle: 0 });
  assert.ok(result.p99_ms > 0 && result.calm_p99_ms > 0 && result.p99_ratio > 0);
});

test('burst answers every Create that came at once, and delete counts the pairs by the main thread', async () => {
  const burst = await runBench('burst', { creates: 200, rounds: 1, warmup: 50, connections: 2 });
  assert.ok(burst.latest_ms >= burst.p50_ms && burst.p50_ms > 0 && burst.waiting >= 0);
  // Each is rounded by itself.
  assert.ok(Math.abs(burst.latest_share - burst.latest_ms / burst.deadline_ms) <= 0.001);
  const pairs = await runBench('delete', { pairs: 100, live: 20, rounds: 1, warmup: 50 });
  assert.ok(pairs.cpu_us > 0 && pairs.cpu_us_create > 0);
});

test('detect holds the schedule to the reads of the original, and a few tasks are seen to end long before', async () => {
  const result = await runBench('detect', { hours: 1, light: 10, capacity: 20, overload: 30, batch: 10 });
  for (const name of ['light', 'capacity', 'capacity_many', 'overload', 'overload_many']) {
    assert.ok(result[`${name}_ratio`] < 0.5, `${name}: ${result[`${name}_ratio`]}`);
    assert.ok(result[`${name}_ends`] > 0, name);
  }
  assert.equal(result.starved, 0);
});

test('scale spreads tasks over replicas in virtual time, and says which share of them was run', async () => {
  const result = await runBench('scale', {
    replicas: 4,
    tasks: 4_000,
    plugins: 4,
    parts: 16,
    qps: 20,
    batch: 10,
    seconds: 20,
  });
  assert.equal(result.simulated_share, 0.25);
  assert.ok(result.calls_per_second_extrapolated > 0 && result.limit_used <= 1.1);
  assert.ok(result.messages_per_call > 0 && result.grants_per_second_extrapolated > 0);
  for (const name of ['join', 'stop', 'crash']) assert.ok(result[`${name}_s`] > 0 && result[`${name}_moved`] > 0, name);
  assert.ok(result.crash_s > result.lease && result.membership_statements_per_second > 0);
});

const TARGETS = { up: { atLeast: 10 }, down: { atMost: 10 }, none: { atMost: 0 } };

const missed = (results: readonly Result[], targets: Targets = TARGETS): readonly string[] =>
  verdicts(targets, results).flatMap(({ held, line }) => (held ? [] : [line]));

test('a figure that misses its target by more than a fifth is named, and one that is not there as well', () => {
  assert.deepEqual(missed([{ up: 8, down: 12.5, none: 0 }]), []);
  assert.deepEqual(missed([{ up: 7.9, down: 1, none: 0 }]), [
    'up 7.9: target at least 10, fails below 8; 21 % below the target',
  ]);
  assert.deepEqual(missed([{ up: 99, down: 12.6, none: 2 }]), [
    'down 12.6: target at most 10, fails above 12.5; 26 % above the target',
    'none 2: target at most 0, fails above 0; 2 above the target',
  ]);
  assert.deepEqual(missed([{ up: 99, none: 0 }]), ['down NaN: target at most 10, fails above 12.5; no figure']);
  assert.deepEqual(
    verdicts(TARGETS, [{ up: 10, down: 11, none: 0 }]).map(({ line }) => line.split('; ').at(-1)),
    ['reached', '10 % above the target', 'reached'],
  );
});

test('of several tries the best of each figure is judged, and it is that which is told', () => {
  const tries = [
    { up: 7, down: 9, none: 0, beside: 1 },
    { up: 9, down: 99, none: 3, beside: 2 },
    { up: 6, none: 1, beside: 3 },
  ];
  assert.deepEqual(missed(tries), []);
  assert.deepEqual(missed([{ up: 7 }, { up: 6 }], { up: { atLeast: 10 } }), [
    'up 7, best of 7, 6: target at least 10, fails below 8; 30 % below the target',
  ]);
  assert.deepEqual(ofTries(TARGETS, tries), {
    up: 9,
    down: 9,
    none: 0,
    beside: 3,
    tries: 3,
    by_try: { up: [7, 9, 6], down: [9, 99, undefined], none: [0, 3, 1] },
  });
  assert.deepEqual(ofTries(TARGETS, tries.slice(0, 1)), { ...tries[0], tries: 1 });
});

test('create measures pairs of Create and Delete', async () => {
  const result = await runBench('create', { pairs: 20, rounds: 1, warmup: 10, connections: 1, streams: 5 });
  assert.ok(result.per_second > 0 && result.cpu_us > result.cpu_us_create && result.cpu_us_create > 0);
});

test('memory weighs tasks of the size it promises against the empty daemon', async () => {
  const result = await runBench('memory', { tasks: 50, settle: 0.1 });
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

test('calls that come by the clock are all made, and each waits from the time that it was due', async (t) => {
  const fixture = await startServer(t);
  const { handle } = await fixture.client().create({ generatedName: 'a', template: { type: 'demo' } });
  const call = prepareCall(`${SERVICE}/Status`, 'x', idl.codec('pluginhost.v1.StatusRequest').encode({ handle }));
  const connection = await H2Connection.open(fixture.port, 1);
  t.after(() => connection.close());
  let left = 40;
  const lateMs = 500;
  const counts = await connection.runOpen(() => (left-- > 0 ? call : undefined), performance.now() - lateMs, 1);
  assert.deepEqual([counts.calls, counts.errors], [40, 0]);
  assert.ok(counts.latenciesMs.every((ms) => ms >= lateMs - 40));
  const again = [call];
  assert.equal((await connection.run(() => again.pop())).calls, 1);
});

/** A connection to a server that listens from now on, until the test ends. */
async function connectTo(t: TestContext, server: Server): Promise<H2Connection> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const connection = await H2Connection.open((server.address() as AddressInfo).port, 1);
  t.after(() => connection.close());
  return connection;
}

test('calls that come by the clock never take more streams than the server allows', async (t) => {
  const server = createHttp2Server({ settings: { maxConcurrentStreams: 3 } });
  server.on('stream', (stream) => {
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    setImmediate(() => stream.end(Buffer.alloc(6)));
  });
  const connection = await connectTo(t, server);
  const call = prepareCall('/x', 'x', Buffer.alloc(1));
  const first = [call];
  // Its answer comes behind the server's settings.
  await connection.run(() => first.pop());
  let left = 40;
  const counts = await connection.runOpen(() => (left-- > 0 ? call : undefined), performance.now() - 100, 1);
  assert.deepEqual([counts.calls, counts.errors], [40, 0]);
});

test('a connection that breaks fails the round, and does not hang it', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.destroy());
  });
  const connection = await connectTo(t, server);
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
