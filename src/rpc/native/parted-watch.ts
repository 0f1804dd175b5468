import { status } from '@grpc/grpc-js';
import { HostError } from '../../errors/index.js';
import { lenField } from '../../idl/wire.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import { type Elsewhere, EndedElsewhere, HERE, isOwnerAway } from '../../model/forwarding.js';
import { partitionOfHandle, partOf } from '../../model/handle.js';
import type { WatchFilter } from '../../model/watch.js';
import { GONE_POSITION, LOST_POSITION, partedToken, positionsOf } from '../../model/watch-token.js';
import { callOf } from '../forwarding.js';
import type { RpcStream } from '../stream.js';
import { filterOf, pumpWatch, serveWatch, type WatchMessages, type WatchOptions } from './watch.js';
import { sourceHere, sourceThere, type Told, type WatchSource } from './watch-sources.js';

const RESUME_TOKEN = 1;
/** How long the first message waits for the positions of other replicas. Milliseconds. */
const FIRST_MS = 1_000;
/** Between two tries to read a part. Milliseconds. */
const AGAIN_MS = 100;
const MAX_AGAIN_MS = 2_000;

/** After which a source may be opened again; anything else would be the same of any of them. */
const PASSING: ReadonlySet<number> = new Set([
  status.CANCELLED,
  status.UNKNOWN,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
  status.INTERNAL,
  status.UNAVAILABLE,
]);

/** A part that is watched. */
interface Side {
  readonly part: number;
  /** After what was told of it; empty before anything was. */
  position: string;
  /** Where its changes come from. */
  feed: Feed | undefined;
  failures: number;
  /** By the monotonic clock. */
  restsUntilMs: number;
}

interface Feed {
  readonly source: WatchSource;
  readonly sides: Set<Side>;
  /** It was asked for its next, which is not handed on yet. */
  asked: boolean;
  /** It has said something. */
  heard: boolean;
  /** Came, and is not handed on yet. */
  told: Told | undefined;
}

export interface PartedWatchParts {
  readonly options: WatchOptions;
  readonly filter: WatchFilter;
  readonly stream: RpcStream;
  readonly elsewhere: Elsewhere;
  readonly path: string;
}

/**
 * A Watch where tasks are divided among replicas. The one that is called reads what it has, asks each other owner by one stream for what that
 * one has, and tells all of it as it comes. A part that moves is read on at its next owner, which tells it as it stands; what its last one may still say
 * counts for nothing. While a part has no owner, nothing comes of it. Tokens hold a position for each part.
 *
 * An owner that is asked by another replica reads the parts that it is asked for, as far as it has them, and says of each that it gives up
 * that it is gone; tokens then hold only what changed.
 *
 * Of each source one event is held at a time, so that a slow caller costs as many, and a position counts once its event was handed on.
 *
 * States: beginning, until all that could be asked has said where it stands → telling → ended, by `close`, by what any owner would refuse, and for another
 * replica once all that it asked for is gone.
 */
class PartedWatch implements WatchMessages {
  readonly #given: PartedWatchParts;
  /** It is another replica that asks. */
  readonly #relayed: boolean;
  readonly #sides = new Map<number, Side>();
  readonly #feeds = new Set<Feed>();
  readonly #unlisten: () => void;
  /** Parts to be told of as gone. */
  #gone: number[] = [];
  #begun = false;
  #closed = false;
  #failed: { readonly error: unknown } | undefined;
  #waiting: Deferred<void> | undefined;
  #retry: NodeJS.Timeout | undefined;

  constructor(given: PartedWatchParts) {
    this.#given = given;
    const { filter, stream, elsewhere } = given;
    this.#relayed = stream.call.relayed;
    const { handles, resumeToken } = filter;
    const positions = resumeToken === '' && !this.#relayed ? undefined : positionsOf(resumeToken, elsewhere.parts);
    const asked = this.#relayed ? positions?.keys() : wantedParts(handles, elsewhere.parts);
    for (const part of asked ?? []) {
      const position = positions === undefined ? '' : (positions.get(part) ?? LOST_POSITION);
      this.#sides.set(part, { part, position, feed: undefined, failures: 0, restsUntilMs: 0 });
    }
    this.#unlisten = elsewhere.onChange(() => this.#changed());
  }

  /** Resolves once all that could be asked has said where it stands, or does not in time. */
  async begin(): Promise<void> {
    const late = setTimeout(() => this.#wake(), FIRST_MS);
    const untilMs = performance.now() + FIRST_MS;
    this.#turn();
    while (this.#failed === undefined && !this.#closed && performance.now() < untilMs && this.#awaitsFirst()) {
      await this.#wait();
      this.#turn();
    }
    clearTimeout(late);
  }

  async next(): Promise<{ readonly message: Buffer; readonly last: boolean } | undefined> {
    for (;;) {
      if (this.#failed !== undefined) throw this.#failed.error;
      if (this.#closed) return undefined;
      this.#turn();
      if (this.#failed !== undefined) continue;
      const message = this.#handOn();
      if (message !== undefined) return { message, last: false };
      if (this.#sides.size === 0) return undefined;
      await this.#wait();
    }
  }

  bookmark(draining: boolean): Buffer {
    for (const { source, sides, told } of this.#feeds) {
      // One that has nothing to tell may have passed over what was not wanted.
      const standing = told === undefined ? source.standing() : undefined;
      if (standing !== undefined) for (const side of sides) side.position = standing;
    }
    return this.#bookmark(this.#positions(), draining);
  }

  close(): void {
    this.#closed = true;
    this.#unlisten();
    clearTimeout(this.#retry);
    for (const { source } of this.#feeds) source.close();
    this.#feeds.clear();
    this.#wake();
  }

  /** Opens what has no source, and asks all for their next. */
  #turn(): void {
    this.#open();
    for (const feed of this.#feeds) this.#ask(feed);
  }

  #awaitsFirst(): boolean {
    for (const { source, heard } of this.#feeds) if (source.owner !== HERE && !heard) return true;
    return false;
  }

  async #wait(): Promise<void> {
    this.#waiting = createDeferred<void>();
    await this.#waiting.promise;
  }

  #wake(): void {
    this.#waiting?.resolve();
  }

  *#positions(): Generator<readonly [number, string]> {
    for (const { part, position } of this.#sides.values()) {
      // Nothing is known of it yet: what happens until somebody comes back with this was missed.
      yield [part, position === '' ? LOST_POSITION : position];
    }
  }

  #bookmark(positions: Iterable<readonly [number, string]>, draining: boolean): Buffer {
    return this.#given.options.response.encode({ resumeToken: partedToken(positions), bookmark: { draining } });
  }

  #open(): void {
    const { elsewhere } = this.#given;
    const nowMs = performance.now();
    const there = new Map<string, Side[]>();
    let againMs = Number.POSITIVE_INFINITY;
    for (const side of this.#sides.values()) {
      if (side.feed !== undefined) continue;
      const owner = elsewhere.ownerOf(side.part);
      if (owner !== HERE && this.#relayed) this.#lose(side);
      else if (side.restsUntilMs > nowMs) againMs = Math.min(againMs, side.restsUntilMs - nowMs);
      else if (owner === HERE) this.#openHere(side);
      else if (owner !== undefined) there.set(owner, [...(there.get(owner) ?? []), side]);
    }
    for (const [owner, sides] of there) this.#openThere(owner, sides);
    if (!this.#begun) this.#loseUnseen();
    this.#begun = true;
    clearTimeout(this.#retry);
    if (Number.isFinite(againMs)) this.#retry = setTimeout(() => this.#wake(), againMs);
  }

  /** Whoever comes later to a part that nobody had at the beginning has missed what was between. */
  #loseUnseen(): void {
    for (const side of this.#sides.values())
      if (side.feed === undefined && side.position === '') side.position = LOST_POSITION;
  }

  /** After the beginning a part is told as it stands wherever its position means nothing. */
  get #includeCurrent(): boolean {
    return this.#given.filter.includeCurrent || (this.#begun && !this.#relayed);
  }

  #filter(sides: readonly Side[]): WatchFilter {
    const { filter, elsewhere } = this.#given;
    const parts = new Set(sides.map(({ part }) => part));
    const handles = filter.handles.filter((handle) => parts.has(partOf(partitionOfHandle(handle), elsewhere.parts)));
    return { ...filter, handles, includeCurrent: this.#includeCurrent };
  }

  #openHere(side: Side): void {
    const { options, stream } = this.#given;
    try {
      const filter = { ...this.#filter([side]), resumeToken: side.position };
      const reader = options.tasks.watchPart?.(side.part, filter);
      if (reader === undefined) throw new HostError('OWNER_AWAY', 'parts are not read here');
      this.#feed(sourceHere(options, side.part, reader, stream), [side]);
    } catch (error) {
      if (!isOwnerAway(error)) this.#failed = { error };
      else this.#lose(side);
    }
  }

  #openThere(owner: string, sides: readonly Side[]): void {
    const { options, stream, elsewhere, path } = this.#given;
    const resumeToken = partedToken(sides.map(({ part, position }) => [part, position]));
    const request = options.request.encode({ ...this.#filter(sides), resumeToken });
    const part = (sides[0] as Side).part;
    this.#feed(sourceThere(options, { owner, part, elsewhere, call: callOf(path, stream.call), request }), sides);
  }

  #feed(source: WatchSource, sides: readonly Side[]): void {
    const feed: Feed = { source, sides: new Set(sides), asked: false, heard: false, told: undefined };
    for (const side of sides) side.feed = feed;
    this.#feeds.add(feed);
  }

  #ask(feed: Feed): void {
    if (feed.asked) return;
    feed.asked = true;
    feed.source.next().then(
      (told) => {
        if (!this.#feeds.has(feed)) return;
        feed.heard = true;
        if (told === undefined) this.#end(feed);
        else if (told.event === undefined) this.#stand(feed, told);
        else feed.told = told;
        this.#wake();
      },
      (error: unknown) => {
        if (!this.#feeds.has(feed)) return;
        feed.heard = true;
        if (mayReopen(error)) this.#end(feed);
        else this.#failed = { error };
        this.#wake();
      },
    );
  }

  /** A bookmark of a source; nothing of it waits to be handed on. */
  #stand(feed: Feed, { positions }: Told): void {
    feed.asked = false;
    for (const [part, position] of positions) {
      const side = this.#sideOf(feed, part);
      if (side === undefined) continue;
      if (position === GONE_POSITION) this.#lose(side);
      else this.#reach(side, position);
    }
  }

  /** What a source says of a part that it is not read for any more counts for nothing. */
  #sideOf(feed: Feed, part: number): Side | undefined {
    const side = this.#sides.get(part);
    return side?.feed === feed ? side : undefined;
  }

  #reach(side: Side, position: string): void {
    side.position = position;
    side.failures = 0;
  }

  #handOn(): Buffer | undefined {
    if (this.#gone.length > 0) {
      const gone = this.#gone.map((part) => [part, GONE_POSITION] as const);
      this.#gone = [];
      return this.#bookmark(gone, false);
    }
    for (const feed of this.#feeds) {
      const { told } = feed;
      if (told === undefined) continue;
      feed.told = undefined;
      feed.asked = false;
      const [first] = told.positions;
      const side = first && this.#sideOf(feed, first[0]);
      if (first === undefined || side === undefined) {
        this.#ask(feed);
        continue;
      }
      this.#reach(side, first[1]);
      // Whoever has told something comes last the next time, so that a busy one keeps no other from being told.
      this.#feeds.delete(feed);
      this.#feeds.add(feed);
      const token = partedToken(this.#relayed ? [first] : this.#positions());
      return Buffer.concat([lenField(RESUME_TOKEN, token), told.event as Buffer]);
    }
    return undefined;
  }

  #end(feed: Feed): void {
    for (const side of [...feed.sides]) this.#lose(side);
  }

  /** Nothing comes of a part from where it was read; it is looked for anew, or told as gone. */
  #lose(side: Side): void {
    this.#detach(side);
    if (this.#relayed) {
      this.#sides.delete(side.part);
      this.#gone.push(side.part);
      return;
    }
    side.restsUntilMs = performance.now() + Math.min(MAX_AGAIN_MS, AGAIN_MS * 2 ** side.failures);
    side.failures += 1;
  }

  #detach(side: Side): void {
    const { feed } = side;
    if (side.position === '') side.position = LOST_POSITION;
    if (feed === undefined) return;
    side.feed = undefined;
    feed.sides.delete(side);
    if (feed.sides.size > 0) return;
    this.#feeds.delete(feed);
    feed.source.close();
  }

  #changed(): void {
    const { elsewhere } = this.#given;
    for (const side of this.#sides.values()) {
      if (side.feed === undefined) {
        side.restsUntilMs = 0;
      } else if (elsewhere.ownerOf(side.part) !== side.feed.source.owner) {
        this.#lose(side);
        side.restsUntilMs = 0;
      }
    }
    this.#wake();
  }
}

function wantedParts(handles: readonly Buffer[], parts: number): Iterable<number> {
  if (handles.length === 0) return Array.from({ length: parts }, (_, part) => part);
  return new Set(handles.map((handle) => partOf(partitionOfHandle(handle), parts)));
}

function mayReopen(error: unknown): boolean {
  return isOwnerAway(error) || (error instanceof EndedElsewhere && PASSING.has(error.status));
}

/** A Watch stream over the parts of all replicas, or, for another replica, over those parts of this one that it asks for. */
export async function servePartedWatch(
  options: WatchOptions,
  request: Buffer,
  stream: RpcStream,
  elsewhere: Elsewhere,
  path: string,
): Promise<void> {
  if (options.tasks.watchPart === undefined) return serveWatch(options, request, stream);
  const watch = new PartedWatch({ options, filter: filterOf(options, request), stream, elsewhere, path });
  const close = () => watch.close();
  stream.call.signal.addEventListener('abort', close);
  try {
    await watch.begin();
    await pumpWatch(options, stream, watch);
  } finally {
    stream.call.signal.removeEventListener('abort', close);
    watch.close();
  }
}
