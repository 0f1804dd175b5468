import type { Clock } from '../../lib/clock.js';
import { getOrMake } from '../../lib/get-or-make.js';
import type { TaskId } from '../../model/attempt-key.js';
import type { QuotaLedger } from '../quota-ledger.js';
import type { QuotaRequest } from '../types.js';
import { OrderedLink } from './ordered-link.js';
import type { QuotaAsk, QuotaMessage, QuotaSaid } from './quota-messages.js';

export interface QuotaOwnerOptions {
  /** Names this tenancy: another one each time that anybody comes to own the limits. */
  readonly epoch: string;
  readonly ledger: QuotaLedger;
  readonly clock: Clock;
  readonly resendMs: number;
  /** May lose it; must not call back before it returns. */
  readonly send: (message: QuotaMessage<QuotaSaid>) => void;
}

interface Drawer {
  readonly link: OrderedLink<QuotaSaid, QuotaAsk>;
  /** The latest wish for each task that waits. */
  readonly asks: Map<TaskId, number>;
  /** Tasks of which it said that they hold a token, until it has told all; undefined from then on. */
  told: Set<TaskId> | undefined;
}

/**
 * The owner's side of a plugin's quotas: the ledger of a single daemon, asked by the replicas whose tasks they are. Each token and each place
 * in the line is of one replica, which alone may give it back: the last one that spoke for the task.
 *
 * States: silent until `rebuild` has said what is held (whoever asks meanwhile repeats it); open; closed.
 *
 * A new owner takes no token for free that may be held: `rebuild` is given what the facts of the tasks say, read after this tenancy began, and
 * the mark that a task uses its token is only committed while the tenancy it was granted by is the one that counts
 * (`QuotaDrawer.epochOf`). What a replica then does not tell of, among what the facts say is its own, was over meanwhile.
 */
export class QuotaOwner {
  readonly #options: QuotaOwnerOptions;
  readonly #drawers = new Map<string, Drawer>();
  readonly #speakers = new Map<TaskId, string>();
  /** Those whose tasks others have, of whom nothing may come any more. As many as members ended in this tenancy. */
  readonly #forgotten = new Set<string>();
  #open = false;

  constructor(options: QuotaOwnerOptions) {
    this.#options = options;
  }

  /** Tokens that the facts of tasks say are held, and which member has those tasks. To be called once. */
  rebuild(held: Iterable<{ readonly drawer: string; readonly request: QuotaRequest }>): void {
    for (const { drawer, request } of held) this.#hold(drawer, request);
    this.#open = true;
  }

  receive(message: QuotaMessage<QuotaAsk>): void {
    const { epoch, drawer } = message;
    if (!this.#open || epoch !== this.#options.epoch || this.#forgotten.has(drawer)) return;
    const known = getOrMake(this.#drawers, drawer, () => this.#newDrawer(drawer));
    for (const ask of known.link.receive(message)) this.#take(drawer, known, ask);
  }

  /** A member is gone, and whoever has its tasks now has told their tokens: what is still in its name is free. */
  forget(drawer: string): void {
    this.#forgotten.add(drawer);
    this.#drawers.get(drawer)?.link.close();
    this.#drawers.delete(drawer);
    this.#freeAllBut(drawer, new Set());
  }

  close(): void {
    this.#open = false;
    for (const { link } of this.#drawers.values()) link.close();
  }

  #newDrawer(drawer: string): Drawer {
    const { clock, resendMs, send, epoch } = this.#options;
    const link = new OrderedLink<QuotaSaid, QuotaAsk>({
      clock,
      resendMs,
      send: (message) => send({ ...message, epoch, drawer }),
    });
    return { link, asks: new Map(), told: new Set() };
  }

  #take(drawer: string, known: Drawer, ask: QuotaAsk): void {
    if (ask.kind === 'want') this.#want(drawer, known, ask);
    else if (ask.kind === 'adopt') this.#adopt(drawer, known, ask);
    else if (ask.kind === 'gone') this.#gone(drawer, ask.taskId);
    else if (ask.kind === 'told') {
      this.#freeAllBut(drawer, known.told ?? new Set());
      known.told = undefined;
    } else {
      known.told?.add(ask.request.taskId);
      this.#hold(drawer, ask.request);
      // In this order nobody gets the token in between.
      if (ask.kind === 'handOver') this.#gone(drawer, ask.from);
    }
  }

  #want(drawer: string, { link, asks }: Drawer, { ask, request }: QuotaAsk & { kind: 'want' }): void {
    const { taskId } = request;
    const answer = this.#options.ledger.acquire(request);
    if (answer.status === 'full') {
      link.push({ kind: 'full', taskId, ask });
      return;
    }
    this.#speakers.set(taskId, drawer);
    if (answer.status === 'granted') {
      link.push({ kind: 'granted', taskId, ask });
      return;
    }
    asks.set(taskId, ask);
    link.push({ kind: 'lacks', taskId, ask, lacks: answer.lacks });
    void answer.granted.then((granted) => {
      if (!granted || asks.get(taskId) !== ask || this.#speakers.get(taskId) !== drawer) return;
      asks.delete(taskId);
      link.push({ kind: 'granted', taskId, ask });
    });
  }

  #hold(drawer: string, request: QuotaRequest): void {
    this.#speakers.set(request.taskId, drawer);
    this.#options.ledger.hold(request);
  }

  #adopt(drawer: string, { link }: Drawer, { request, job }: QuotaAsk & { kind: 'adopt' }): void {
    const { taskId } = request;
    const granted = this.#options.ledger.adopt(request, job);
    if (granted) this.#speakers.set(taskId, drawer);
    link.push({ kind: 'adopted', taskId, granted });
  }

  #gone(drawer: string, taskId: TaskId): void {
    // Another one has the task by now, and speaks for it.
    if (this.#speakers.get(taskId) !== drawer) return;
    this.#speakers.delete(taskId);
    this.#drawers.get(drawer)?.asks.delete(taskId);
    this.#options.ledger.release(taskId);
  }

  #freeAllBut(drawer: string, kept: ReadonlySet<TaskId>): void {
    for (const [taskId, speaker] of this.#speakers) {
      if (speaker === drawer && !kept.has(taskId)) this.#gone(drawer, taskId);
    }
  }
}
