import { ChannelError } from '../../channel/channel-error.js';
import { BYTES_A_VALUE } from '../../channel/frame-bounds.js';
import type { ChildMessage, HostMessage } from '../../channel/messages.js';
import type { Clock } from '../../lib/clock.js';

export interface FrameLedgerOptions {
  readonly clock: Clock;
  /** What an honest process sends at most in a second; more than that for long ends it. */
  readonly linesPerSecond: number;
  /** Of log lines, where a value counts for 16 bytes more: it costs the daemon as much. Default: no such bound. */
  readonly lineBytesPerSecond?: number;
  readonly measurementsPerSecond: number;
  /** The same of metrics. */
  readonly measurementBytesPerSecond?: number;
}

interface Bounds {
  /** Times what an honest process sends, since its second is not ours. */
  readonly slack: number;
  /** An honest process may be behind, and so may we: what came up in so many seconds may come at once. */
  readonly backlogS: number;
}

const NUMBERS: Bounds = { slack: 5, backlogS: 100 };
/** Bytes cost as they come, and a process that is behind holds no more than a pipe and a queue of them. */
const BYTES: Bounds = { slack: 1.25, backlogS: 10 };

type Asked = 'ready' | 'steps' | 'calls' | 'pings' | 'closes';

/**
 * What a process has been asked for, and what it sent of its own accord. An honest one answers each request once at most
 * and bounds its own lines and measurements, so that who sends more floods the channel on purpose.
 */
export class FrameLedger {
  readonly #asked: Record<Asked, number> = { ready: 1, steps: 0, calls: 0, pings: 0, closes: 0 };
  readonly #lines: Allowance;
  readonly #lineBytes: Allowance;
  readonly #measurements: Allowance;
  readonly #measurementBytes: Allowance;
  #lastId = 0;

  constructor(options: FrameLedgerOptions) {
    const { clock, linesPerSecond, lineBytesPerSecond = Number.POSITIVE_INFINITY } = options;
    const { measurementsPerSecond, measurementBytesPerSecond = Number.POSITIVE_INFINITY } = options;
    this.#lines = new Allowance(clock, linesPerSecond, NUMBERS);
    this.#lineBytes = new Allowance(clock, lineBytesPerSecond, BYTES);
    this.#measurements = new Allowance(clock, measurementsPerSecond, NUMBERS);
    this.#measurementBytes = new Allowance(clock, measurementBytesPerSecond, BYTES);
  }

  /** To be called with each message that leaves. */
  sent(message: HostMessage): void {
    const asks = ASKS[message.t];
    if (asks !== undefined) this.#asked[asks]++;
    if (message.t === 'call') this.#lastId = Math.max(this.#lastId, message.id);
  }

  /** `bytes` and `values` of its frame. Throws ChannelError GARBAGE for what nobody asked for, TOO_LARGE for a flood. */
  received(message: ChildMessage, bytes = 0, values = 0): void {
    const cost = bytes + values * BYTES_A_VALUE;
    if (message.t === 'log' || message.t === 'secret') {
      this.#lines.spend(1, 'log lines');
      this.#lineBytes.spend(cost, 'bytes of log lines');
      return;
    }
    if (message.t === 'metric') {
      this.#measurements.spend(message.values.length + 1, 'measurements');
      this.#measurementBytes.spend(cost, 'bytes of measurements');
      return;
    }
    const asked = ANSWERS[message.t];
    const unknownCall = asked === 'calls' && (message as { readonly id: number }).id > this.#lastId;
    if (this.#asked[asked] <= 0 || unknownCall) throw unasked(message.t);
    this.#asked[asked]--;
  }
}

/** What each message asks for, and what each answers. */
const ASKS: { readonly [T in HostMessage['t']]: Asked | undefined } = {
  import: 'steps',
  load: 'steps',
  call: 'calls',
  cancel: undefined,
  masked: undefined,
  lease: undefined,
  ping: 'pings',
  close: 'closes',
};
const ANSWERS: { readonly [T in Exclude<ChildMessage['t'], 'log' | 'metric' | 'secret'>]: Asked } = {
  ready: 'ready',
  imported: 'steps',
  loaded: 'steps',
  failed: 'steps',
  answer: 'calls',
  error: 'calls',
  pong: 'pings',
  closed: 'closes',
};

function unasked(kind: string): ChannelError {
  return new ChannelError('GARBAGE', `it sent a message "${kind}" that nobody asked for`);
}

/** So much a second on the average, and a backlog at once. */
class Allowance {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #most: number;
  #left: number;
  #at: number;

  constructor(clock: Clock, perSecond: number, { slack, backlogS }: Bounds) {
    this.#clock = clock;
    this.#perSecond = perSecond * slack;
    this.#most = perSecond * backlogS;
    this.#left = this.#most;
    this.#at = clock.now();
  }

  spend(amount: number, what: string): void {
    const now = this.#clock.now();
    this.#left = Math.min(this.#most, this.#left + ((now - this.#at) / 1000) * this.#perSecond) - amount;
    this.#at = now;
    if (this.#left < 0) throw new ChannelError('TOO_LARGE', `it sends more than ${this.#perSecond} ${what} a second`);
  }
}
