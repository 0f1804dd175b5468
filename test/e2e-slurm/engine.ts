import { setTimeout as delay } from 'node:timers/promises';
import { isTerminal, type Phase } from 'webapi-plugin-host';
import { type Client, createClient, PluginHostError, type TaskStatus } from 'webapi-plugin-host/client';
import { type LiteralCodec, makeLiteralCodec } from '../../src/data/literal-codec.js';
import { loadPluginHost } from '../../src/idl/load.js';
import { PHASES } from '../../src/plugin-api/phase.js';
import { until } from './processes.js';
import type { PlannedTask } from './tasks.js';

/** One incarnation of a task, as an engine sees it. */
export interface Incarnation {
  readonly task: PlannedTask;
  readonly handle: Buffer;
  /** Distinct phases in the order they were answered. */
  readonly phases: Phase[];
  last: TaskStatus;
  deleted: boolean;
}

/** Statuses that a daemon that stops, or is not there, answers; an engine asks again. */
const PASSING = new Set(['UNAVAILABLE', 'CANCELLED', 'DEADLINE_EXCEEDED']);

/**
 * The workflow engine of this test: creates tasks through the native client, asks for the status of each of them every
 * second as engines do, and writes down every phase it was told.
 */
export class Engine {
  readonly incarnations: Incarnation[] = [];
  /** Answers of Status that were errors although the daemon was there. */
  readonly unexpected: string[] = [];
  /**
   * Deadline of a create, in milliseconds. A third of it is what the daemon may take to answer with the job in the handle;
   * without a journal only such a handle outlives the daemon.
   */
  createDeadlineMs = 90_000;
  readonly #client: Client;
  readonly #codec: LiteralCodec;
  #stopping = false;
  #asking: Promise<void> | undefined;

  constructor(address: string) {
    const idl = loadPluginHost();
    this.#client = createClient({
      address,
      idl,
      // come back soon after the daemon's restart
      channelOptions: { 'grpc.initial_reconnect_backoff_ms': 200, 'grpc.max_reconnect_backoff_ms': 1000 },
    });
    this.#codec = makeLiteralCodec(idl);
  }

  get client(): Client {
    return this.#client;
  }

  /** Resolves when calls reach the daemon again; after a refused connection grpc waits a while before the next try. */
  async connected(): Promise<void> {
    await until('the engine to reach the daemon', 20_000, async () => (await this.#client.listPlugins()).length > 0);
  }

  async create(task: PlannedTask): Promise<Incarnation> {
    const { handle, status } = await this.#client.create(task.task, { deadlineMs: this.createDeadlineMs });
    const incarnation: Incarnation = { task, handle, phases: [], last: status, deleted: false };
    this.incarnations.push(incarnation);
    note(incarnation, status);
    return incarnation;
  }

  async delete(incarnation: Incarnation, reason: string): Promise<void> {
    incarnation.deleted = true;
    await this.#client.delete(incarnation.handle, { reason });
  }

  /** The inline outputs, as plain values; undefined where there are none. */
  outputs(incarnation: Incarnation): Record<string, unknown> | undefined {
    const { outputs } = incarnation.last.phaseInfo;
    return outputs.kind === 'inline' ? this.#codec.readMap(outputs.literalMap) : undefined;
  }

  /** Begins to ask for every live task once a second. */
  startAsking(): void {
    this.#stopping = false;
    this.#asking = this.#ask();
  }

  async stopAsking(): Promise<void> {
    this.#stopping = true;
    await this.#asking;
  }

  close(): void {
    this.#client.close();
  }

  async #ask(): Promise<void> {
    while (!this.#stopping) {
      const live = this.incarnations.filter((one) => !one.deleted && !isTerminal(one.last.phaseInfo.phase));
      await Promise.all(live.map((one) => this.#askFor(one)));
      await delay(1_000);
    }
  }

  async #askFor(one: Incarnation): Promise<void> {
    try {
      const status = await this.#client.status(one.handle, {
        ...(one.task.task.outputPrefix === undefined ? {} : { outputPrefix: one.task.task.outputPrefix }),
      });
      if (!one.deleted) note(one, status);
    } catch (error) {
      if (one.deleted || (error instanceof PluginHostError && PASSING.has(error.status))) return;
      this.unexpected.push(`${one.task.name}: ${String(error)}`);
    }
  }
}

function note(incarnation: Incarnation, status: TaskStatus): void {
  incarnation.last = status;
  const { phase } = status.phaseInfo;
  if (incarnation.phases.at(-1) !== phase) incarnation.phases.push(phase);
}

/** Whether a task's phases only ever went forward. */
export function onlyForward(phases: readonly Phase[]): boolean {
  return phases.every((phase, i) => i === 0 || PHASES.indexOf(phase) > PHASES.indexOf(phases[i - 1] as Phase));
}
