import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { HostError, messageOf } from '../errors/index.js';
import { backoffMs } from '../lib/backoff.js';
import type { Clock, Timer } from '../lib/clock.js';
import { HOP } from '../model/forwarding.js';
import {
  LINK_TO,
  type LinkAcceptor,
  type LinkEvents,
  type LinkStream,
  REPLICA_LINK_PATH,
} from '../model/replica-link.js';
import type { MemberRow } from '../state/index.js';
import { Peer, type ReplicaTls } from './peer.js';

export interface LimitsLinksOptions {
  /** Of this member. */
  readonly epoch: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly tls?: (() => ReplicaTls | undefined) | undefined;
  /** A message of another member. Throws where no replica would send it, which ends the stream. */
  readonly receive: (from: string, message: Buffer) => void;
  readonly events?: LinkEvents;
}

/** Of one message, and of all that wait to be taken by one member; what is more is lost, as on any network. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** Between two streams to a member. */
const RECONNECT = { initialMs: 100, maxMs: 2_000 };

/** So often a stream to one that just came fails before that is told: it knows nobody before it looks, which it does once its plugins are loaded. */
const EARLY_FAILURES = 10;

const same = (bytes: Buffer): Buffer => bytes;

/** What waits for one member, and the stream that takes it, if there is one. */
class Outbox {
  #waiting: Buffer[] = [];
  #bytes = 0;
  #write: ((message: Buffer) => Promise<boolean>) | undefined;
  /** Of this stream. */
  #draining = 0;
  #streams = 0;

  /** False where the message is lost. */
  push(message: Buffer): boolean {
    if (this.#write === undefined || message.length > MAX_MESSAGE_BYTES) return false;
    if (this.#bytes + message.length > MAX_WAITING_BYTES) return false;
    this.#waiting.push(message);
    this.#bytes += message.length;
    void this.#drain();
    return true;
  }

  /** Answers how to end that; what waited for a stream before is lost with it. */
  to(write: (message: Buffer) => Promise<boolean>): () => void {
    this.#forget();
    this.#write = write;
    this.#streams += 1;
    return () => {
      if (this.#write !== write) return;
      this.#write = undefined;
      this.#forget();
    };
  }

  #forget(): void {
    this.#waiting = [];
    this.#bytes = 0;
  }

  /** One message after the other, as the stream takes them; one that never ends holds up no later stream. */
  async #drain(): Promise<void> {
    const stream = this.#streams;
    if (this.#draining === stream) return;
    this.#draining = stream;
    try {
      while (this.#streams === stream) {
        const next = this.#next();
        if (next === undefined) break;
        await this.#write?.(next);
      }
    } catch {
      // The stream has ended, and says so where it is read.
    }
    if (this.#draining === stream) this.#draining = 0;
  }

  #next(): Buffer | undefined {
    const next = this.#waiting.shift();
    if (next !== undefined) this.#bytes -= next.length;
    return next;
  }
}

interface Link {
  readonly member: MemberRow;
  readonly outbox: Outbox;
  /** Only where this side opens the stream. */
  readonly peer: Peer | undefined;
  failures: number;
  told: boolean;
  /** There was a stream before. */
  known: boolean;
  timer: Timer | undefined;
  /** Whether the stream that there is was opened by both. */
  up: boolean;
  /** Ends the stream that there is. */
  end: (() => void) | undefined;
}

/**
 * One stream to each other member, which carries what replicas say to each other about limits: of two members the one whose epoch is
 * lower opens it, on the gRPC port, as calls are passed on. Messages may be lost; they come at most once and in order within a stream.
 *
 * States of a link: without a stream (what is sent is lost) → open → without, for a time that grows while none can be had; gone, when
 * its member is.
 */
export class LimitsLinks implements LinkAcceptor {
  readonly #options: LimitsLinksOptions;
  readonly #links = new Map<string, Link>();
  #closed = false;

  constructor(options: LimitsLinksOptions) {
    this.#options = options;
  }

  /** Those that are there now, this one maybe among them. */
  members(members: readonly MemberRow[]): void {
    const { epoch } = this.#options;
    const there = new Map(members.filter((each) => each.epoch !== epoch).map((each) => [each.epoch, each]));
    for (const name of this.#links.keys()) if (!there.has(name)) this.#gone(name);
    if (this.#closed) return;
    for (const [name, member] of there) if (!this.#links.has(name)) this.#comes(member);
  }

  /** False where the message is lost for certain. */
  send(to: string, message: Buffer): boolean {
    return this.#links.get(to)?.outbox.push(message) ?? false;
  }

  /** How many other members there is a stream with, and how many there is none with now. */
  get counts(): { readonly up: number; readonly down: number } {
    const all = [...this.#links.values()];
    const up = all.filter((link) => link.up).length;
    return { up, down: all.length - up };
  }

  async accept(stream: LinkStream): Promise<void> {
    const { epoch } = this.#options;
    const link = stream.from === undefined ? undefined : this.#links.get(stream.from);
    if (link === undefined || this.#closed) {
      throw new HostError('NOT_A_REPLICA', 'the stream does not come from a replica that is known here', {
        retryAfterMs: RECONNECT.initialMs,
      });
    }
    const { epoch: from } = link.member;
    if (stream.to !== epoch) throw new HostError('NOT_A_REPLICA', 'the stream is for a replica that was here before');
    if (from > epoch)
      throw new HostError('NOT_A_REPLICA', 'of two replicas the one whose epoch is lower opens the stream');
    // One that comes anew has lost the one before.
    link.end?.();
    const over = new AbortController();
    const signal = AbortSignal.any([stream.signal, over.signal]);
    const leave = link.outbox.to((message) => stream.write(message));
    const end = () => {
      over.abort();
      leave();
    };
    link.end = end;
    // Else it would not know before it is told something.
    stream.open();
    this.#opened(link);
    try {
      await untilAborted(signal, this.#read(from, stream.messages));
    } finally {
      end();
      if (link.end === end) Object.assign(link, { end: undefined, up: false });
    }
  }

  close(): void {
    this.#closed = true;
    for (const name of [...this.#links.keys()]) this.#gone(name);
  }

  #comes(member: MemberRow): void {
    const { epoch, clock, tls } = this.#options;
    const { address } = member;
    const opens = epoch < member.epoch && address !== undefined;
    const sizes = { maxReceiveBytes: MAX_MESSAGE_BYTES, maxSendBytes: MAX_MESSAGE_BYTES };
    const peer = opens ? new Peer(member.epoch, address, { clock, ...sizes, tls }) : undefined;
    const rest = { failures: 0, told: false, known: false, timer: undefined, up: false, end: undefined };
    const link: Link = { member, outbox: new Outbox(), peer, ...rest };
    this.#links.set(member.epoch, link);
    if (peer !== undefined) this.#open(link, peer);
  }

  #gone(name: string): void {
    const link = this.#links.get(name);
    this.#links.delete(name);
    link?.timer?.cancel();
    link?.end?.();
    link?.peer?.close();
  }

  #open(link: Link, peer: Peer): void {
    const metadata = new Metadata();
    metadata.set(HOP, this.#options.epoch);
    metadata.set(LINK_TO, link.member.epoch);
    const stream = peer.client().makeBidiStreamRequest(REPLICA_LINK_PATH, same, same, metadata, {});
    const leave = link.outbox.to(
      (message) =>
        new Promise((resolve) => {
          if (stream.destroyed) resolve(false);
          else stream.write(message, () => resolve(true));
        }),
    );
    let over = false;
    const end = (why: HostError) => {
      if (over) return;
      over = true;
      leave();
      stream.cancel();
      Object.assign(link, { end: undefined, up: false });
      this.#again(link, peer, why);
    };
    link.end = () => end(new HostError('OWNER_AWAY', 'the stream was closed'));
    stream.once('metadata', () => this.#opened(link));
    stream.on('data', (message: Buffer) => {
      if (over) return;
      try {
        this.#options.receive(link.member.epoch, message);
      } catch (error) {
        end(malformed(error));
      }
    });
    stream.on('error', (error: ServiceError) => end(new HostError('OWNER_AWAY', error.details ?? messageOf(error))));
    stream.on('end', () => end(new HostError('OWNER_AWAY', 'the other replica ended the stream')));
  }

  #again(link: Link, peer: Peer, why: HostError): void {
    const { clock, random, events } = this.#options;
    if (this.#links.get(link.member.epoch) !== link) return;
    link.failures += 1;
    if (!link.told && (link.known || link.failures >= EARLY_FAILURES)) {
      link.told = true;
      events?.broke?.(link.member.epoch, why);
    }
    link.timer = clock.setTimer(backoffMs(link.failures, RECONNECT, random), () => this.#open(link, peer));
  }

  #opened(link: Link): void {
    link.failures = 0;
    link.told = false;
    link.known = true;
    link.up = true;
    this.#options.events?.opened?.(link.member.epoch);
  }

  async #read(from: string, messages: AsyncIterable<Buffer>): Promise<void> {
    for await (const message of messages) {
      try {
        this.#options.receive(from, message);
      } catch (error) {
        throw malformed(error);
      }
    }
  }
}

function malformed(error: unknown): HostError {
  return new HostError('REQUEST_UNDECODABLE', `a message of a replica makes no sense: ${messageOf(error)}`);
}

/** Resolves with what is read, or once the signal is aborted. */
function untilAborted(signal: AbortSignal, read: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    read.then(resolve, reject);
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
