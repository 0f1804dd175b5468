import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { createClient } from '../../src/client/index.js';
import { loadPluginHost } from '../../src/idl/load.js';
import { configOf, FIXTURE_PLUGINS, startServe, until, WIDE_LIMITS } from '../daemon/support.js';
import { makeCertificate } from '../support/certificates.js';
import { compiled } from '../support/paths.js';
import { start } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { Honest, type Latency, MIB, memoryOf } from './support.js';

/**
 * What honest callers see while a peer misuses the gRPC port: one that is connected, ones that come new, and one that starts tasks, on a
 * port of plain text and on one that speaks TLS. The figures are printed (`ratio`: the 99th percentile beside an attack by the one
 * before it); asserted is that every honest call is answered, that no task whose handle was answered is lost, that no turn of the
 * daemon's event loop has more than some tens of milliseconds of work, and that its memory stays bounded.
 * ATTACKS=resets,half looks at these alone, ATTACK_PORTS=tls at that port.
 */

const BASE_MS = 1_500;
const AFTER_MS = 2_000;
/** In MiB. About twice what was seen: the collector of a busy machine is late. */
const MOST_GROWTH = 512;
const MORE_GROWTH: Readonly<Record<string, number>> = { resets: 1_024 };
const EVERYWHERE = [
  'resets',
  'headersOnly',
  'bursts',
  'leaving',
  'half',
  'untaken',
  'idle',
  'continuation',
  'emptyContinuation',
  'hpack',
  'settings',
  'pings',
  'empty',
  'slow',
  'prefaces',
];
/** By TLS those for which it makes a difference, since the rest is the same within, and what there is of its own; the others where they are named. */
const BY_TLS = [
  'resets',
  'half',
  'idle',
  'hpack',
  'settings',
  'pings',
  'slow',
  'prefaces',
  'hellos',
  'handshakes',
  'renegotiation',
];
/** Several times what a turn takes on a quiet machine; without bounds it is up to a second. */
const MOST_TURN_MS = 500;
/** What the transport takes without a word to anybody comes in one turn, as much as a socket holds, and is then cut as noise. */
const NOISE_TURN_MS = 1_000;
const NOISE = ['continuation', 'emptyContinuation', 'hpack', 'settings', 'pings', 'empty'];
/** Of an honest call; one that comes later counts as not answered. */
const HONEST_MS = 20_000;

type Port = 'plain' | 'tls';
const authority = makeCertificate({ name: 'authority', authority: true });
const server = makeCertificate({ name: 'server', by: authority });

async function play(t: TestContext, attack: string, port: Port): Promise<void> {
  const turns = pathToFileURL(compiled('test/attacks/turns.ts')).href;
  const folder = tempFolder(t);
  writeTree(folder, { 'ca.pem': authority.cert, 'server.pem': server.cert, 'server.key': server.key });
  const tls = port === 'tls' ? { tls: { certFile: './server.pem', keyFile: './server.key' } } : {};
  const plugins = { steady: { source: `${FIXTURE_PLUGINS}/steady.mjs`, config: WIDE_LIMITS } };
  // Each port has a log of its own form.
  const log = { format: port === 'tls' ? 'text' : 'json' };
  const config = configOf(plugins, { grpc: { port: 0, ...tls }, log });
  const daemon = await startServe(t, config, folder, { NODE_OPTIONS: `--import=${turns}` });
  /** Each time that it was told. */
  const longestTurns = () =>
    [...daemon.running.output().matchAll(/"longestTurnMs":(\d+)/g)].map(([, ms]) => Number(ms));
  /** Of the longest turn since the last time. */
  const turnMs = async () => {
    const told = longestTurns().length;
    daemon.running.child.kill('SIGUSR2');
    return until('the longest turn', () => (longestTurns().length > told ? longestTurns().at(-1) : undefined));
  };
  const idl = loadPluginHost();
  const secure = port === 'tls' ? { tls: { ca: authority.cert } } : {};
  const connect = () => createClient({ address: daemon.grpc, deadlineMs: HONEST_MS, idl, ...secure });
  const client = connect();
  t.after(() => client.close());
  const handles: Uint8Array[] = [];
  const create = async () => {
    const generatedName = `honest-${handles.length}`;
    const { handle } = await client.create({ generatedName, template: { type: 'steady_task' } });
    handles.push(handle);
    return handle;
  };
  const handle = await create();
  const newcomer = async () => {
    const another = connect();
    try {
      await another.status(handle);
    } finally {
      another.close();
    }
  };
  const known = new Honest(() => client.status(handle));
  const newcomers = new Honest(newcomer, 100);
  const creators = new Honest(create, 100);
  const honest = { known, newcomers, creators };
  const take = () =>
    Object.fromEntries(Object.entries(honest).map(([who, one]) => [who, one.take()])) as Record<
      keyof typeof honest,
      Latency
    >;
  await sleep(BASE_MS);
  const base = take();
  await turnMs();
  const before = memoryOf(daemon.pid, 'VmRSS');

  const where = port === 'tls' ? [path.join(folder, 'ca.pem')] : [];
  const peer = start(t, process.execPath, [compiled('test/attacks/peer.ts'), attack, daemon.grpc, ...where]);
  const [done] = await peer.waitFor(/\{"done".*\}/);
  await sleep(AFTER_MS);
  const during = take();
  const longest = await turnMs();
  await Promise.all([known.stop(), newcomers.stop(), creators.stop()]);
  const growth = memoryOf(daemon.pid, 'VmHWM') - before;
  const played = JSON.parse(done);
  peer.child.stdin.end();
  await peer.finished;
  const phases = await Promise.all(handles.map(async (one) => (await client.status(one)).phaseInfo.phase));
  const ratio = Object.fromEntries(
    Object.entries(during).map(([who, { p99 }]) => [
      who,
      Math.round((10 * p99) / base[who as keyof typeof honest].p99) / 10,
    ]),
  );
  const figures = { attack, port, ratio, turnMs: longest, growthMiB: Math.round(growth / MIB), tasks: handles.length };
  console.log(JSON.stringify({ ...figures, base, during, peer: played }));

  assert.equal(daemon.running.child.exitCode, null, 'the daemon lives');
  assert.deepEqual([...known.errors, ...newcomers.errors, ...creators.errors], []);
  assert.deepEqual(
    phases.filter((phase) => /FAIL|ABORT/.test(phase)),
    [],
    'no task that was accepted is lost',
  );
  assert.equal(played.renegotiated, 0, 'nobody gets a second handshake');
  assert.ok(growth < (MORE_GROWTH[attack] ?? MOST_GROWTH) * MIB, `the daemon took ${growth} bytes more`);
  assert.ok(longest < (NOISE.includes(attack) ? NOISE_TURN_MS : MOST_TURN_MS), `a turn had ${longest} ms of work`);
}

const wanted = process.env.ATTACKS?.split(',');
const ports = process.env.ATTACK_PORTS?.split(',') ?? ['plain', 'tls'];
for (const port of ['plain', 'tls'] as const) {
  const attacks =
    port === 'plain' ? EVERYWHERE : wanted === undefined ? BY_TLS : [...new Set([...EVERYWHERE, ...BY_TLS])];
  for (const attack of attacks) {
    if (!ports.includes(port) || !(wanted?.includes(attack) ?? true)) continue;
    const title = `honest callers of the ${port === 'tls' ? 'port with TLS' : 'port'} are answered while a peer plays "${attack}"`;
    test(title, { timeout: 180_000 }, (t) => play(t, attack, port));
  }
}
