// The whole thing on one machine: a small HTTP job service as the remote, the daemon as a process, and a client that runs
// two dozen tasks through it, while the remote throttles, goes down for a while and loses an answer. Ends 0 when every
// task ended as it should.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import Table from 'cli-table3';
import ora from 'ora';
import colors from 'picocolors';

// They mean nothing here; untaken, one opens Node's debugger and the other ends this process and leaves the daemon running.
for (const signal of ['SIGUSR1', 'SIGUSR2']) process.on(signal, () => {});

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const dist = (file) => pathToFileURL(path.join(root, 'dist', file)).href;
const { createClient } = await import(dist('src/client/index.js'));
const { makeLiteralCodec } = await import(dist('src/data/literal-codec.js'));
const { loadFlyteidlCore } = await import(dist('src/idl/load-core.js'));
const { createDemoRemote } = await import(dist('plugins/demo/remote.js'));

const literals = makeLiteralCodec(loadFlyteidlCore());
const startMs = Date.now();
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
// A terminal that does not say how wide it is cannot be drawn on.
const live = process.stdout.isTTY === true && process.stdout.columns > 0;
const spinner = live
  ? ora({ stream: process.stdout, color: colors.isColorSupported && 'cyan', discardStdin: false })
  : undefined;

/** A line that stays, above whatever moves. */
function say(line) {
  const text = `${colors.dim(seconds(Date.now() - startMs).padStart(7))}  ${line}`;
  if (spinner?.isSpinning !== true) console.log(text);
  else {
    spinner.clear();
    console.log(text);
    spinner.render();
  }
}

// --- the tasks -----------------------------------------------------------------------------------------------------

const outputs = { variables: { answer: { type: { simple: 'INTEGER' } } } };
const integer = (value) => ({ literals: { answer: { scalar: { primitive: { integer: String(value) } } } } });

function task(name, expected, custom, { type = 'demo_sleep', echo } = {}) {
  return {
    name,
    type,
    expected,
    input: {
      generatedName: `demo-${process.pid}-${name}`,
      template: {
        type,
        custom,
        ...(echo === undefined ? {} : { interface: { inputs: outputs, outputs } }),
      },
      ...(echo === undefined ? {} : { inputs: integer(echo) }),
    },
  };
}

const tasks = [
  ...[1, 2, 3, 4, 5, 6, 8, 10].map((s) => task(`sleep-${s}s`, 'SUCCESS', { seconds: s, queueSeconds: 1 })),
  ...[41, 42, 43].map((n) => task(`echo-${n}`, 'SUCCESS', { seconds: 2 }, { echo: n })),
  ...[1, 2, 3, 4].map((n) => task(`quota-${n}`, 'SUCCESS', { seconds: 3, quota: 'small' })),
  task('bad-sql', 'PERMANENT_FAILURE', {
    seconds: 2,
    outcome: 'fail',
    code: 'SyntaxError',
    message: 'no such column: x',
  }),
  task('out-of-memory', 'PERMANENT_FAILURE', {
    seconds: 4,
    outcome: 'fail',
    code: 'OutOfMemory',
    message: 'killed at 2 GiB',
  }),
  task('preempted', 'RETRYABLE_FAILURE', {
    seconds: 3,
    outcome: 'fail',
    blame: 'system',
    retryable: true,
    code: 'Preempted',
    message: 'the machine was taken away',
  }),
  task('no-output', 'PERMANENT_FAILURE', {}),
  task('through-outage', 'SUCCESS', { seconds: 14 }),
  task('to-cancel', 'DELETED', {}, { type: 'demo_hang' }),
  task('sync-1', 'SUCCESS', {}, { type: 'demo_sync', echo: 7 }),
  task('sync-2', 'SUCCESS', {}, { type: 'demo_sync', echo: 8 }),
];
const missing = tasks.find(({ name }) => name === 'no-output');
missing.input.template.interface = { outputs };

// --- the daemon ----------------------------------------------------------------------------------------------------

async function startDaemon(remoteUrl, folder) {
  const plugin = (file) => path.join(root, 'dist', 'plugins', 'demo', file);
  const config = {
    grpc: { port: 0 },
    // It goes with the demo's folder.
    state: { dir: './state' },
    admin: { host: '127.0.0.1', port: 0 },
    plugins: {
      demo: {
        source: plugin('index.js'),
        required: true,
        settings: { url: remoteUrl },
        config: {
          resourceQuotas: { small: 2 },
          readRateLimiter: { qps: 20, burst: 20 },
          writeRateLimiter: { qps: 10, burst: 10 },
          caching: { resyncInterval: '5s' },
        },
      },
      'demo-sync': { source: plugin('sync.js'), required: true, settings: { url: remoteUrl } },
    },
    shutdown: { drainDelay: '0s' },
  };
  const file = path.join(folder, 'config.json');
  writeFileSync(file, JSON.stringify(config));
  const child = spawn(process.execPath, [path.join(root, 'dist/src/main.js'), 'serve', '--config', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // Ctrl-C goes to all of a terminal's group; the daemon is stopped from here, once.
    detached: true,
  });
  const lines = createInterface({ input: child.stdout });
  const ready = new Promise((resolve, reject) => {
    const last = [];
    lines.on('line', (line) => {
      last.push(line);
      if (last.length > 20) last.shift();
      const event = parse(line);
      if (event?.event === 'daemon.ready') resolve(event);
      if (event?.event === 'remote.down')
        say(colors.yellow('the daemon takes the remote to be down; no task fails for that'));
      if (event?.event === 'remote.up') say(colors.green('the daemon sees the remote up again'));
      if (event?.event === 'call.throttled')
        say(colors.yellow(`throttled: ${event.lane} calls rest for ${event.pauseMs} ms`));
    });
    child.once('exit', (code) => reject(new Error(`the daemon ended with ${code}:\n${last.join('\n')}`)));
  });
  return { child, ready };
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

// --- the run -------------------------------------------------------------------------------------------------------

const ENDS = new Set(['SUCCESS', 'RETRYABLE_FAILURE', 'PERMANENT_FAILURE', 'ABORTED']);
const running = new Map();
const results = [];

function progress() {
  if (spinner === undefined) return;
  const counts = {};
  for (const phase of running.values()) counts[phase] = (counts[phase] ?? 0) + 1;
  const parts = Object.entries(counts).map(([phase, count]) => `${count} ${phase.toLowerCase()}`);
  spinner.text = `${results.length}/${tasks.length} done${parts.length > 0 ? `, ${parts.join(', ')}` : ''}`;
}

function seen(one, phase) {
  if (running.get(one.name) === phase || ENDS.has(phase)) return;
  running.set(one.name, phase);
  if (!live) say(`${one.name.padEnd(16)} ${phase}`);
  progress();
}

function done(one, phase, detail, durationMs, key) {
  running.delete(one.name);
  results.push({ one, phase, detail, durationMs, key });
  say(`${one.name.padEnd(16)} ${paint(phase)}${detail === '' ? '' : `  ${detail}`}`);
  progress();
}

function shown(result) {
  if (result.kind !== 'inline') return '';
  return Object.entries(literals.readMap(result.literalMap))
    .map(([name, value]) => `${name} = ${value}`)
    .join(', ');
}

function paint(phase) {
  if (phase === 'SUCCESS') return colors.green(phase);
  return phase === 'DELETED' ? colors.yellow(phase) : colors.red(phase);
}

async function runOne(client, one) {
  const from = Date.now();
  const end = (info) => {
    const detail = info.error === undefined ? shown(info.outputs) : `[${info.error.code}] ${info.error.message}`;
    done(one, info.phase, detail, Date.now() - from, one.input.generatedName);
  };
  if (one.type === 'demo_sync') return end(await client.do(one.input, { deadlineMs: 60_000 }));
  const { handle } = await client.create(one.input, { deadlineMs: 6_000 });
  one.handle = handle;
  if (one.expected === 'DELETED') {
    await sleep(5_000);
    await client.delete(handle, { reason: 'the demo cancels this one' });
    return done(one, 'DELETED', 'cancelled on request', Date.now() - from, one.input.generatedName);
  }
  const status = await client.waitForEnd(handle, {
    timeoutMs: 120_000,
    onStatus: ({ phaseInfo }) => seen(one, phaseInfo.phase),
  });
  return end(status.phaseInfo);
}

/** Not before `sync` settles: what runs to its end in one call meets trouble as a failure, which on a slow machine would be the demo's. */
async function trouble(remote, sync) {
  await Promise.all([sleep(4_000), sync]);
  say(colors.yellow('the remote throttles the next calls (429, Retry-After: 2)'));
  remote.control.throttle = { calls: 2, retryAfterSeconds: 2 };
  await sleep(5_000);
  say(colors.yellow('the remote goes down (503) for 4 seconds'));
  remote.control.down = true;
  await sleep(4_000);
  remote.control.down = false;
  say('the remote is back');
}

function printTable(remote) {
  const plain = Object.fromEntries(BORDERS.map((name) => [name, name === 'middle' ? '  ' : '']));
  const why = live ? Math.max(20, process.stdout.columns - 62) : undefined;
  const table = new Table({
    head: ['task', 'phase', 'duration', 'remote calls', 'outputs, or why'],
    chars: plain,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: ['left', 'left', 'right', 'right', 'left'],
    colWidths: [null, null, null, null, why],
    wordWrap: true,
  });
  for (const one of tasks) {
    const result = results.find((r) => r.one === one);
    const calls = remote.callsFor(one.input.generatedName);
    table.push([
      one.name,
      paint(result?.phase ?? 'MISSING'),
      seconds(result?.durationMs ?? 0),
      calls,
      result?.detail ?? '',
    ]);
  }
  const lines = table.toString().split('\n');
  console.log(lines.map((line) => line.trimEnd()).join('\n'));
  const batches = remote.callsOf('readMany');
  const largest = Math.max(0, ...batches.map(({ items }) => items));
  console.log(
    colors.dim(
      `"remote calls" counts for a task every call that was about it. One read may ask for many jobs (here ${batches.length} ` +
        `did, for up to ${largest} at once), so the column adds up to more than the calls that were made; a task with a long ` +
        'life, or one that was read while the remote throttled or was down, has more of them.',
    ),
  );
}

const BORDERS = [
  ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
  ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'],
];

async function main() {
  const folder = mkdtempSync(path.join(tmpdir(), 'plugin-host-demo-'));
  const remote = createDemoRemote();
  const url = await remote.start();
  say(`a demo job service listens on ${url}`);
  const daemon = await startDaemon(url, folder);
  // Ctrl-C, SIGTERM and a closed terminal end what was started here, too.
  const interrupted = new Promise((_, reject) => {
    // Not once(): a listener that is gone when ora looks makes it end the process.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'])
      process.on(signal, () => reject(new Interrupted(signal)));
  });
  interrupted.catch(() => undefined);
  let client;
  try {
    const { grpc, admin } = await Promise.race([daemon.ready, interrupted]);
    say(`the daemon serves gRPC on ${grpc}; metrics on http://${admin}/metrics`);
    client = createClient({ address: grpc });
    spinner?.start(`0/${tasks.length} done`);
    const runs = tasks.map((one) => ({ one, run: runOne(client, one) }));
    const sync = Promise.all(runs.filter(({ one }) => one.type === 'demo_sync').map(({ run }) => run));
    const all = Promise.all([trouble(remote, sync), ...runs.map(({ run }) => run)]);
    all.catch(() => undefined);
    await Promise.race([all, interrupted]);
    spinner?.stop();
    printTable(remote);
  } finally {
    spinner?.stop();
    client?.close();
    daemon.child.removeAllListeners('exit');
    if (daemon.child.exitCode === null) {
      daemon.child.kill('SIGTERM');
      await once(daemon.child, 'exit');
    }
    await remote.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  const wrong = tasks.filter((one) => results.find((r) => r.one === one)?.phase !== one.expected);
  const left = remote.jobs().filter(({ state }) => state === 'QUEUED' || state === 'RUNNING');
  const exit = daemon.child.exitCode;
  const reads = remote.callsOf('read').length + remote.callsOf('readMany').length;
  console.log(
    `${tasks.length - wrong.length} of ${tasks.length} tasks ended as they should; ${reads} read calls, ` +
      `${remote.created} jobs made, ${left.length} left running; the daemon ended with ${exit}`,
  );
  if (wrong.length > 0 || left.length > 0 || exit !== 0) process.exitCode = 1;
}

class Interrupted extends Error {
  constructor(signal) {
    super(`the demo was ended by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Interrupted)) throw error;
  console.error(error.message);
  // What still waits in the tasks is not waited for.
  process.exit(error.exitCode);
}
