import { takeMessages } from '../../idl/wire.js';
import type { PassedCall } from '../../model/forwarding.js';
import { type Elsewhere, HERE } from '../../model/forwarding.js';
import type { WatchReader } from '../../model/watch.js';
import { positionsOf } from '../../model/watch-token.js';
import type { RpcStream } from '../stream.js';
import { encodeOrSkip, type WatchOptions } from './watch.js';

/** What comes of a source: the positions after it, and what is to be told, as a WatchResponse without its token; nothing in a bookmark. */
export interface Told {
  readonly positions: ReadonlyMap<number, string>;
  readonly event: Buffer | undefined;
}

/** Where changes of some parts come from. */
export interface WatchSource {
  /** The epoch of who has those parts; `HERE` for this replica. */
  readonly owner: string;
  /** One after the other; undefined at the end. Throws what ends it otherwise. */
  next(): Promise<Told | undefined>;
  /** The position after what was told and passed over, where that is known between two events. */
  standing(): string | undefined;
  close(): void;
}

const RESUME_TOKEN = 1;
/** The first byte of a bookmark that stands alone. */
const BOOKMARK_TAG = 0x22;

/** One part that this replica has. It ends with the part's draining: that the part moves is nobody's business who watches. */
export function sourceHere(
  options: WatchOptions,
  part: number,
  reader: WatchReader,
  stream: Pick<RpcStream, 'fault'>,
): WatchSource {
  return {
    owner: HERE,
    async next() {
      const event = await reader.next();
      if (event === undefined || event.kind === 'bookmark') return undefined;
      const { resumeToken } = event;
      return {
        positions: new Map([[part, resumeToken]]),
        event: encodeOrSkip(options, { ...event, resumeToken: '' }, stream),
      };
    },
    standing: () => reader.bookmark().resumeToken,
    close: () => reader.close(),
  };
}

export interface SourceThere {
  readonly owner: string;
  /** One of those that the owner is asked for: the way is that part's. */
  readonly part: number;
  readonly elsewhere: Elsewhere;
  readonly call: PassedCall;
  readonly request: Buffer;
}

/** Some parts that another replica has, by a stream of its own to that one. */
export function sourceThere(options: WatchOptions, there: SourceThere): WatchSource {
  const { owner, part, elsewhere, call, request } = there;
  const left = new AbortController();
  const answers = answersOf(elsewhere, part, { ...call, signal: AbortSignal.any([call.signal, left.signal]) }, request);
  return {
    owner,
    async next() {
      const answer = await answers.next();
      return answer.done === true ? undefined : readAnswer(options, answer.value, elsewhere.parts);
    },
    standing: () => undefined,
    close() {
      left.abort();
      answers.return().catch(() => {});
    },
  };
}

/** Ends at once where the part is this replica's by now. */
async function* answersOf(
  elsewhere: Elsewhere,
  part: number,
  call: PassedCall,
  request: Buffer,
): AsyncGenerator<Buffer, void, undefined> {
  const requests = (async function* () {
    yield request;
  })();
  yield* (await elsewhere.stream(part, call, requests)) ?? [];
}

function readAnswer(options: WatchOptions, answer: Buffer, parts: number): Told | undefined {
  const { values, rest } = takeMessages(answer, [RESUME_TOKEN]);
  const positions = positionsOf(values[0]?.toString('latin1') ?? '', parts);
  if (rest[0] !== BOOKMARK_TAG) return { positions, event: rest };
  const { bookmark } = options.response.decode(answer);
  return bookmark?.draining === true ? undefined : { positions, event: undefined };
}
