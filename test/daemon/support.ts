import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDemoRemote } from '../../plugins/demo/remote.js';
import { type Client, createClient, type PluginReport, type TaskStatus } from '../../src/client/index.js';
import { compiled, fromRoot, repoRoot } from '../support/paths.js';
import { type Running, start } from '../support/spawn.js';
import { atTheEnd, givenIn, SUITE_VARIABLES, searchAdmin, searchFor, withSecrets } from '../support/suite-secrets.js';
import { tempFolder, writeTree } from '../support/temp.js';

/** A test that hangs fails, and says what it waited for. */
export const BOUND = { timeout: 120_000 };
/** How long anything is waited for. Far above what it takes; no assertion depends on it. */
const PATIENCE_MS = 60_000;

export const DEMO_PLUGIN = fromRoot('dist', 'plugins', 'demo');
export const FIXTURE_PLUGINS = fromRoot('test', 'fixtures', 'plugins');

type Json = { readonly [key: string]: unknown };

/** Limits that are in nobody's way. */
const WIDE = { qps: 5_000, burst: 5_000 };
export const WIDE_LIMITS = { readRateLimiter: WIDE, writeRateLimiter: WIDE };

/** A daemon's config: quick where a default would only make a test wait. */
export function configOf(plugins: Json, parts: Json = {}): Json {
  return {
    grpc: { port: 0 },
    // Beside the config file.
    state: { dir: './state' },
    admin: { host: '127.0.0.1', port: 0 },
    refresh: { minInterval: '50ms' },
    shutdown: { drainDelay: '0ms', grace: '20s', forceAfter: '100s' },
    plugins,
    ...parts,
  };
}

export function demoEntry(url: string, parts: Json = {}): Json {
  return { source: DEMO_PLUGIN, settings: { url }, config: WIDE_LIMITS, ...parts };
}

/** The daemon as a process of its own, as an operator starts it. */
/** A remote of the demo plugin's that ends with the test. */
export async function startDemoRemote(t: TestContext): Promise<ReturnType<typeof createDemoRemote>> {
  const remote = createDemoRemote();
  await remote.start();
  t.after(() => remote.stop());
  return remote;
}

export interface DaemonProcess {
  readonly running: Running;
  readonly pid: number;
  readonly grpc: string;
  readonly admin: string;
  readonly client: Client;
  /** Process ids of its children now. */
  children(): number[];
  http(path: string, init?: RequestInit): Promise<{ readonly status: number; readonly body: string }>;
  plugin(id: string): Promise<PluginReport>;
}

/** Starts `plugin-host serve` of a build with a config file, and the secrets of the suite; nothing is awaited. */
export function spawnServe(
  t: TestContext,
  config: Json,
  folder = tempFolder(t),
  env: Readonly<Record<string, string>> = {},
  build = repoRoot,
): Running {
  const file = givenIn(path.join(folder, 'config.json'));
  writeFileSync(file, JSON.stringify(withSecrets(config)));
  const words = [path.join(build, 'dist', 'src', 'main.js'), 'serve', '--config', file];
  return start(t, process.execPath, words, { cwd: folder, env: { ...SUITE_VARIABLES, ...env } });
}

/** Starts the daemon and resolves when it serves. What it shows when the test ends is searched for secrets, if it still runs then. */
export async function startServe(
  t: TestContext,
  config: Json,
  folder?: string,
  env?: Readonly<Record<string, string>>,
  build?: string,
): Promise<DaemonProcess> {
  // Before the hooks that end it.
  let search = async (): Promise<void> => undefined;
  t.after(() => atTheEnd(search));
  const running = spawnServe(t, config, folder, env, build);
  // In either format of the log.
  const [, grpc, admin] = await running.waitFor(/daemon\.ready.*?grpc["=:]+([\d.]+:\d+).*?admin["=:]+([\d.]+:\d+)/);
  const pid = running.child.pid as number;
  t.after(() => endLeftOver(running));
  const client = createClient({ address: grpc as string, deadlineMs: PATIENCE_MS });
  t.after(() => client.close());
  search = async () => {
    if (running.child.exitCode !== null || running.child.signalCode !== null) return;
    const { token } = (config.admin ?? {}) as { readonly token?: string };
    await searchAdmin(`http://${admin}`, token === undefined ? {} : { token });
    searchFor('listing', 'ListPlugins', await shownPlugins(grpc as string));
  };
  return {
    running,
    pid,
    grpc: grpc as string,
    admin: admin as string,
    client,
    children: () => childrenOf(pid),
    async http(url, init) {
      const response = await fetch(`http://${admin}${url}`, init);
      return { status: response.status, body: await response.text() };
    },
    async plugin(id) {
      const found = (await client.listPlugins()).find((one) => one.id === id);
      if (found === undefined) throw new Error(`ListPlugins has no plugin ${id}`);
      return found;
    },
  };
}

/** What ListPlugins tells whoever asks; nothing where it wants a token, or is not there. */
async function shownPlugins(address: string): Promise<string> {
  const client = createClient({ address, deadlineMs: 5_000 });
  try {
    return JSON.stringify(await client.listPlugins());
  } catch (error) {
    return String(error);
  } finally {
    client.close();
  }
}

/** A daemon with the demo plugin, and a folder with a `task.json` of a job that never ends by itself. */
export async function serveHanging(t: TestContext) {
  const remote = await startDemoRemote(t);
  const daemon = await startServe(t, configOf({ demo: demoEntry(remote.url) }));
  const cwd = tempFolder(t);
  writeTree(cwd, { 'task.json': JSON.stringify({ type: 'demo_hang' }) });
  return { remote, daemon, cwd };
}

export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** Whether a process runs; one that ended and waits to be reaped does not. */
export function runs(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

/** Looks until `look` answers something other than undefined or false. */
export async function until<T>(what: string, look: () => T | Promise<T>): Promise<Exclude<T, undefined | false>> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen as Exclude<T, undefined | false>;
    if (Date.now() > end) throw new Error(`waited ${PATIENCE_MS} ms in vain for ${what}`);
    await sleep(20);
  }
}

/** The state of a task once it satisfies the test. */
export function statusWhere(
  client: Client,
  handle: Uint8Array,
  what: string,
  matches: (status: TaskStatus) => boolean,
): Promise<TaskStatus> {
  return until(`a task ${what}`, async () => {
    const status = await client.status(handle);
    return matches(status) ? status : undefined;
  });
}

/** Ports that were free a moment ago, for a daemon that is started twice at one address. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))));
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Events of the daemon's log, in order. */
export function logOf(running: Running): Record<string, unknown>[] {
  return running
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Ends plugin processes that a killed daemon left: one whose code spins cannot see that the daemon has gone. */
function endLeftOver(running: Running): void {
  for (const { event, pid } of logOf(running)) {
    if (!String(event).startsWith('plugin.') || typeof pid !== 'number' || !runs(pid)) continue;
    const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    if (command.includes(compiled('src/sandbox/main.ts'))) process.kill(pid, 'SIGKILL');
  }
}
