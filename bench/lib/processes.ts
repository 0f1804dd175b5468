import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fromRoot } from '../../test/support/paths.js';

/** What a child of a bench answers: one message a request, in order. */
export type Reply = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: string };

/** What operators start Node with, by the package's start command; a floor has the same. */
export const NODE_FLAGS: readonly string[] = nodeFlags();

function nodeFlags(): string[] {
  const { scripts } = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8')) as { scripts: { start: string } };
  return scripts.start.split(' ').filter((word) => word.startsWith('--'));
}

/** A process of a bench that answers one request at a time over its channel. */
export class Worker {
  readonly #child: ChildProcess;

  /** `module` is a compiled file that calls `serve`. */
  constructor(module: URL) {
    this.#child = fork(module, [], {
      execArgv: [...NODE_FLAGS],
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
  }

  /** Throws when the child reports an error, or ends instead of answering. */
  async ask<T>(request: unknown): Promise<T> {
    const ended = new AbortController();
    const exit = once(this.#child, 'exit', { signal: ended.signal }).then(([code, signal]) => {
      throw new Error(`a bench process ended with ${signal ?? code}`);
    });
    const answer = once(this.#child, 'message', { signal: ended.signal });
    for (const promise of [exit, answer]) promise.catch(() => {});
    this.#child.send(request as object);
    try {
      const [reply] = (await Promise.race([answer, exit])) as [Reply];
      if (!reply.ok) throw new Error(reply.error);
      return reply.value as T;
    } finally {
      ended.abort();
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

/** The child's side: answers every request with what `handle` makes of it. Ends with the parent. */
export function serve(handle: (request: never) => unknown): void {
  process.on('message', (request) => {
    void (async () => {
      let reply: Reply;
      try {
        reply = { ok: true, value: await handle(request as never) };
      } catch (error) {
        reply = { ok: false, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
      }
      process.send?.(reply);
    })();
  });
  process.on('disconnect', () => process.exit(0));
}

/** CPU seconds of this process so far, user and system. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
