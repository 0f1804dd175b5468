import type { Duplex } from 'node:stream';
import { Channel } from '../channel/channel.js';
import { ChannelError } from '../channel/channel-error.js';
import { CHILD_BOUNDS } from '../channel/frame-bounds.js';
import { type ChildMessage, type HostMessage, type LoadFailure, MAX_SECRET_BYTES } from '../channel/messages.js';
import type { DataOptions } from '../data/options.js';
import { HostError, isErrorCode, messageOf } from '../errors/index.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { PassingMap } from '../lib/passing.js';
import { broughtUpShort } from '../lib/shortage.js';
import { cutText } from '../lib/text.js';
import { MAX_TEXT } from '../model/answer-bounds.js';
import { withoutRepeats } from '../model/batch-answer.js';
import type { PluginFailure, PluginMethods } from '../model/plugin-call.js';
import { pluginFailure } from '../model/plugin-failure.js';
import type { DataKit } from './data-kit.js';
import { placeOfFault } from './fault-place.js';
import { grantOver, LeasedCall, notBegun, ToldLease } from './lease.js';
import { bounded } from './plain-fields.js';
import { Redactor } from './redactor.js';
import { PluginRuntime } from './runtime.js';
import type { TelemetrySink } from './telemetry.js';

export interface SandboxOptions {
  readonly maxInBytes: number;
  readonly maxOutBytes: number;
  readonly highWaterBytes: number;
  /** Names of variables that the operator calls plain; a trailing `*` takes a prefix. */
  readonly plain: readonly string[];
  readonly makeKit: (data: DataOptions) => DataKit;
  /** The environment that plugins see; declared variables are put here. */
  readonly env: Record<string, string | undefined>;
  /** Milliseconds of the clock that leases are on. */
  readonly bootMs: () => number;
  /** The channel is gone: nobody wants this process any more. */
  readonly onGone: () => void;
}

/** Gives a running call up, once: its signal is aborted with the reason. */
type GiveUp = (why: DOMException) => void;

type ImportMessage = Extract<HostMessage, { t: 'import' }>;
type LoadMessage = Extract<HostMessage, { t: 'load' }>;
type CallMessage = Extract<HostMessage, { t: 'call' }>;

const FLUSH_MS = 1_000;

/**
 * The plugin process's end of the channel: runs what the daemon asks for, for one plugin or a group.
 *
 * States of a plugin here: imported, loaded (runtime.ts has them), or gone again where either failed. Of a call: running, until its
 * plugin's code ends; one whose signal was aborted meanwhile is abandoned: nobody waits for it, and its answer is not sent.
 * The sandbox itself lives as long as the channel.
 */
export class Sandbox {
  readonly #options: SandboxOptions;
  readonly #channel: Channel;
  readonly #runtimes = new Map<number, PluginRuntime>();
  readonly #calls = new PassingMap<number, GiveUp>();
  readonly #lease: ToldLease;
  /** Calls whose deadline has passed or that were cancelled, and whose plugin code still runs. */
  #abandoned = 0;
  /** Secrets that were told and are not known to be masked yet, by their number. */
  readonly #untold = new Map<number, Deferred<void>>();
  #secrets = 0;
  readonly redactor = new Redactor((value) => this.#tellSecret(value));

  constructor(stream: Duplex, options: SandboxOptions) {
    this.#options = options;
    this.#lease = new ToldLease(options.bootMs);
    // The operator's variables are here before anything is imported.
    this.redactor.addEnvironment(options.env, options.plain);
    this.#channel = new Channel(stream, {
      maxInBytes: options.maxInBytes,
      maxOutBytes: options.maxOutBytes,
      highWaterBytes: options.highWaterBytes,
      outBounds: CHILD_BOUNDS,
      onMessage: (message) => this.#receive(message as HostMessage),
      onClose: () => options.onGone(),
    });
    setInterval(() => {
      for (const runtime of this.#runtimes.values()) runtime.flush();
    }, FLUSH_MS).unref();
    this.#send({ t: 'ready' });
  }

  #send(message: ChildMessage): void {
    if (!this.#channel.closed) this.#channel.send(message);
  }

  #receive(message: HostMessage): void {
    switch (message.t) {
      case 'import':
        void this.#import(message);
        return;
      case 'load':
        void this.#load(message);
        return;
      case 'call':
        void this.#call(message);
        return;
      case 'cancel':
        this.#calls.get(message.id)?.(new DOMException('the call was cancelled', 'AbortError'));
        return;
      case 'lease':
        this.#lease.told(message.until);
        return;
      case 'masked':
        this.#untold.get(message.n)?.resolve();
        this.#untold.delete(message.n);
        return;
      case 'ping':
        this.#send({ t: 'pong', rss: process.memoryUsage.rss(), abandoned: this.#abandoned });
        return;
      case 'close':
        void this.#close();
        return;
      default:
        message satisfies never;
    }
  }

  async #import({ p, url, label }: ImportMessage): Promise<void> {
    const runtime = new PluginRuntime(this.#sink(p), this.redactor);
    this.#runtimes.set(p, runtime);
    let exported: unknown;
    try {
      exported = await importDefault(url);
    } catch (thrown) {
      runtime.logThrown('importing the plugin threw', thrown);
      const place = await placeOfFault(thrown, url);
      const said = this.redactor.redactStart(messageOf(thrown));
      const text = place === undefined ? said : `${cutText(said, 2_048)} (${this.redactor.redact(place)})`;
      const message = bounded(text, 4_096);
      const code = broughtUpShort(thrown) ? 'PLUGIN_START_STARVED' : 'PLUGIN_IMPORT_FAILED';
      this.#fail(p, { code, message: `${label}: importing it threw: ${message}` });
      return;
    }
    try {
      this.#send({ t: 'imported', p, facts: runtime.define(exported, label) });
    } catch (thrown) {
      this.#fail(p, loadFailure(thrown, 'PLUGIN_SHAPE_INVALID', label, this.redactor));
    }
  }

  async #load(message: LoadMessage): Promise<void> {
    const { p, pluginId, environment, settings, config, timeoutMs } = message;
    const runtime = this.#runtimes.get(p);
    Object.assign(this.#options.env, environment);
    this.redactor.addEnvironment(environment, this.#options.plain);
    this.redactor.addSettings(message.data.dataStore);
    try {
      if (runtime === undefined) throw new HostError('INTERNAL', `load of plugin ${p}, which was not imported`);
      const kit = this.#options.makeKit(message.data);
      const signal = AbortSignal.timeout(Math.ceil(timeoutMs));
      const { logLinesPerSecond } = message;
      this.#send({
        t: 'loaded',
        p,
        facts: await runtime.load({ pluginId, settings, config, kit, signal, logLinesPerSecond }),
      });
    } catch (thrown) {
      this.#fail(p, loadFailure(thrown, 'PLUGIN_LOAD_FAILED', pluginId, this.redactor));
    }
  }

  /** In pieces that have their place in a message; a cut within a character costs the mask of that one. */
  async #tellSecret(value: string): Promise<void> {
    const bytes = Buffer.from(value, 'utf8');
    const told: Promise<void>[] = [];
    for (let at = 0; at < bytes.length && !this.#channel.closed; at += MAX_SECRET_BYTES) {
      const n = ++this.#secrets;
      const masked = createDeferred<void>();
      this.#untold.set(n, masked);
      told.push(masked.promise);
      this.#send({ t: 'secret', n, value: bytes.subarray(at, at + MAX_SECRET_BYTES) });
    }
    await Promise.all(told);
  }

  #fail(p: number, failure: LoadFailure): void {
    this.#runtimes.delete(p);
    this.#send({ t: 'failed', p, failure });
  }

  async #call({ p, id, m, a, left, at, until, by }: CallMessage): Promise<void> {
    const runtime = this.#runtimes.get(p);
    if (runtime === undefined) return;
    if (until !== undefined) {
      this.#lease.told(until);
      if (this.#lease.over) {
        this.#send({ t: 'error', id, f: notBegun() });
        return;
      }
      if (by !== undefined && this.#lease.isPast(by)) {
        this.#send({ t: 'error', id, f: grantOver() });
        return;
      }
    }
    const controller = new AbortController();
    const { signal } = controller;
    const leased = until === undefined ? undefined : new LeasedCall(this.#lease, controller);
    let abandoned = false;
    const giveUp: GiveUp = (why) => {
      if (!abandoned) this.#abandoned++;
      abandoned = true;
      controller.abort(why);
    };
    const timeout = () => giveUp(new DOMException('the deadline of the call has passed', 'TimeoutError'));
    const timer = setTimeout(timeout, Math.max(0, left));
    this.#calls.set(id, giveUp);
    const seen = await runtime.call(m, a as never, { signal, deadlineMs: Date.now() + left, sentAtMs: at });
    const outcome = leased?.outcome(seen) ?? seen;
    clearTimeout(timer);
    this.#calls.delete(id);
    if (abandoned) {
      // The daemon has settled this call by itself.
      this.#abandoned--;
      return;
    }
    if (outcome.ok) this.#answer(id, m, outcome.value);
    else this.#send({ t: 'error', id, f: outcome.failure });
  }

  /** An answer that cannot be sent is the plugin's fault and costs this call only; of a batch, what fits is answered. */
  #answer(id: number, method: string, value: unknown): void {
    try {
      this.#send({ t: 'answer', id, v: method === 'getMany' ? withoutRepeats(value as BatchAnswer) : value });
    } catch (error) {
      const f = unsendable(method, error);
      const shorter = method === 'getMany' && tooLarge(error) ? shortened(value as BatchAnswer, f) : undefined;
      if (shorter === undefined) this.#send({ t: 'error', id, f });
      else this.#answer(id, method, shorter);
    }
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#runtimes.values()].map((runtime) => runtime.close()));
    this.#send({ t: 'closed' });
  }

  /** A line that is too large goes without its fields, and cut where that is not enough. */
  #log(line: LogMessage): void {
    const bare = { ...line, fields: { leftOut: 'the fields of this line are too large' } };
    for (const form of [line, bare, { ...bare, msg: cutText(line.msg, 2_048) }]) {
      try {
        this.#send(form);
        return;
      } catch (error) {
        if (!tooLarge(error)) throw error;
      }
    }
  }

  /** Lines are dropped while the daemon does not keep up; answers are not. */
  #sink(p: number): TelemetrySink {
    return {
      log: (level, msg, fields) => {
        if (this.#channel.writable) this.#log({ t: 'log', p, level, msg, fields });
      },
      metric: (kind, name, values) => {
        if (this.#channel.writable) this.#send({ t: 'metric', p, kind, name, values });
      },
    };
  }
}

type LogMessage = Extract<ChildMessage, { t: 'log' }>;

type BatchAnswer = PluginMethods['getMany']['answer'];

function unsendable(method: string, error: unknown): PluginFailure {
  const message = `${method}(): the answer cannot be sent: ${messageOf(error)}`;
  return pluginFailure('invalid', 'PLUGIN_ANSWER_INVALID', message);
}

function tooLarge(error: unknown): boolean {
  return error instanceof ChannelError && error.code === 'TOO_LARGE';
}

/**
 * The batch with half as many states in it; the others are read in their turn, which costs them nothing. The last one that
 * is too large by itself has failed. Undefined when no state is left to leave out.
 */
function shortened(outcomes: BatchAnswer, tooLargeAlone: PluginFailure): BatchAnswer | undefined {
  const states = outcomes.filter((outcome) => outcome.ok).length;
  let room = Math.floor(states / 2);
  if (states === 0) return undefined;
  const failure = states === 1 ? tooLargeAlone : NO_ROOM;
  return outcomes.map((outcome) => (outcome.ok && room-- <= 0 ? { ok: false, failure } : outcome));
}

const NO_ROOM = pluginFailure(
  'cancelled',
  'CALL_CANCELLED',
  'the answer of its batch had no room for it; it is read in its turn',
);

/** The default export; that of a CommonJS file compiled from ES module syntax lies one level deeper. */
async function importDefault(url: string): Promise<unknown> {
  const namespace = (await import(url)) as { readonly default?: unknown };
  const exported = namespace.default;
  if (typeof exported === 'object' && exported !== null && '__esModule' in exported && 'default' in exported) {
    return exported.default;
  }
  return exported;
}

function loadFailure(thrown: unknown, otherwise: LoadFailure['code'], label: string, redactor: Redactor): LoadFailure {
  const message = bounded(redactor.redactStart(messageOf(thrown)), MAX_TEXT);
  if (HostError.is(thrown) && isErrorCode(thrown.code)) return { code: thrown.code, message };
  return { code: otherwise, message: `${label}: ${message}` };
}
