import { type ChildProcessByStdio, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromRoot } from '../support/paths.js';
import { atTheEnd, SUITE_VARIABLES, searchFor } from '../support/suite-secrets.js';

/** What an image tells a container engine, as far as it matters here. */
export interface ImageConfig {
  readonly User: string;
  readonly WorkingDir: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly Healthcheck: { readonly Test: readonly string[] };
  readonly Labels: Readonly<Record<string, string>>;
}

/** An image that scripts/container-image.sh built into a folder. */
export interface Image {
  readonly folder: string;
  readonly rootfs: string;
  readonly config: ImageConfig;
}

/** Builds the image; takes a minute or two. Throws with the build's own words. */
export function buildImage(folder: string): Image {
  const built = spawnSync(fromRoot('scripts', 'container-image.sh'), [folder], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (built.status !== 0) throw new Error(`the image was not built (${built.status ?? built.signal})`);
  const described = JSON.parse(readFileSync(path.join(folder, 'image.json'), 'utf8'));
  return { folder, rootfs: built.stdout.trim(), config: described.Docker.config };
}

export function removeImage(folder: string): void {
  spawnSync(fromRoot('scripts', 'container-image.sh'), ['--remove', folder], { stdio: 'inherit' });
}

export interface BoxOptions {
  /** Instead of the image's own command. */
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Host folder -> folder in the container. */
  readonly volume?: readonly [string, string];
}

/** A running container: what it printed, ways in, its end. */
export interface Box {
  /** Process 1 of the container, as the host numbers it. */
  pid(): number;
  /** Runs a command inside, as the image's user, and waits for it. */
  exec(command: readonly string[]): SpawnSyncReturns<string>;
  /** Starts a command inside and leaves it running; it ends with the container. Its output joins the container's. */
  start(command: readonly string[]): void;
  output(): string;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

/**
 * Starts the image as an engine would: its user, folder, environment and command, with a read-only root. Resolves once
 * the command runs as process 1, or has ended already. Ends with the test at the latest.
 */
export async function startBox(t: TestContext, image: Image, options: BoxOptions = {}): Promise<Box> {
  const { config, rootfs } = image;
  const variables = [
    ...config.Env,
    ...Object.entries({ ...SUITE_VARIABLES, ...options.env }).map(([name, value]) => `${name}=${value}`),
  ];
  const command = options.command ?? [...config.Entrypoint, ...config.Cmd];
  const child = spawn(
    fromRoot('scripts', 'container-run.sh'),
    [rootfs, config.User, config.WorkingDir, ...variables, '--', ...command],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...(options.volume ? { CONTAINER_VOLUME: options.volume.join(':') } : {}) },
    },
  );
  // The image has no program that would set them: nsenter passes its own on.
  const env = Object.fromEntries(
    variables.map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]),
  );
  let text = '';
  const listen = (process: ChildProcessByStdio<null, Readable, Readable>) => {
    for (const stream of [process.stdout, process.stderr]) {
      stream.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
    }
  };
  listen(child);
  const pid = (): number => {
    const outer = child.pid;
    const children = readFileSync(`/proc/${outer}/task/${outer}/children`, 'utf8').trim().split(/\s+/);
    const first = Number(children[0]);
    if (!first) throw new Error(`the container has no process 1; it printed:\n${text}`);
    return first;
  };
  const enter = (inside: readonly string[]): string[] => {
    const [uid, gid] = config.User.split(':') as [string, string];
    const namespaces = ['--mount', '--pid', '--net', '--uts', '--ipc', '--root', '--wd'];
    const user = ['--setgid', gid, '--setuid', uid];
    return ['--target', String(pid()), ...namespaces, ...user, '--', ...inside];
  };
  t.after(async () => {
    // Process 1 and all below it go with the outer process.
    child.kill('SIGKILL');
    await ended;
    await atTheEnd(() => searchFor('log', 'what the container printed', text));
  });
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  let over = false;
  void ended.then(() => {
    over = true;
  });
  // Setting the namespaces up takes several programs, each of which becomes the next.
  const isUp = () => {
    try {
      return readFileSync(`/proc/${pid()}/cmdline`, 'utf8').split('\0')[0] === command[0];
    } catch {
      return false;
    }
  };
  while (!over && !isUp()) await sleep(20);
  return {
    pid,
    exec: (inside) => spawnSync('nsenter', enter(inside), { encoding: 'utf8', timeout: 60_000, env }),
    start(inside) {
      listen(spawn('nsenter', enter(inside), { stdio: ['ignore', 'pipe', 'pipe'], env }));
    },
    output: () => text,
    ended,
  };
}
