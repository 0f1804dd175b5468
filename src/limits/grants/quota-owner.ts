import type { Clock, Timer } from '../../lib/clock.js';
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
  /** What the facts of the tasks say by now. Where it rejects it is asked again. */
  readonly held: () => Promise<Iterable<HeldToken>>;
  /** May lose it; must not call back before it returns. */
  readonly send: (message: QuotaMessage<QuotaSaid>) => void;
}

interface Drawer {
  /** Which of its links that is. */
  readonly number: number;
  readonly link: OrderedLink<QuotaSaid, QuotaAsk>;
  /** The latest wish for each task that waits. */
  readonly asks: Map<TaskId, number>;
  /** Tasks of which it said that they hold a token, until it has told all; undefined from then on. */
  told: Set<TaskId> | undefined;
  /** What it was told last of who waits. */
  waited: string;
  /** The number of the item that told it. */
  waitedItem: number;
}

/** Whose task it is, as far as it is known. */
interface Speaker {
  readonly drawer: string;
  readonly turn: number;
}

/** What the facts of the tasks say of a token. */
export interface HeldToken {
  /** The member that has the task. */
  readonly drawer: string;
  readonly turn: number;
  readonly request: QuotaRequest;
  readonly job?: string | undefined;
}

/** Between two readings of the facts for tokens that nobody speaks for, in times of `resendMs`: the first, and the longest. */
const RESENDS_A_READING = { first: 5, most: 100 };
/** Namespaces that are told by name; of more it is said that all are waited for. */
const MOST_NAMESPACES = 1_000;
const NOBODY = JSON.stringify([]);

/**
 * The owner's side of a plugin's quotas: the ledger of a single daemon, asked by the replicas whose tasks they are. Each token and each place
 * in the line is of one replica, which alone may give it back: the one that has the task since the latest turn, whoever is heard last.
 *
 * States: silent until `rebuild` has said what is held (whoever asks meanwhile repeats it); open; closed.
 *
 * A new owner takes no token for free that may be held: `rebuild` is given what the facts of the tasks say, read after this tenancy began, and
 * the mark that a task uses its token is only committed while the tenancy it was granted by is the one that counts
 * (`QuotaDrawer.epochOf`). Each of these tokens is in doubt until a replica has told of it: whose it was by the facts may be gone, or have
 * given the task away, and who has it now may find it over before it comes to speak. In doubt is a token again when who spoke for it says
 * that it has the task no more, or is gone. It is free once a reading of the facts that began after the doubt has no such token.
 */
export class QuotaOwner {
  readonly #options: QuotaOwnerOptions;
  readonly #drawers = new Map<string, Drawer>();
  readonly #speakers = new Map<TaskId, Speaker>();
  /** Those whose tasks others have, of whom nothing may come any more. As many as members ended in this tenancy. */
  readonly #forgotten = new Set<string>();
  /** The jobs that tokens stand for, as far as they were told. */
  readonly #jobs = new Map<TaskId, string>();
  /** Tokens that nobody speaks for, with who had them as far as it was known. */
  readonly #doubtful = new Map<TaskId, Speaker>();
  /** Until the next reading, in times of `resendMs`, where the last one came to nothing. */
  #pause = RESENDS_A_READING.first;
  #open = false;
  #telling: Timer | undefined;
  #reading: Timer | undefined;
  /** When the next reading is due; never where none is. */
  #readsAtMs = Number.POSITIVE_INFINITY;
  #isReading = false;

  constructor(options: QuotaOwnerOptions) {
    this.#options = options;
  }

  /** For the ledger, of whose tokens it has no tasks here. */
  jobOf(taskId: TaskId): string | undefined {
    return this.#jobs.get(taskId);
  }

  /** Tokens that the facts of tasks say are held, and which member has those tasks. To be called once. */
  rebuild(held: Iterable<HeldToken>): void {
    for (const { drawer, turn, request, job } of held) this.#hold({ drawer, turn }, request, job);
    this.#doubt(this.#speakers);
    this.#open = true;
  }

  receive(message: QuotaMessage<QuotaAsk>): void {
    const { epoch, drawer, link: number } = message;
    if (!this.#open || epoch !== this.#options.epoch || this.#forgotten.has(drawer)) return;
    const before = this.#drawers.get(drawer);
    // It gave up a link whose messages come late.
    if (before !== undefined && number < before.number) return;
    const known = before?.number === number ? before : this.#newDrawer(drawer, number);
    for (const ask of known.link.receive(message)) this.#take(drawer, known, ask);
    this.#tellWaitedSoon();
  }

  /**
   * A member is gone, and the parts of its tasks are others', so that nothing of it is written any more: what those have not told of by now
   * is free once the facts say so.
   */
  forget(drawer: string): void {
    this.#forgotten.add(drawer);
    this.#drawers.get(drawer)?.link.close();
    this.#drawers.delete(drawer);
    this.#doubtAllBut(drawer, new Set());
  }

  close(): void {
    this.#open = false;
    this.#telling?.cancel();
    this.#reading?.cancel();
    this.#doubtful.clear();
    for (const { link } of this.#drawers.values()) link.close();
  }

  /** Of one that is not known yet, or that begins anew: it tells what it holds, and asks for what it waits for. */
  #newDrawer(drawer: string, number: number): Drawer {
    const { clock, resendMs, send, epoch } = this.#options;
    const link = new OrderedLink<QuotaSaid, QuotaAsk>({
      clock,
      resendMs,
      send: (message) => send({ ...message, epoch, drawer, link: number }),
    });
    const known: Drawer = { number, link, asks: new Map(), told: new Set(), waited: NOBODY, waitedItem: 0 };
    this.#drawers.get(drawer)?.link.close();
    this.#drawers.set(drawer, known);
    return known;
  }

  /** Who waits anywhere, to each who does not know: so that the tasks that hold what is waited for are read for their ends. */
  #tellWaitedSoon(): void {
    const { clock, resendMs, ledger } = this.#options;
    this.#telling ??= clock.setTimer(resendMs, () => {
      this.#telling = undefined;
      const { namespaces, all } = ledger.waited();
      const many = all || namespaces.length > MOST_NAMESPACES;
      const said = { kind: 'waited', namespaces: many ? [] : [...namespaces].sort(), all: many } as const;
      const text = many ? '' : JSON.stringify(said.namespaces);
      for (const drawer of this.#drawers.values()) {
        // One that does not hear is told once it has heard the last: what it is owed beside answers one of its own wishes.
        if (drawer.waited === text || !drawer.link.hasCome(drawer.waitedItem)) continue;
        drawer.waited = text;
        drawer.waitedItem = drawer.link.push(said);
      }
    });
  }

  #take(drawer: string, known: Drawer, ask: QuotaAsk): void {
    if (ask.kind === 'want') this.#want(drawer, known, ask);
    else if (ask.kind === 'adopt') this.#adopt(drawer, known, ask);
    else if (ask.kind === 'gone') this.#gone(drawer, ask.taskId);
    else if (ask.kind === 'away') this.#away(drawer, ask.taskId);
    else if (ask.kind === 'unwritten') known.told?.add(ask.taskId);
    else if (ask.kind === 'job') this.#identify(drawer, ask);
    else if (ask.kind === 'close') this.#options.ledger.closeUntil(this.#options.clock.now() + ask.forMs);
    else if (ask.kind === 'told') {
      this.#doubtAllBut(drawer, known.told ?? new Set());
      known.told = undefined;
    } else {
      known.told?.add(ask.request.taskId);
      if (ask.kind === 'hold') this.#hold({ drawer, turn: ask.turn }, ask.request, ask.job);
      else this.#handOver(drawer, ask);
    }
  }

  #handOver(drawer: string, { from, request, turn }: QuotaAsk & { kind: 'handOver' }): void {
    this.#hold({ drawer, turn }, request, this.#jobs.get(from));
    // In this order nobody gets the token in between.
    this.#gone(drawer, from);
    this.#options.ledger.identify(request.taskId);
  }

  #identify(drawer: string, { taskId, job }: QuotaAsk & { kind: 'job' }): void {
    if (!this.#isOf(taskId, drawer)) return;
    this.#jobs.set(taskId, job);
    this.#options.ledger.identify(taskId);
  }

  #want(drawer: string, { link, asks }: Drawer, { ask, turn, request }: QuotaAsk & { kind: 'want' }): void {
    const { taskId } = request;
    if (this.#hasMovedOn(taskId, turn)) return;
    const answer = this.#options.ledger.acquire(request);
    if (answer.status === 'full') {
      link.push({ kind: 'full', taskId, ask });
      return;
    }
    this.#speaks(taskId, { drawer, turn });
    if (answer.status === 'granted') {
      link.push({ kind: 'granted', taskId, ask });
      return;
    }
    asks.set(taskId, ask);
    link.push({ kind: 'lacks', taskId, ask, lacks: answer.lacks });
    void answer.granted.then((granted) => {
      if (asks.get(taskId) !== ask) return;
      asks.delete(taskId);
      if (granted && this.#isOf(taskId, drawer)) link.push({ kind: 'granted', taskId, ask });
    });
  }

  #hold(speaker: Speaker, request: QuotaRequest, job: string | undefined): void {
    const { ledger } = this.#options;
    if (this.#hasMovedOn(request.taskId, speaker.turn)) return;
    this.#speaks(request.taskId, speaker);
    if (job !== undefined) this.#jobs.set(request.taskId, job);
    ledger.hold(request);
    if (job !== undefined) ledger.identify(request.taskId);
  }

  #adopt(drawer: string, { link }: Drawer, { turn, request, job }: QuotaAsk & { kind: 'adopt' }): void {
    const { taskId } = request;
    const { ledger } = this.#options;
    ledger.seeAllJobs();
    const granted = !this.#hasMovedOn(taskId, turn) && ledger.adopt(request, job);
    if (granted) {
      this.#speaks(taskId, { drawer, turn });
      this.#jobs.set(taskId, job);
    }
    link.push({ kind: 'adopted', taskId, granted });
  }

  #gone(drawer: string, taskId: TaskId): void {
    this.#drawers.get(drawer)?.asks.delete(taskId);
    // Another one has the task by now, and speaks for it.
    if (!this.#isOf(taskId, drawer)) return;
    this.#speakers.delete(taskId);
    this.#doubtful.delete(taskId);
    this.#jobs.delete(taskId);
    this.#options.ledger.release(taskId);
  }

  #away(drawer: string, taskId: TaskId): void {
    const speaker = this.#speakers.get(taskId);
    if (speaker?.drawer === drawer) this.#doubt([[taskId, speaker]]);
  }

  /** Whoever had the task before says no more of it. */
  #speaks(taskId: TaskId, speaker: Speaker): void {
    this.#doubtful.delete(taskId);
    this.#speakers.set(taskId, speaker);
  }

  #isOf(taskId: TaskId, drawer: string): boolean {
    return this.#speakers.get(taskId)?.drawer === drawer;
  }

  /** Another replica has had the task since this turn. */
  #hasMovedOn(taskId: TaskId, turn: number): boolean {
    return (this.#speakers.get(taskId)?.turn ?? turn) > turn;
  }

  #doubtAllBut(drawer: string, told: ReadonlySet<TaskId>): void {
    this.#doubt([...this.#speakers].filter(([taskId, speaker]) => speaker.drawer === drawer && !told.has(taskId)));
  }

  #doubt(speakers: Iterable<readonly [TaskId, Speaker]>): void {
    for (const [taskId, speaker] of speakers) this.#doubtful.set(taskId, speaker);
    this.#pause = RESENDS_A_READING.first;
    this.#readLater(1);
  }

  #readLater(resends: number): void {
    const { clock, resendMs } = this.#options;
    const atMs = clock.now() + resends * resendMs;
    if (this.#doubtful.size === 0 || this.#isReading || this.#readsAtMs <= atMs) return;
    this.#reading?.cancel();
    this.#readsAtMs = atMs;
    this.#reading = clock.setTimer(atMs - clock.now(), () => this.#read());
  }

  #read(): void {
    this.#readsAtMs = Number.POSITIVE_INFINITY;
    // Mostly all of them were told of meanwhile.
    if (this.#doubtful.size === 0) return;
    // What is doubted later may be a fact that this reading was too early for.
    const doubted = new Map(this.#doubtful);
    const late = this.#pause;
    this.#pause = Math.min(2 * late, RESENDS_A_READING.most);
    this.#isReading = true;
    const again = () => {
      this.#isReading = false;
      // Who came to be in doubt meanwhile does not wait for who has been for long.
      this.#readLater([...this.#doubtful.keys()].every((taskId) => doubted.has(taskId)) ? late : 1);
    };
    this.#options.held().then((held) => {
      this.#freeAllBut(new Set(Array.from(held, ({ request }) => request.taskId)), doubted);
      again();
    }, again);
  }

  #freeAllBut(held: ReadonlySet<TaskId>, doubted: ReadonlyMap<TaskId, Speaker>): void {
    if (!this.#open) return;
    for (const [taskId, speaker] of doubted) {
      // Who has spoken since has said what becomes of a token.
      if (this.#doubtful.get(taskId) !== speaker || held.has(taskId)) continue;
      this.#doubtful.delete(taskId);
      this.#gone(speaker.drawer, taskId);
    }
    this.#tellWaitedSoon();
  }
}
