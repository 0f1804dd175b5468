import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DemoRemote } from '../../plugins/demo/remote.js';
import type { Client } from '../../src/client/index.js';
import { type DaemonProcess, freePorts, startServe, statusWhere, until } from '../daemon/support.js';
import { tempFolder } from '../support/temp.js';
import { engineOf } from './support.js';

/** One in so many tasks has a job that never ends, and is deleted once it was asked about. */
const DELETED = 4;
/** Between two tasks of a line. Milliseconds. */
const REST_MS = 10;

/** What an engine asks with the retry policy of docs/flyte.md alone: a call that fails ends it, and the test with it. */
export class PolicyLoad {
  readonly #engine: Client;
  readonly #working: Promise<unknown>;
  readonly #kept: Buffer[] = [];
  #begun = 0;
  #deleted = 0;
  #going = true;

  /** `lines`: tasks that are under way at a time. */
  constructor(t: TestContext, ports: readonly number[], lines = 1) {
    this.#engine = engineOf(t, ports);
    this.#working = Promise.all(Array.from({ length: lines }, () => this.#work()));
    this.#working.catch(() => undefined);
  }

  /** Resolves once so many more tasks are begun; rejects where a call failed. */
  async progress(tasks: number): Promise<void> {
    const from = this.#begun;
    await Promise.race([until(`${tasks} more tasks`, () => this.#begun >= from + tasks), this.#working]);
  }

  /** Begins no more; throws what a call failed with, and unless each job was made once, and came to its end or was cancelled once. */
  async finish(remote: DemoRemote): Promise<string> {
    this.#going = false;
    await this.#working;
    for (const handle of this.#kept)
      await statusWhere(this.#engine, handle, 'SUCCESS', ({ phaseInfo }) => phaseInfo.phase === 'SUCCESS');
    const cancels = () => remote.callsOf('cancel').map(({ names: [name] }) => name);
    await until('the cancels', () => new Set(cancels()).size === this.#deleted);
    assert.equal(remote.created, this.#begun);
    assert.equal(remote.callsOf('create').length, this.#begun, 'creates that were repeated');
    assert.equal(cancels().length, this.#deleted, 'cancels that were repeated');
    return `${this.#begun} tasks, ${this.#deleted} of them deleted`;
  }

  async #work(): Promise<void> {
    while (this.#going) {
      const number = this.#begun++;
      const deletes = number % DELETED === DELETED - 1;
      const template = deletes ? { type: 'demo_hang' } : { type: 'demo_sleep', custom: { seconds: 0.2 } };
      const { handle } = await this.#engine.create({ generatedName: `r${number}`, template });
      await this.#engine.status(handle);
      if (deletes) {
        // Of a task that has no job yet there would be nothing to cancel.
        await statusWhere(this.#engine, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
        await this.#engine.delete(handle);
        this.#deleted += 1;
      } else {
        this.#kept.push(handle);
      }
      await sleep(REST_MS);
    }
  }
}

/** Restarts three replicas under load, one after the other, each at its own port; nothing that an engine asks may fail. */
export async function restartInTurn(
  t: TestContext,
  remote: DemoRemote,
  config: object,
  lines: number,
): Promise<string> {
  const ports = await freePorts(3);
  const startAt = (port: number) => startServe(t, { ...config, grpc: { port } }, tempFolder(t));
  const replicas: DaemonProcess[] = [];
  for (const port of ports) replicas.push(await startAt(port));
  const load = new PolicyLoad(t, ports, lines);
  await load.progress(10);
  for (const [i, port] of ports.entries()) {
    const stopped = replicas[i] as DaemonProcess;
    stopped.running.child.kill('SIGTERM');
    assert.equal((await stopped.running.finished).code, 0);
    replicas[i] = await startAt(port);
    await load.progress(10);
    await sleep(500);
  }
  return load.finish(remote);
}
