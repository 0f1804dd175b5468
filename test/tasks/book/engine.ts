import { HostError } from '../../../src/errors/index.js';
import { decodeHandle, looksLikeHandle } from '../../../src/model/handle.js';
import { phaseRank } from '../../../src/model/phase-state.js';
import type { TaskRecord } from '../../../src/model/task-record.js';
import { isTerminal, type Phase } from '../../../src/plugin-api/phase.js';
import { type Harness, HINTS } from '../harness.js';
import type { Story } from './story.js';

interface Node {
  attempt: number;
  /** The first handle that the attempt was answered; engines keep that one. */
  handle: Buffer | undefined;
  /** It came from the daemon of now. */
  fresh: boolean;
  ended: Phase | undefined;
}

interface Seen {
  readonly rank: number;
  readonly version: number;
  readonly end: string | undefined;
}

/** What an engine does when the answer to its Create does not arrive (FIELD 3, 4). */
export type Delivery = 'arrives' | 'lost, it repeats' | 'lost, it goes on';

/** An engine with some nodes: it repeats, polls, deletes and tries again as engines do, and believes what it was told. */
export class BookEngine {
  readonly #story: Story;
  readonly #nodes = new Map<string, Node>();
  /** Deletes that were answered, and orphans that were deleted, by the attempt's name. */
  readonly #lives = new Map<string, number>();
  /** Handles of what it deleted: it may ask for these again (FIELD 27). */
  readonly #old: Buffer[] = [];
  #seen = new Map<string, Seen>();
  #pending: Promise<void>[] = [];
  #h: Harness;

  constructor(h: Harness, story: Story) {
    this.#h = h;
    this.#story = story;
  }

  /** Another daemon answers from now on; what the last one had not answered never is. */
  movesTo(h: Harness): void {
    this.#h = h;
    this.#seen = new Map();
    this.#pending = [];
    // Another daemon would take these up again: that is asked for on purpose by nobody.
    this.#old.length = 0;
    for (const node of this.#nodes.values()) node.fresh = false;
  }

  /** The daemon deleted what it takes for an orphan: as good as a Delete, where the engine does not hold the handle. */
  orphanDeleted(name: string): void {
    const [id = '', attempt = ''] = name.split('/');
    const node = this.#nodes.get(id);
    const held = node !== undefined && `${node.attempt}` === attempt && node.fresh && node.handle !== undefined;
    this.#story.tell(`${name} is deleted as an orphan`);
    this.#story.check(!held, () => `${name} is deleted although the engine holds its handle`);
    this.#lives.set(name, this.lifeOf(name) + 1);
  }

  lifeOf(name: string): number {
    return this.#lives.get(name) ?? 0;
  }

  /** The keys of the jobs whose metas its handles carry: what a daemon without a memory can learn from it. */
  *knownJobs(): Iterable<string> {
    for (const { handle } of this.#nodes.values()) {
      const meta = handle === undefined || !looksLikeHandle(handle) ? undefined : decodeHandle(handle).meta;
      if (meta !== undefined) yield meta.toString();
    }
  }

  create(id: string, delivery: Delivery): void {
    const node = this.#node(id);
    const name = `${id}/${node.attempt}`;
    const life = this.lifeOf(name);
    const work = async () => {
      const h = this.#h;
      const spec = h.spec(name, { node: { nodeKey: id, attempt: node.attempt } });
      const answer = await h.tasks.create(spec, h.scope(6_000));
      // What a daemon that was killed would have said.
      if (this.#h !== h) return;
      this.#look(answer.handle, answer.task, name);
      const now = `${id}/${node.attempt}` === name && this.lifeOf(name) === life;
      if (!now || (delivery !== 'arrives' && node.handle === undefined)) {
        this.#story.tell(`the answer to create ${name} (${answer.task.state.phase}) is lost`);
        answer.undelivered();
        if (now && delivery === 'lost, it goes on') node.attempt += 1;
        return;
      }
      if (node.handle !== undefined && node.fresh) {
        this.#story.check(
          answer.handle.equals(node.handle),
          () => `a repeated create of ${name} answers another handle`,
        );
      }
      this.#story.tell(`create ${name} is answered ${answer.task.id} ${answer.task.state.phase}`);
      if (node.handle === undefined) node.fresh = true;
      node.handle ??= answer.handle;
    };
    this.#story.tell(`create ${name} (${delivery})`);
    this.#run(work);
  }

  status(id: string): void {
    const { handle } = this.#node(id);
    if (handle !== undefined) this.#run(() => this.#status(handle, id));
  }

  get(id: string): void {
    const { handle } = this.#node(id);
    if (handle === undefined) return;
    const h = this.#h;
    this.#run(async () => {
      const task = await h.tasks.get(handle, HINTS, h.scope(5_000));
      if (this.#h === h) this.#look(handle, task, id);
    });
  }

  delete(id: string): void {
    const node = this.#node(id);
    const { handle, attempt } = node;
    if (handle === undefined) return;
    const name = `${id}/${attempt}`;
    this.#story.tell(`delete ${name}`);
    node.handle = undefined;
    node.ended = undefined;
    this.#lives.set(name, this.lifeOf(name) + 1);
    this.#old.push(handle);
    this.#run(() => this.#h.tasks.delete(handle, 'the engine says so', HINTS));
  }

  /** A failed attempt is followed by the next, without a Delete. */
  tryAgain(id: string): void {
    const node = this.#node(id);
    if (node.ended === undefined || node.ended === 'SUCCESS') return;
    if (node.handle !== undefined) this.#old.push(node.handle);
    node.attempt += 1;
    node.handle = undefined;
    node.ended = undefined;
    this.create(id, 'arrives');
  }

  /** Asks for everything it holds, as engines do all the time. */
  poll(): void {
    for (const id of this.#nodes.keys()) this.status(id);
  }

  /** Asks for what it deleted. */
  lookBack(): void {
    for (const handle of this.#old) this.#run(() => this.#status(handle, 'an old handle'));
  }

  deleteAll(): void {
    for (const id of this.#nodes.keys()) this.delete(id);
  }

  *handles(): Iterable<readonly [string, Buffer]> {
    for (const [id, { handle }] of this.#nodes) if (handle !== undefined) yield [id, handle];
  }

  async settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  #node(id: string): Node {
    const known = this.#nodes.get(id);
    if (known !== undefined) return known;
    const node: Node = { attempt: 0, handle: undefined, fresh: false, ended: undefined };
    this.#nodes.set(id, node);
    return node;
  }

  async #status(handle: Buffer, id: string): Promise<void> {
    const h = this.#h;
    const task = h.tasks.peek(handle) ?? (await h.tasks.status(handle, HINTS, h.scope(5_000)));
    if (this.#h === h) this.#look(handle, task, id);
  }

  /** Rule 7: what a handle answers goes forwards, is never UNDEFINED, and its end stays its end. */
  #look(handle: Buffer, task: TaskRecord, who: string): void {
    const { phase, error } = task.state;
    const name = handle.toString('hex');
    const last = this.#seen.get(name);
    const end = isTerminal(phase) ? `${phase} ${error?.code ?? ''}` : undefined;
    const rank = phaseRank(phase);
    const deleted = error?.code === 'TASK_DELETED';
    const { check } = { check: this.#story.check.bind(this.#story) };
    check((phase as string) !== 'UNDEFINED', () => `${who}: UNDEFINED`);
    check(
      last?.end === undefined || last.end === end,
      () => `${who}: ended as ${last?.end}, and is now ${end ?? phase}`,
    );
    check(deleted || rank >= (last?.rank ?? 0), () => `${who}: the phase goes back to ${phase}`);
    check(deleted || task.phaseVersion >= (last?.version ?? 0), () => `${who}: the phase version goes back`);
    if (last?.rank !== rank || last.end !== end) this.#story.tell(`${who} (${task.id}) is ${end ?? phase}`);
    this.#seen.set(name, { rank, version: deleted ? 0 : task.phaseVersion, end });
    for (const node of this.#nodes.values()) if (end !== undefined && node.handle?.equals(handle)) node.ended = phase;
  }

  #run(work: () => Promise<void>): void {
    const done = work().catch((error: unknown) => {
      if (!HostError.is(error)) this.#story.breaks(`a call failed with ${String(error)}`);
    });
    this.#pending.push(done);
  }
}
