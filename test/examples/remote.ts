import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fromRoot } from '../support/paths.js';

/** One job in the remote's own book: the key that the plugin gave it, and its state in the remote's words. */
export interface Booked {
  readonly key: string;
  readonly state: string;
}

/** A real remote in a process of its own, which ends with the test and takes along what it started. */
export interface ExampleRemote {
  readonly url: string;
  /** Takes the API away; resolves when it is gone. */
  stop(): Promise<void>;
  /** Brings it back; resolves when it answers. */
  start(): Promise<void>;
  books(): Promise<Booked[]>;
  tell(line: string): Promise<unknown>;
}

/** The first start on a machine installs from PyPI. */
const START_LIMIT_MS = 600_000;

export async function startRemote(t: TestContext, name: string): Promise<ExampleRemote> {
  const script = fromRoot('test', 'examples', 'remotes', `${name}_remote.py`);
  const child = spawn('python3', [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => {});
  const closed = once(child, 'close');
  closed.catch(() => {});
  t.after(async () => {
    child.stdin.end();
    await closed.catch(() => {});
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const line = await lines.next();
    if (line.done === true) throw new Error(`the remote ${name} has ended`);
    return line.value;
  };
  const timer = setTimeout(() => child.kill('SIGTERM'), START_LIMIT_MS);
  const first = await next().finally(() => clearTimeout(timer));
  if (!first.startsWith('listening ')) throw new Error(`the remote ${name} says ${first}`);
  let last: Promise<unknown> = Promise.resolve();
  const tell = (line: string): Promise<unknown> => {
    const asked = last.then(async () => {
      child.stdin.write(`${line}\n`);
      return JSON.parse(await next()) as unknown;
    });
    last = asked.catch(() => {});
    return asked;
  };
  return {
    url: first.slice('listening '.length),
    tell,
    stop: async () => void (await tell('stop')),
    start: async () => void (await tell('start')),
    books: async () => (await tell('books')) as Booked[],
  };
}
