import { Channel } from '../../channel/channel.js';
import { ChannelError } from '../../channel/channel-error.js';
import { CHILD_BOUNDS } from '../../channel/frame-bounds.js';
import { LOG_BYTES_PER_SECOND, MEASUREMENT_BYTES } from '../../channel/measurements.js';
import {
  type ChildMessage,
  type DefinitionFacts,
  type HostMessage,
  type PluginFacts,
  parseChildMessage,
} from '../../channel/messages.js';
import { messageOf } from '../../errors/index.js';
import { type Clock, machineMs } from '../../lib/clock.js';
import { createDeferred } from '../../lib/deferred.js';
import { Rarely } from '../../lib/rarely.js';
import { SecretMasks } from '../../lib/secrets.js';
import type { PluginLogEvent, PluginMetricEvent } from '../../model/events/host.js';
import { maskedJson } from '../../model/masked.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../../model/plugin-call.js';
import type { LogLevel } from '../../model/plugin-facts.js';
import { failedCall } from '../../model/plugin-failure.js';
import { methodTraits } from '../../model/plugin-methods.js';
import type { SendingLease } from '../../model/sending-lease.js';
import type { ConnectionInfo } from '../../plugin-api/contexts.js';
import type { CallOptions, HostLimits } from '../types.js';
import { CallTable } from './call-table.js';
import { FrameLedger } from './frame-ledger.js';
import { HealthWatch } from './health-watch.js';
import { type Launched, type LaunchOptions, launch } from './launcher.js';
import { LineBudget } from './line-budget.js';
import { type LoadMessage, LoadSteps } from './load-steps.js';
import { OutputLines } from './output-lines.js';

export interface PluginProcessOptions {
  readonly launch: LaunchOptions;
  readonly limits: HostLimits;
  readonly clock: Clock;
  /** What lets the daemon call remotes; undefined where nothing takes it away. */
  readonly lease: SendingLease | undefined;
  /** The daemon's own secrets, which no plugin knows, or should not. */
  readonly masks: SecretMasks;
  /** Log lines a second that may come over the channel. The process bounds them itself; this is for one that does not. */
  readonly channelLinesPerSecond: number;
  /** Bytes of such lines; a process that sends more for long is ended. */
  readonly channelLineBytesPerSecond: number;
  /** Measurements a second that its plugins can make at most. */
  readonly measurementsPerSecond: number;
  /** A line of plugin number `p`; undefined where the process as a whole speaks. */
  readonly onLog: (p: number | undefined, event: Omit<PluginLogEvent, 'pluginId'>) => void;
  readonly onMetric: (p: number, event: Omit<PluginMetricEvent, 'pluginId'>) => void;
}

/** What the owners of a process need of it. */
export type RunningProcess = Pick<
  PluginProcess,
  | 'pid'
  | 'rssBytes'
  | 'over'
  | 'writable'
  | 'inFlight'
  | 'ended'
  | 'drained'
  | 'importModule'
  | 'load'
  | 'call'
  | 'stop'
>;

/** How long the last words of an ended process are awaited. */
const LAST_WORDS_MS = 1_000;
const HOUR_MS = 3_600_000;
/** What a process sends of its own accord. */
const UNASKED: ReadonlySet<ChildMessage['t']> = new Set(['log', 'metric', 'secret']);
/** It is read twice as fast as an honest process sends it, at most: one that floods waits, and is ended where it goes on. */
const UNASKED_SLACK = 2;
/** A flood of lines is one above this in any case, however few are let through. */
const MIN_LINES = 500;

/**
 * One run of one plugin process (or worker thread), from its start to its end.
 *
 * States: running → ended, once. While running it takes imports, loads and calls; entering ended settles every call
 * as `process_died` and every load as failed, and `ended` resolves with why. Nothing here restarts (host/group does).
 */
export class PluginProcess {
  readonly #options: PluginProcessOptions;
  readonly #launched: Launched;
  readonly #channel: Channel;
  readonly #calls: CallTable;
  readonly #health: HealthWatch;
  readonly #stderr: OutputLines;
  readonly #steps: LoadSteps;
  readonly #lines: LineBudget;
  readonly #ledger: FrameLedger;
  /** What the daemon gave to the process and what that read: all that it says may hold it, however it says it. */
  readonly #masks: SecretMasks;
  readonly #ended = createDeferred<string>();
  readonly #closed = createDeferred<void>();
  readonly #rarely: Rarely;
  #verdict: string | undefined;
  #stopping: Promise<void> | undefined;
  #over = false;
  #starved = false;
  /** It was ended because its channel closed: the signal says nothing. */
  #cutOff = false;

  constructor(options: PluginProcessOptions) {
    const { limits, clock } = options;
    this.#options = options;
    this.#rarely = new Rarely({ now: () => clock.now(), pauseMs: HOUR_MS, maxKeys: 1 });
    this.#masks = new SecretMasks({ also: options.masks, onForgotten: (secrets) => this.#forgotten(secrets) });
    this.#masks.addVariables(options.launch.env, options.launch.plain);
    this.#launched = launch(options.launch);
    this.#calls = new CallTable({
      clock,
      cancel: (id) => this.#send({ t: 'cancel', id }),
      mask: (text) => this.#masks.mask(text),
    });
    this.#channel = new Channel(this.#launched.stream, {
      maxInBytes: limits.maxAnswerBytes,
      maxOutBytes: limits.maxRequestBytes,
      highWaterBytes: limits.highWaterBytes,
      inBounds: CHILD_BOUNDS,
      inRate: { clock, bytesPerSecond: limits.answerBytesPerSecond, valuesPerSecond: limits.answerValuesPerSecond },
      steadyRate: {
        clock,
        kinds: UNASKED,
        bytesPerSecond: UNASKED_SLACK * options.channelLineBytesPerSecond,
        atOnceBytes: options.channelLineBytesPerSecond,
      },
      onMessage: (message, bytes, values) => this.#receive(parseChildMessage(message), bytes, values),
      onClose: (error) => this.#onChannelClose(error),
    });
    this.#steps = new LoadSteps({
      clock,
      ended: this.ended,
      starved: () => this.#starved,
      send: (message) => this.#send(message),
      kill: (why) => this.kill(why),
    });
    this.#ledger = new FrameLedger({
      clock,
      linesPerSecond: Math.max(MIN_LINES, options.channelLinesPerSecond),
      lineBytesPerSecond: options.channelLineBytesPerSecond,
      measurementsPerSecond: options.measurementsPerSecond,
      measurementBytesPerSecond: MEASUREMENT_BYTES * options.measurementsPerSecond,
    });
    this.#lines = new LineBudget({
      clock,
      linesPerSecond: options.channelLinesPerSecond,
      // Each that is let through is searched for secrets and written.
      bytesPerSecond: LOG_BYTES_PER_SECOND,
      onDropped: (lines) => this.#dropped('its channel', lines),
    });
    this.#captureLines('stdout', 'info');
    this.#stderr = this.#captureLines('stderr', 'warn');
    this.#health = new HealthWatch({
      ...limits,
      clock,
      memoryLimitMb: options.launch.memoryLimitMb,
      pid: this.#launched.pid,
      ping: () => this.#send({ t: 'ping' }),
      expiredCalls: () => this.#calls.expired,
      clearExpired: () => {
        this.#calls.expired = 0;
      },
      condemn: (why) => this.kill(why),
    });
    // A call that runs for longer than a lease sends under the next one.
    const renewed = options.lease?.onRenewed((until) => {
      if (this.#calls.size > 0) this.#send({ t: 'lease', until });
    });
    void this.ended.then(renewed);
    void this.#watchExit();
  }

  get pid(): number | undefined {
    return this.#over ? undefined : this.#launched.pid;
  }
  get rssBytes(): number {
    return this.#over ? 0 : this.#health.rssBytes;
  }
  get over(): boolean {
    return this.#over;
  }
  get writable(): boolean {
    return this.#channel.writable;
  }
  /** Calls in flight of all plugins in this process. */
  get inFlight(): number {
    return this.#calls.size;
  }
  /** Resolves when the process is gone, with why, for a person. Never rejects. */
  get ended(): Promise<string> {
    return this.#ended.promise;
  }

  drained(): Promise<void> {
    return this.#channel.drained();
  }

  /** Imports a module as plugin number `p`. Throws HostError, PLUGIN_IMPORT_TIMEOUT included. */
  async importModule(p: number, url: string, label: string, timeoutMs: number): Promise<DefinitionFacts> {
    return this.#steps.importModule({ t: 'import', p, url, label }, timeoutMs);
  }

  /** Runs load() of an imported plugin. Throws HostError, PLUGIN_IMPORT_TIMEOUT included. */
  async load(message: LoadMessage): Promise<PluginFacts> {
    this.#masks.addVariables(message.environment, this.#options.launch.plain);
    this.#masks.addSettings(message.settings);
    this.#masks.addSettings(message.data.dataStore);
    const facts = await this.#steps.load(message);
    // Not before: on a busy machine a plugin that gives way would not be loaded in its time.
    this.#launched.giveWay();
    return facts;
  }

  /** What came with the tasks of a call, of which a batch has many, is theirs to print. */
  #maskSecretsOf(args: PluginMethods[PluginMethod]['args']): void {
    const carriers = ('items' in args ? args.items : [args]) as readonly { readonly connection?: ConnectionInfo }[];
    for (const { connection } of carriers) {
      if (connection === undefined) continue;
      for (const secret of Object.values(connection.secrets)) this.#masks.add(secret);
    }
  }

  /** Never rejects. */
  async call<M extends PluginMethod>(
    p: number,
    method: M,
    args: PluginMethods[M]['args'],
    { deadlineMs, signal, beginByMs }: CallOptions & { readonly deadlineMs: number },
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>> {
    if (this.#over || this.#channel.closed) {
      return failedCall('process_died', 'PLUGIN_NOT_SERVING', `${method}: the plugin's process is gone`);
    }
    if (signal?.aborted === true)
      return failedCall('cancelled', 'CALL_CANCELLED', `${method}: cancelled before it was sent`);
    this.#maskSecretsOf(args);
    const left = deadlineMs - this.#options.clock.now();
    if (left <= 0)
      return failedCall('deadline', 'PLUGIN_DEADLINE', `${method}: the deadline passed before it was sent`);
    if (this.#channel.queuedBytes > this.#options.limits.maxQueuedBytes) {
      const queued = this.#channel.queuedBytes;
      return failedCall(
        'not_admitted',
        'PLUGIN_CHANNEL_OVERLOADED',
        `${method}: ${queued} bytes wait to be sent already`,
      );
    }
    try {
      return await this.#calls.add(method, args, left, signal, (id) => {
        const call = { t: 'call', p, id, m: method, a: args, left, at: machineMs() } as const;
        const { lease } = this.#options;
        const sends = lease !== undefined && methodTraits(method).lane !== undefined;
        const by = beginByMs === undefined ? undefined : { by: beginByMs };
        const message: HostMessage = sends ? { ...call, until: lease.endsAtMs(), ...by } : call;
        this.#channel.send(message);
        this.#ledger.sent(message);
      });
    } catch (error) {
      const tooLarge = error instanceof ChannelError && error.code === 'TOO_LARGE';
      return failedCall('not_admitted', tooLarge ? 'REQUEST_TOO_LARGE' : 'INTERNAL', `${method}: ${messageOf(error)}`);
    }
  }

  /** Ends the process at once; `why` becomes the reason of its end. */
  kill(why: string): void {
    if (this.#over) return;
    this.#verdict ??= why;
    this.#launched.kill();
  }

  /** Orderly: the plugins' close(), then the end of the channel, then SIGTERM, then SIGKILL, a step of time each. Callable twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const step = this.#options.limits.stopStepMs;
    this.#verdict ??= 'was stopped';
    this.#send({ t: 'close' });
    await this.#atMost(Promise.race([this.#closed.promise, this.ended]), step);
    this.#channel.end();
    if (await this.#atMost(this.ended, step)) return;
    this.#launched.terminate();
    if (await this.#atMost(this.ended, step)) return;
    this.#launched.kill();
    await this.ended;
  }

  async #atMost(awaited: Promise<unknown>, ms: number): Promise<boolean> {
    const late = createDeferred<false>();
    const timer = this.#options.clock.setTimer(ms, () => late.resolve(false));
    const result = await Promise.race([awaited.then(() => true), late.promise]);
    timer.cancel();
    return result;
  }

  #send(message: HostMessage): void {
    if (this.#channel.closed) return;
    this.#ledger.sent(message);
    this.#channel.send(message);
  }

  #receive(message: ChildMessage, bytes: number, values: number): void {
    this.#ledger.received(message, bytes, values);
    switch (message.t) {
      case 'ready':
      case 'imported':
      case 'loaded':
        this.#steps.receive(message);
        return;
      case 'failed': {
        const { failure } = message;
        this.#steps.receive({ ...message, failure: { ...failure, message: this.#masks.mask(failure.message) } });
        return;
      }
      case 'secret':
        this.#masks.addRead(Buffer.from(message.value).toString('utf8'));
        this.#send({ t: 'masked', n: message.n });
        return;
      case 'answer':
        this.#calls.answer(message.id, message.v);
        return;
      case 'error':
        this.#calls.fail(message.id, message.f);
        return;
      case 'log': {
        if (!this.#lines.take(bytes)) return;
        const mask = (text: string) => this.#masks.mask(text);
        const fields = maskedJson(message.fields, mask);
        this.#options.onLog(message.p, { level: message.level, message: mask(message.msg), fields, source: 'plugin' });
        return;
      }
      case 'metric':
        if (this.#masks.reveals(message.name)) return;
        for (const value of message.values) {
          this.#options.onMetric(message.p, { kind: message.kind, name: message.name, value });
        }
        return;
      case 'pong':
        this.#health.pong(message.rss, message.abandoned);
        return;
      case 'closed':
        this.#closed.resolve();
        return;
      default:
        message satisfies never;
    }
  }

  #captureLines(source: 'stdout' | 'stderr', level: LogLevel): OutputLines {
    const { clock, limits, onLog } = this.#options;
    return new OutputLines(this.#launched[source], {
      clock,
      linesPerSecond: limits.logLinesPerSecond,
      mask: (text) => this.#masks.mask(text),
      openAt: (text) => this.#masks.openAt(text),
      onLine: (line) => onLog(undefined, { level, message: line, fields: {}, source }),
      onDropped: (lines) => this.#dropped(source, lines),
    });
  }

  #forgotten(secrets: number): void {
    if (!this.#rarely.allows('forgotten')) return;
    const message = 'the process has more secrets than are masked; the oldest it read are masked no more';
    this.#options.onLog(undefined, { level: 'error', message, fields: { secrets }, source: 'host' });
  }

  #dropped(of: string, lines: number): void {
    const message = `lines of ${of} were left out`;
    this.#options.onLog(undefined, { level: 'warn', message, fields: { lines }, source: 'host' });
  }

  /** A process whose channel is gone is of no use, whatever it still does. One that has loaded nothing ends as it will: how tells why. */
  #onChannelClose(error: Error | undefined): void {
    if (this.#over) return;
    if (error instanceof ChannelError) this.#verdict ??= `was killed: it broke the channel: ${error.message}`;
    if (error !== undefined || this.#verdict === undefined)
      this.#options.clock.setTimer(this.#steps.done ? 0 : LAST_WORDS_MS, () => this.#cut());
  }

  #cut(): void {
    if (this.#over) return;
    this.#cutOff = !this.#launched.hasEnded();
    this.#launched.kill();
  }

  async #watchExit(): Promise<void> {
    const { how, shortage, signal } = await this.#launched.exited;
    // Asked before its last words are waited for: whoever cuts it off meanwhile ends nothing any more.
    const bySystem = signal !== undefined && !this.#cutOff;
    await this.#lastWords();
    this.#over = true;
    const early = !this.#steps.up && (bySystem || this.#stderr.toldShortage);
    // Code that is at fault ends otherwise: this is how a system that is short of memory, or somebody, ends a process.
    const taken = bySystem && signal === 'SIGKILL';
    this.#starved = shortage || (this.#verdict === undefined && (early || taken));
    this.#health.stop();
    this.#channel.destroy();
    this.#lines.end();
    const hint = this.#verdict === undefined && this.#stderr.lastError !== '' ? ` (${this.#stderr.lastError})` : '';
    const why = this.#verdict ?? `${how}${hint}`;
    this.#calls.end(why);
    this.#ended.resolve(why);
  }

  /** Answers and lines that the process wrote before it ended may still be on their way. */
  async #lastWords(): Promise<void> {
    const { stream, stderr, stdout } = this.#launched;
    // A pipe that rests from a flood keeps no program running, and no timer of the clock does: it would end before it has said why.
    const held = setTimeout(() => undefined, 2 * LAST_WORDS_MS);
    const done = [stream, stderr, stdout].map(
      (one) =>
        new Promise<void>((resolve) => {
          if (one.destroyed || one.readableEnded) resolve();
          else for (const event of ['end', 'close', 'error']) one.once(event, () => resolve());
        }),
    );
    await this.#atMost(Promise.all(done), LAST_WORDS_MS);
    clearTimeout(held);
  }
}
