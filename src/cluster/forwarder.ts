import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { HostError } from '../errors/index.js';
import { decodeRpcStatus } from '../idl/rpc-status.js';
import { createDeferred } from '../lib/deferred.js';
import { settledBefore, sleep } from '../lib/wait.js';
import { type Elsewhere, EndedElsewhere, HERE, HOP, isOwnerAway, type PassedCall } from '../model/forwarding.js';
import { Absence } from './absence.js';
import { AGAIN_MS } from './again.js';
import { endOf, type PassedEnd } from './owner-call.js';
import type { Owners } from './owners.js';
import { CONNECTIONS, type PeerOptions } from './peer.js';
import type { Route } from './route.js';
import { Routes } from './routes.js';

export interface ForwarderOptions extends PeerOptions {
  readonly owners: Owners;
  /** Names this replica to those to whom it passes calls on. */
  readonly epoch: string;
  /** How long a call waits for an owner at most; it takes a lease to see that one is dead. */
  readonly patienceMs: number;
  /** Whether a call may be answered here in an owner's place: all that may have the part next, or have it, will know of it. */
  readonly mayStandIn?: (part: number) => boolean;
  /** Told of each call that was passed on, with the name of its status. */
  readonly passed?: (code: string) => void;
}

/** What goes along besides: who calls, and the trace. */
const KEPT = ['authorization', 'traceparent', 'tracestate'] as const;
const DETAILS = 'grpc-status-details-bin';
/** Of the details of OWNER_AWAY: the epoch of who says that the part is not its. */
const REPLICA = 'replica';
const ANSWERED_BY_NONE: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.CANCELLED,
  status.INTERNAL,
  status.UNKNOWN,
]);
/** An answer needs this long to get back within the caller's deadline. Milliseconds. */
const MARGIN_MS = 250;
/** Of requests that wait for an owner, or for its answer. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;

type StandIn = () => Buffer | Promise<Buffer>;

/** Where a call goes: to another replica, or to this one. */
type Seen = Route | typeof HERE;

/** A try that another one may follow. */
interface Undone {
  /** It was not looked at: that may be at once. */
  readonly refused: boolean;
  /** Nobody answered. */
  readonly broke: boolean;
  /** What to end with where none follows. */
  error(): Error;
}

/**
 * Passes calls on to the replica that has what they are about. All of them may be made twice (a Create answers the same bytes, a Do is replayed), so
 * that a call whose owner went away, or gave the part up, is made anew at the next one, within its deadline. Where no owner answers for a second
 * (`Absence`), the call is answered in its place, if it can be.
 *
 * It has no states of its own but `close`, after which calls end with OWNER_AWAY.
 */
export class Forwarder implements Elsewhere {
  readonly #options: ForwarderOptions;
  readonly #unlisten: () => void;
  readonly #routes: Routes;
  #heldBytes = 0;
  #closed = false;
  /** Settles at the next change of an owner. */
  #change = createDeferred<void>();

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#routes = new Routes(options.owners, options);
    this.#unlisten = options.owners.onChange(() => this.#changed());
  }

  get parts(): number {
    return this.#options.owners.parts;
  }

  /** Whether a replica takes no calls at its address, as far as this one passed some on to it. */
  isClosed(epoch: string): boolean {
    return this.#routes.isClosed(epoch);
  }

  away(part: number): boolean {
    return this.#options.owners.ownerOf(part) !== 'here';
  }

  ownerOf(part: number): string | undefined {
    const owner = this.#options.owners.ownerOf(part);
    return owner === 'here' ? HERE : owner?.epoch;
  }

  onChange(listener: () => void): () => void {
    return this.#options.owners.onChange(listener);
  }

  async unary(...[part, call, request, here, standIn]: Parameters<Elsewhere['unary']>): Promise<Buffer> {
    this.#assertFirstHop(call);
    this.#hold(request.length);
    const { clock } = this.#options;
    const absence = new Absence(clock, call.deadlineMs);
    let untilMs = this.#untilMs(call);
    let tried: string | undefined;
    let atOnce = CONNECTIONS;
    try {
      for (;;) {
        const seen = this.#known(part) ?? (await this.#awaited(part, call, untilMs, absence, standIn));
        let end = seen && (await (seen === HERE ? this.#here(here) : this.#passed(seen, call, request)));
        if (Buffer.isBuffer(end)) return end;
        if (end?.broke === false) absence.end();
        else absence.begin();
        if (absence.isDue && standIn !== undefined && this.#mayStandIn(part)) {
          end = await this.#stoodIn(standIn, absence);
          if (Buffer.isBuffer(end)) return end;
        }
        if (end === undefined) continue;
        const by = seen === undefined ? tried : seen === HERE ? HERE : seen.peer.epoch;
        // However long it was under way there, the wait for who comes next begins with the end of that.
        if (by !== tried) untilMs = this.#untilMs(call);
        tried = by;
        // It was not looked at, as by an owner whose connection ends: another connection takes it.
        if (end.refused && atOnce-- > 0) continue;
        await sleep(clock, AGAIN_MS, call.signal);
        if (clock.now() >= untilMs || call.signal.aborted) throw end.error();
      }
    } finally {
      this.#heldBytes -= request.length;
    }
  }

  /** Of another replica: its answer, or what may end otherwise at another try. Throws what may not. */
  async #passed(route: Route, call: PassedCall, request: Buffer): Promise<Buffer | Undone> {
    const end = await route.unary(call, request, this.#kept(call), this.#leftMs(call));
    if (Buffer.isBuffer(end)) return this.#answered(end);
    const away = awayOf(end);
    if (call.signal.aborted || away === undefined) throw this.#ended(end);
    const { peer } = route;
    if (away.by !== undefined && away.by !== peer.epoch) peer.replaced();
    return { refused: end.refused, broke: end.details === undefined || peer.isClosed, error: () => this.#ended(end) };
  }

  /** The same of this replica. */
  async #here(here: () => Buffer | Promise<Buffer>): Promise<Buffer | Undone> {
    try {
      return await here();
    } catch (error) {
      if (this.parts === 1 || !isOwnerAway(error)) throw error;
      return { refused: false, broke: false, error: () => error as Error };
    }
  }

  #mayStandIn(part: number): boolean {
    return this.#options.mayStandIn?.(part) === true;
  }

  /** The same of this replica in the owner's place. */
  async #stoodIn(standIn: StandIn, absence: Absence): Promise<Buffer | Undone> {
    try {
      return await standIn();
    } catch (error) {
      if (!isOwnerAway(error)) throw error;
      absence.again();
      return { refused: false, broke: true, error: () => error as Error };
    }
  }

  async stream(
    part: number,
    call: PassedCall,
    requests: AsyncIterable<Buffer>,
  ): Promise<AsyncIterable<Buffer> | undefined> {
    this.#assertFirstHop(call);
    const route = await this.#owner(part, call, this.#untilMs(call));
    return route && this.#answersOf(route.stream(call, requests, this.#metadata(call), this.#leftMs(call)));
  }

  close(): void {
    this.#closed = true;
    this.#unlisten();
    this.#routes.close();
    this.#change.resolve();
  }

  async *#answersOf(answers: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    try {
      yield* answers;
      this.#options.passed?.('OK');
    } catch (error) {
      throw isServiceError(error) ? this.#ended(endOfService(error)) : error;
    }
  }

  #known(part: number): Route | undefined {
    return this.#closed ? undefined : this.#routes.of(part);
  }

  /** Who has the part, once one does; undefined where it is time to stand in for one. Throws OWNER_AWAY. */
  async #awaited(
    part: number,
    call: PassedCall,
    untilMs: number,
    absence: Absence,
    standIn?: StandIn,
  ): Promise<Seen | undefined> {
    absence.begin();
    const may = standIn !== undefined && this.#mayStandIn(part);
    const seen = await this.#seen(part, call, may ? Math.min(untilMs, absence.dueMs) : untilMs);
    if (seen === undefined && !(may && absence.isDue && this.#waits(call))) throw nobodySeen();
    return seen;
  }

  /** The way to who has the part; undefined once that is this replica. Throws OWNER_AWAY. */
  async #owner(part: number, call: PassedCall, untilMs: number): Promise<Route | undefined> {
    const seen = await this.#seen(part, call, untilMs);
    if (seen === undefined) throw nobodySeen();
    return seen === HERE ? undefined : seen;
  }

  /** Undefined where nobody is in time. */
  async #seen(part: number, call: PassedCall, untilMs: number): Promise<Seen | undefined> {
    const { owners, clock } = this.#options;
    while (this.#waits(call)) {
      if (owners.ownerOf(part) === 'here') return HERE;
      const route = this.#routes.of(part);
      if (route !== undefined) return route;
      if (clock.now() >= untilMs) break;
      await settledBefore(clock, this.#change.promise, untilMs, call.signal);
    }
    return undefined;
  }

  #waits({ signal }: PassedCall): boolean {
    return !this.#closed && !signal.aborted;
  }

  #changed(): void {
    this.#routes.follow();
    const change = this.#change;
    this.#change = createDeferred<void>();
    change.resolve();
  }

  /** Where a call waits for an owner until. */
  #untilMs({ deadlineMs }: PassedCall): number {
    const { clock, patienceMs } = this.#options;
    return Math.min(deadlineMs - MARGIN_MS, clock.now() + patienceMs);
  }

  #leftMs({ deadlineMs }: PassedCall): number {
    return Math.max(0, deadlineMs - this.#options.clock.now());
  }

  #assertFirstHop(call: PassedCall): void {
    const by = call.header(HOP);
    if (by === undefined) return;
    const seen = `replica ${by.slice(0, 40)} passed the call on to this one, which has the state no more, or not yet`;
    throw new HostError('OWNER_AWAY', `${seen}; try again`, {
      retryAfterMs: AGAIN_MS,
      details: { [REPLICA]: this.#options.epoch },
    });
  }

  #hold(bytes: number): void {
    if (this.#heldBytes + bytes > MAX_HELD_BYTES) {
      throw new HostError(
        'OWNER_AWAY',
        'requests of too many bytes wait for the replica that has the state; try later',
        {
          retryAfterMs: 1_000,
        },
      );
    }
    this.#heldBytes += bytes;
  }

  #kept(call: PassedCall): Record<string, string> {
    const kept: Record<string, string> = { [HOP]: this.#options.epoch };
    for (const name of KEPT) {
      const value = call.header(name);
      if (value !== undefined) kept[name] = value;
    }
    return kept;
  }

  #metadata(call: PassedCall): Metadata {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(this.#kept(call))) metadata.set(name, value);
    return metadata;
  }

  #answered(answer: Buffer): Buffer {
    this.#options.passed?.('OK');
    return answer;
  }

  /** A connection that broke tells the caller nothing of the daemon: it is told which part is away. */
  #ended({ code, message, details }: PassedEnd): Error {
    this.#options.passed?.(status[code] ?? 'UNKNOWN');
    if (details === undefined && code !== status.DEADLINE_EXCEEDED) {
      return new HostError('OWNER_AWAY', `the replica that has the state could not be asked: ${message}`, {
        retryAfterMs: 1_000,
      });
    }
    return new EndedElsewhere(code, message, details);
  }
}

function nobodySeen(): HostError {
  return new HostError('OWNER_AWAY', 'no replica that has the state was seen in time; try again', {
    retryAfterMs: 1_000,
  });
}

function endOfService({ code, details, metadata }: ServiceError): PassedEnd {
  const [bytes] = metadata?.get(DETAILS) ?? [];
  return endOf(code, details, Buffer.isBuffer(bytes) ? bytes : undefined);
}

function isServiceError(error: unknown): error is ServiceError {
  return typeof (error as { code?: unknown } | null)?.code === 'number';
}

/** What lets another try, here or at another owner, end otherwise: nobody answered, or one that is no owner, and says who it is. */
function awayOf({ code, details }: PassedEnd): { readonly by: string | undefined } | undefined {
  if (details === undefined) return ANSWERED_BY_NONE.has(code) ? { by: undefined } : undefined;
  try {
    const info = decodeRpcStatus(details).errorInfo;
    return info?.reason === 'OWNER_AWAY' ? { by: info.metadata[REPLICA] } : undefined;
  } catch {
    return undefined;
  }
}
