import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Client,
  type ClientOptions,
  type Connection,
  createClient,
  type PhaseInfo,
  PluginHostError,
  type TaskInput,
} from '../../src/client/index.js';
import { loadPluginHost } from '../../src/idl/load.js';
import { machineMs } from '../../src/lib/clock.js';
import { isTerminal } from '../../src/plugin-api/phase.js';
import type { Decisions } from '../support/decisions.js';
import { suiteSecret } from '../support/suite-secrets.js';
import type { Bent } from './bent.js';
import { Attempt, type Incarnation, planStory, type Seen, type StoryPlan } from './story.js';

const CALL_MS = 4_000;
/** Statuses after which an engine repeats what it asked. */
const REPEATED = new Set(['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED', 'RESOURCE_EXHAUSTED', 'ABORTED']);
const MAX_ATTEMPTS = 60;
const IN_TURN = JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] });

/** A violation that an engine sees by itself, while it happens. */
export interface Complaint {
  readonly kind: 'lost' | 'changed';
  readonly attempt: Attempt;
  readonly what: string;
}

/** What a daemon with TLS and tokens asks of its clients. */
export type Papers = Pick<ClientOptions, 'tls' | 'token'>;

/** The engine's side of a run: stories that repeat whatever was not answered, to whoever answers then. */
export class ChaosEngine {
  readonly #decisions: Decisions;
  readonly #idl = loadPluginHost();
  readonly #bornMs = machineMs();
  readonly attempts: Attempt[] = [];
  readonly complaints: Complaint[] = [];
  readonly #byHandle = new Map<string, Incarnation>();
  #client: Client | undefined;
  #watch: AbortController | undefined;
  #life = 0;
  #stories = 0;
  #open = new Set<Promise<void>>();
  /** Told of each answered Create, Delete and Do. */
  onAnswer: (() => void) | undefined;
  /** Stories end where they are. */
  stopped = false;

  /** What went wrong with the engine's side itself: the run says nothing then. */
  readonly faults: unknown[] = [];
  /** Calls that failed without a word of the daemon, other than for their time: what became of their connections. */
  readonly broken: string[] = [];
  /** Calls whose time was over. */
  late = 0;
  readonly #plans: Bent['plans'];

  constructor(decisions: Decisions, { plans }: Bent = {}) {
    this.#decisions = decisions;
    this.#plans = plans;
  }

  get open(): number {
    return this.#open.size;
  }

  get client(): Client {
    if (this.#client === undefined) throw new Error('no daemon was started');
    return this.#client;
  }

  /**
   * A daemon was started, or is to be spoken to by a new connection: calls go there from here on, of several to each in its turn. `kept`: the
   * client before ends the calls that it has begun, as one of a daemon that lives on.
   */
  connect(
    port: number | readonly number[],
    life: number,
    { kept = false, ...papers }: { kept?: boolean } & Papers = {},
  ): void {
    this.#watch?.abort();
    const before = this.#client;
    if (kept) setTimeout(() => before?.close(), 2 * CALL_MS).unref();
    else before?.close();
    this.#life = life;
    const ports = typeof port === 'number' ? [port] : port;
    const address = ports.length === 1 ? `127.0.0.1:${ports[0]}` : `ipv4:${ports.map((each) => `127.0.0.1:${each}`)}`;
    const channelOptions = { 'grpc.service_config': IN_TURN };
    this.#client = createClient({ address, deadlineMs: CALL_MS, idl: this.#idl, channelOptions, ...papers });
    this.#watch = new AbortController();
    this.#follow(this.#client, this.#watch.signal).catch(() => undefined);
  }

  close(): void {
    this.stopped = true;
    this.#watch?.abort();
    this.#client?.close();
  }

  /** Begins the next story. */
  begin(): void {
    this.#stories += 1;
    const story = this.#run(planStory(this.#decisions, this.#stories, this.#plans)).catch((error: unknown) => {
      if (!(error instanceof Stopped)) this.faults.push(error);
    });
    const entry = story.finally(() => this.#open.delete(entry));
    this.#open.add(entry);
  }

  /** Creates a task beside the stories, of which nothing is judged; answers how to delete it. */
  async createBeside(plan: StoryPlan): Promise<() => Promise<void>> {
    const attempt = new Attempt(plan, plan.name, 0, plan.runMs);
    const incarnation = await this.#create(attempt);
    return () => this.#delete(attempt, incarnation);
  }

  /** Resolves when every story is over; rejects where the harness itself failed. */
  async finished(): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open);
  }

  async #follow(client: Client, signal: AbortSignal): Promise<void> {
    for await (const update of client.watch({ includeCurrent: true }, { signal })) {
      if (update.kind !== 'change' || update.deleted) continue;
      const incarnation = this.#byHandle.get(update.handle.toString('hex'));
      incarnation?.watched.push(this.#seen(update.status.phaseInfo));
    }
  }

  #seen({ phase, version, error, outputs }: PhaseInfo): Seen {
    return { life: this.#life, phase, version, code: error?.code ?? '', outputs: shownOutputs(outputs) };
  }

  async #run(plan: StoryPlan): Promise<void> {
    if (plan.plan === 'do') return this.#runDo(plan);
    const attempt = this.#attempt(plan, 0, plan.runMs);
    if (plan.plan === 'supersede' || plan.plan === 'abandon') {
      const incarnation = attempt.next();
      if (await this.#createOnce(attempt, incarnation, plan.afterMs)) {
        await this.#delete(attempt, incarnation);
        attempt.finished = true;
      } else {
        attempt.givenUp = true;
        attempt.finished = true;
        if (plan.plan === 'supersede') await this.#attemptsFrom(plan, 1);
      }
      return;
    }
    if (plan.plan === 'delete' || plan.plan === 'recreate') {
      const first = await this.#create(attempt);
      await this.#poll(attempt, first, plan.afterMs);
      await this.#delete(attempt, first);
      if (plan.plan === 'recreate') {
        const second = await this.#create(attempt);
        await this.#delete(attempt, first);
        await this.#poll(attempt, second, plan.afterMs);
        await this.#delete(attempt, second);
      }
      attempt.finished = true;
      return;
    }
    await this.#toTheEnd(attempt);
    if (ended(attempt)?.code === 'CREATE_UNCLEAR') await this.#attemptsFrom(plan, 1);
  }

  /** Attempts of a node from a number on, as long as they end as something that another attempt may cure. */
  async #attemptsFrom(plan: StoryPlan, from: number): Promise<void> {
    for (let number = from; number < MAX_ATTEMPTS; number++) {
      const attempt = this.#attempt(plan, number, 1_000);
      await this.#toTheEnd(attempt);
      if (ended(attempt)?.phase !== 'RETRYABLE_FAILURE') return;
    }
  }

  #attempt(plan: StoryPlan, number: number, runMs: number): Attempt {
    const attempt = new Attempt(plan, `${plan.name}-${number}`, number, runMs);
    this.attempts.push(attempt);
    return attempt;
  }

  async #toTheEnd(attempt: Attempt): Promise<void> {
    const incarnation = await this.#create(attempt);
    const { plan, afterMs } = attempt.plan;
    if (plan === 'repeat') {
      await this.#poll(attempt, incarnation, afterMs);
      await this.#answered(attempt, incarnation, () => this.client.create(taskOf(attempt)));
    }
    await this.#poll(attempt, incarnation, Number.POSITIVE_INFINITY);
    if (plan === 'repeat') await this.#answered(attempt, incarnation, () => this.client.create(taskOf(attempt)));
    attempt.finished = true;
  }

  async #create(attempt: Attempt): Promise<Incarnation> {
    const incarnation = attempt.next();
    await this.#answered(attempt, incarnation, () => this.client.create(taskOf(attempt)));
    return incarnation;
  }

  /** A create whose answer, first or repeated, must be the same bytes. */
  async #answered(
    attempt: Attempt,
    incarnation: Incarnation,
    call: () => Promise<{ readonly handle: Buffer; readonly status: { readonly phaseInfo: PhaseInfo } }>,
  ): Promise<void> {
    const { handle, status } = await this.#repeat(attempt, 'create', call);
    if (incarnation.handle !== undefined && !incarnation.handle.equals(handle)) {
      this.complaints.push({ kind: 'changed', attempt, what: 'a repeated create was answered another handle' });
    }
    incarnation.handle = handle;
    this.#byHandle.set(handle.toString('hex'), incarnation);
    incarnation.polled.push(this.#seen(status.phaseInfo));
    this.#note(attempt, `create answered ${status.phaseInfo.phase}.${status.phaseInfo.version}`);
    this.onAnswer?.();
  }

  /** One create, given up after a time; whether it was answered. */
  async #createOnce(attempt: Attempt, incarnation: Incarnation, deadlineMs: number): Promise<boolean> {
    try {
      const { handle } = await this.client.create(taskOf(attempt), { deadlineMs });
      incarnation.handle = handle;
      this.#note(attempt, 'create answered');
      return true;
    } catch (error) {
      this.#note(attempt, `create given up: ${whatOf(error)}`);
      this.#noteBroken(attempt, 'create', error);
      return false;
    }
  }

  async #delete(attempt: Attempt, incarnation: Incarnation): Promise<void> {
    const { handle } = incarnation;
    const brought = broughtWith(attempt);
    if (handle === undefined) return;
    if (incarnation.deleted === 'no') incarnation.deleted = 'asked';
    await this.#repeat(attempt, 'delete', () => this.client.delete(handle, { reason: 'chaos', ...brought }));
    incarnation.deleted = 'answered';
    this.#note(attempt, 'delete answered');
    this.onAnswer?.();
  }

  /** Asks until the task is over, or for a time. */
  async #poll(attempt: Attempt, incarnation: Incarnation, forMs: number): Promise<void> {
    const until = machineMs() + forMs;
    const { handle } = incarnation;
    const brought = broughtWith(attempt);
    if (handle === undefined) return;
    for (let asked = 1; machineMs() < until; asked++) {
      const read = () => (asked % 7 === 0 ? this.client.get(handle, brought) : this.client.status(handle, brought));
      const status = await this.#once(attempt, asked % 7 === 0 ? 'get' : 'status', read);
      if (status !== undefined) {
        const seen = this.#seen(status.phaseInfo);
        const last = incarnation.polled.at(-1);
        incarnation.polled.push(seen);
        if (last?.phase !== seen.phase)
          this.#note(attempt, `told ${seen.phase}.${seen.version} ${status.phaseInfo.reason}`);
        if (isTerminal(seen.phase)) return;
      }
      await this.#pause(Math.min(attempt.plan.pollMs, Math.max(0, until - machineMs())));
    }
  }

  async #runDo(plan: StoryPlan): Promise<void> {
    const attempt = this.#attempt(plan, 0, 0);
    for (let repeat = 0; repeat < 3; repeat++) {
      const info = await this.#repeat(attempt, 'do', () => this.client.do(taskOf(attempt)));
      attempt.runs.push(this.#seen(info));
      this.#note(attempt, `do answered ${info.phase}`);
      this.onAnswer?.();
      await this.#pause(plan.afterMs);
    }
    attempt.finished = true;
  }

  /** What every handle reads as, once more; used when all is over. */
  async lookAgain(): Promise<void> {
    for (const attempt of this.attempts) {
      for (const incarnation of attempt.incarnations) {
        const { handle, deleted } = incarnation;
        if (handle === undefined || deleted !== 'no') continue;
        const brought = broughtWith(attempt);
        const { phaseInfo } = await this.#repeat(attempt, 'status', () => this.client.status(handle, brought));
        incarnation.polled.push(this.#seen(phaseInfo));
      }
    }
  }

  async #repeat<T>(attempt: Attempt, what: string, call: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const answer = await this.#once(attempt, what, async () => ({ value: await call() }));
      if (answer !== undefined) return answer.value;
      await this.#pause(100 + 40 * (tries % 8));
    }
  }

  /** Undefined where the call is to be repeated. */
  async #once<T>(attempt: Attempt, what: string, call: () => Promise<T>): Promise<T | undefined> {
    if (this.stopped) throw new Stopped();
    try {
      return await call();
    } catch (error) {
      if (this.stopped) throw new Stopped();
      if (!(error instanceof PluginHostError)) throw error;
      // A connection that breaks within an answer is told in several ways, none of them with a code of the daemon.
      if (REPEATED.has(error.status) || error.code === error.status) {
        if (error.code !== error.status) this.#note(attempt, `${what}: ${whatOf(error)}`);
        else if (error.status === 'DEADLINE_EXCEEDED') this.late += 1;
        this.#noteBroken(attempt, what, error);
        return undefined;
      }
      this.complaints.push({ kind: 'lost', attempt, what: `${what} was refused: ${whatOf(error)}` });
      this.#note(attempt, `${what} was refused: ${whatOf(error)}`);
      attempt.finished = true;
      throw new Stopped();
    }
  }

  #noteBroken(attempt: Attempt, what: string, error: unknown): void {
    if (!(error instanceof PluginHostError) || error.code !== error.status) return;
    if (error.status !== 'DEADLINE_EXCEEDED') this.broken.push(`${attempt.name}, ${what}: ${whatOf(error)}`);
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms);
    if (this.stopped) throw new Stopped();
  }

  #note(attempt: Attempt, text: string): void {
    attempt.events.push(`${((machineMs() - this.#bornMs) / 1000).toFixed(2)} s, life ${this.#life}: ${text}`);
  }
}

/** The run is over; nothing more is asked. */
class Stopped extends Error {}

export function ended(attempt: Attempt): Seen | undefined {
  const last = attempt.incarnations.at(-1)?.polled.at(-1);
  return last !== undefined && isTerminal(last.phase) ? last : undefined;
}

function whatOf(error: unknown): string {
  return error instanceof PluginHostError ? `[${error.code}] ${error.message}` : String(error);
}

function shownOutputs(outputs: PhaseInfo['outputs']): string {
  return outputs.kind === 'inline' ? Buffer.from(outputs.literalMap).toString('latin1') : outputs.kind;
}

/**
 * Secrets that come with each call about a task, and are nobody's to show. Of two tasks one has some; none has whose engine gives up, since
 * nobody would bring them again after a kill.
 */
function broughtWith({ name, plan: { index, plan } }: Attempt): { readonly connection?: Connection } {
  if (index % 2 === 0 || plan === 'supersede' || plan === 'abandon') return {};
  return { connection: { secrets: { key: suiteSecret('connection', name) } } };
}

function taskOf(attempt: Attempt): TaskInput {
  const { name, number, plan, runMs } = attempt;
  const { flavour, textLength, project, node, end } = plan;
  const text = { text: { type: { simple: 'STRING' } } };
  const job = { job: { type: { simple: 'STRING' } } };
  return {
    generatedName: name,
    ...broughtWith(attempt),
    template: {
      type: `chaos_${flavour}`,
      custom: { runMs, end, textLength },
      interface: { ...(textLength > 0 ? { inputs: { variables: text } } : {}), outputs: { variables: job } },
    },
    ...(textLength > 0 ? { inputValues: { text: 'x'.repeat(textLength) } } : {}),
    metadata: {
      taskExecutionId: {
        retryAttempt: number,
        nodeExecutionId: { nodeId: node, executionId: { project, domain: 'development', name: plan.name } },
      },
    },
  };
}
