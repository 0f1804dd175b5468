import { ChannelError } from '../../channel/channel-error.js';
import type { ChildMessage, HostMessage } from '../../channel/messages.js';
import type { Clock } from '../../lib/clock.js';

export interface FrameLedgerOptions {
  readonly clock: Clock;
  /** What an honest process sends at most in a second; more than that for long ends it. */
  readonly linesPerSecond: number;
  readonly measurementsPerSecond: number;
}

/** An honest process may be behind, and so may we: what came up in this time may come at once. */
const BACKLOG_S = 100;
/** Above what an honest process sends, since its second is not ours. */
const SLACK = 5;

type Asked = 'ready' | 'steps' | 'calls' | 'pings' | 'closes';

/**
 * What a process has been asked for, and what it sent of its own accord. An honest one answers each request once at most
 * and bounds its own lines and measurements, so that who sends more floods the channel on purpose.
 */
export class FrameLedger {
  readonly #asked: Record<Asked, number> = { ready: 1, steps: 0, calls: 0, pings: 0, closes: 0 };
  readonly #lines: Allowance;
  readonly #measurements: Allowance;
  #lastId = 0;

  constructor({ clock, linesPerSecond, measurementsPerSecond }: FrameLedgerOptions) {
    this.#lines = new Allowance(clock, linesPerSecond);
    this.#measurements = new Allowance(clock, measurementsPerSecond);
  }

  /** To be called with each message that leaves. */
  sent(message: HostMessage): void {
    const asks = ASKS[message.t];
    if (asks !== undefined) this.#asked[asks]++;
    if (message.t === 'call') this.#lastId = Math.max(this.#lastId, message.id);
  }

  /** Throws ChannelError GARBAGE for what nobody asked for, TOO_LARGE for a flood. */
  received(message: ChildMessage): void {
    if (message.t === 'log') {
      this.#lines.spend(1, 'log lines');
      return;
    }
    if (message.t === 'metric') {
      this.#measurements.spend(message.values.length + 1, 'measurements');
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
  ping: 'pings',
  close: 'closes',
};
const ANSWERS: { readonly [T in Exclude<ChildMessage['t'], 'log' | 'metric'>]: Asked } = {
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

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#perSecond = perSecond * SLACK;
    this.#most = perSecond * BACKLOG_S;
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
