import { setTimeout as sleep } from 'node:timers/promises';
import { ADMIN_BOUNDS, AdminServer } from './admin/index.js';
import { type Config, configSecrets, type LoadedConfig } from './config/index.js';
import { DaemonAccess } from './daemon/access.js';
import { adminSource } from './daemon/admin-source.js';
import type { Cluster, ClusterOptions, ReplicaInbox } from './daemon/cluster.js';
import { figuresOf } from './daemon/figures.js';
import { dataOptions } from './daemon/host-options.js';
import { Hosting, random } from './daemon/hosting.js';
import { type DaemonState, Lifecycle, Releasers, within } from './daemon/lifecycle.js';
import { LivenessProbe } from './daemon/liveness.js';
import { sharedOptions, tasksOptions } from './daemon/options.js';
import { OutputsStore } from './daemon/outputs.js';
import { Parts } from './daemon/parts.js';
import { Reloads } from './daemon/reloads.js';
import { buildRpcServer } from './daemon/rpc-server.js';
import { RuntimeRegistry } from './daemon/runtimes.js';
import { SecretWatch } from './daemon/secret-watch.js';
import { StopRequest } from './daemon/stop-request.js';
import { type TakeUp, takeUpOf } from './daemon/take-up.js';
import { runningOf, unfinishedOf, type WorkSources } from './daemon/unfinished.js';
import type { HostError } from './errors/index.js';
import type { LoadReport, PluginHost } from './host/types.js';
import { type Clock, systemClock } from './lib/clock.js';
import { createDeferred } from './lib/deferred.js';
import type { SecretMasks } from './lib/secrets.js';
import { flyteNotes } from './rpc/flyte/notes.js';
import type { RpcServer } from './rpc/server.js';
import { createStandIn, type StandIn } from './tasks/stand-in.js';
import { type Log, logLoadReport, type Telemetry } from './telemetry/index.js';

export interface DaemonOptions {
  readonly config: LoadedConfig;
  readonly version: string;
  readonly log: Log;
  /** The secrets that the log masks: what the daemon reads of them is added. Default: those of the configuration. */
  readonly masks?: SecretMasks;
  readonly clock?: Clock;
  /** Where relative plugin sources and package names start from. */
  readonly baseDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** CPU, memory and event-loop metrics of the process; off for a second daemon in one process. */
  readonly processMetrics?: boolean;
  /** Of these options; made before the daemon, its plugin processes may be up by the start. Default: it makes its own. */
  readonly hosting?: Hosting;
}

/** Addresses that were bound. */
export interface DaemonAddresses {
  readonly grpc: string;
  readonly admin: string;
}

/**
 * The daemon: one composition root that builds, connects, starts and stops; no rule lives here.
 */
export interface Daemon {
  readonly state: DaemonState;
  readonly loadReport: LoadReport | undefined;
  /** Resolves when it serves. Throws the first thing that was fatal, after everything that was started is closed. */
  start(): Promise<DaemonAddresses>;
  /**
   * The orderly stop (docs/operations.md has the same numbers): 1 readiness off, 2 drain delay, 3 GOAWAY and the end of
   * streams, 4 polling stops, 5 plugin calls in flight finish, 6 gRPC shuts down, 7 plugin processes stop, 8 the state
   * closes. Resolves when all is closed. Callable during the start, which it ends, and more than once. Throws what went
   * wrong in closing, after everything else is closed.
   */
  stop(): Promise<void>;
  /**
   * Loads every plugin anew beside its old process, and logs what became of each. During the start it waits for its
   * end; asked for while one runs, it runs once more. Does nothing in a daemon that does not serve. Never rejects.
   */
  reload(): Promise<void>;
  /** Kills every plugin process and what it started, at once; for an end out of order. Callable at any time, and twice. */
  killPlugins(): void;
  /** What a forced end would cut off now, in words; empty when nothing runs. */
  running(): string;
  /** Resolves, with why, once another replica has taken this one for dead: it is of no use any more, and is to be stopped. */
  readonly replaced: Promise<HostError>;
}

/** What answers of calls that were just settled have to leave the process, when the grace is used up. Milliseconds. */
const ANSWER_MS = 1_000;
/** What requests on the admin port have to end, once it takes no more. Milliseconds. */
const ADMIN_ANSWER_MS = 1_000;

export function createDaemon(options: DaemonOptions): Daemon {
  return new ComposedDaemon(options);
}

/**
 * Its states are those of `DaemonState`, which lifecycle.ts moves. `start` leads from `created` over `starting` to `ready`, or, where it
 * fails, to `failed`; `stop` ends it from any of them: from `created` at once, from `starting` by the start's own unwinding, from `ready` by
 * the numbered sequence. What each step has started is undone by `Releasers`, last first, whoever unwinds it. A start and a stop are
 * promises that everybody shares who asks for them again.
 */
class ComposedDaemon implements Daemon {
  readonly #options: DaemonOptions;
  readonly #config: Config;
  readonly #clock: Clock;
  readonly #lifecycle: Lifecycle;
  readonly #releasers: Releasers;
  readonly #stopRequest = new StopRequest();
  readonly #hosting: Hosting;
  readonly #telemetry: Telemetry;
  readonly #host: PluginHost;
  readonly #secrets: SecretWatch;
  readonly #access: DaemonAccess;
  readonly #takeUp: TakeUp;
  readonly #cluster: Cluster | undefined;
  readonly #replaced = createDeferred<HostError>();
  readonly #runtimes: RuntimeRegistry;
  readonly #parts: Parts;
  readonly #outputs: OutputsStore;
  readonly #work: WorkSources;
  readonly #reloads: Reloads;
  readonly #standIn: StandIn | undefined;
  #rpc: RpcServer | undefined;
  #starting: Promise<DaemonAddresses> | undefined;
  #stopping: Promise<void> | undefined;
  #finishing: Promise<void> | undefined;
  /** One grace for the whole stop: what a stuck call used up is not waited for again. */
  #graceEndsMs: number | undefined;
  loadReport: LoadReport | undefined;

  constructor(options: DaemonOptions) {
    const { config } = options.config;
    const clock = options.clock ?? systemClock;
    const data = dataOptions(config);
    this.#options = options;
    this.#config = config;
    this.#clock = clock;
    this.#lifecycle = new Lifecycle(options.log);
    this.#releasers = new Releasers(clock, options.log);
    const masks = options.masks ?? configSecrets(options.config);
    const { env, processMetrics = true } = options;
    this.#hosting = options.hosting ?? new Hosting({ ...options, masks, clock, processMetrics });
    this.#telemetry = this.#hosting.telemetry;
    this.#access = new DaemonAccess({ config, clock, masks, events: this.#telemetry.accessEvents });
    this.#secrets = new SecretWatch({ dir: config.secrets.dir, masks, clock, log: options.log });
    const reach = { config, env, clock, random, onSecret: (secret: string) => masks.addRead(secret) };
    this.#takeUp = this.#takeUpOf(reach);
    this.#cluster = this.#takeUp.cluster;
    const { lease, mayWork, engine, at, limits, looks } = this.#cluster ?? {};
    const common = { clock, random, lease, mayWork };
    this.#hosting.servedBefore = () => this.#parts.lastClaims();
    this.#host = this.#hosting.host(lease);
    this.#runtimes = new RuntimeRegistry({
      config,
      ...common,
      telemetry: this.#telemetry,
      limits: limits && ((plugin, of) => limits.plugin(plugin, of)),
    });
    this.#outputs = new OutputsStore(data.dataStore, mayWork);
    this.#parts = new Parts(config.state.parts, {
      ...reach,
      engine,
      at,
      masks,
      log: options.log,
      telemetry: this.#telemetry,
      host: this.#host,
      runtimes: this.#runtimes,
      mayWork,
      writeOutputs: this.#outputs.writer,
      // Spread, they come one by one; what each knows of the last run may be routed to from then on.
      begins: limits && [],
      taken: limits && (() => this.#host.reroute()),
      takeIn: looks && ((...args) => looks.takeAll(...args)),
    });
    const standIn = this.#cluster?.standIn;
    this.#standIn = standIn && this.#standInBy(standIn);
    this.#reloads = new Reloads({
      host: this.#host,
      clock,
      log: options.log,
      started: () => this.#starting?.catch(() => undefined) ?? Promise.resolve(),
      isReady: () => this.state === 'ready',
      onDone: () => this.#pluginsChanged(),
    });
    const { store, tasks, kept } = this.#parts;
    this.#work = { host: this.#host, store, tasks };
    const sources = { ...this.#work, kept, runtimes: this.#runtimes, cluster: this.#cluster };
    this.#telemetry.measure(() => figuresOf({ state: () => this.state, access: this.#access, ...sources }));
  }

  /** Who answers for owners that are away. */
  #standInBy(inbox: ReplicaInbox): StandIn {
    const config = this.#config;
    return createStandIn({
      ...inbox,
      clock: this.#clock,
      random,
      host: this.#host,
      runtimes: this.#runtimes,
      options: tasksOptions(config, config.state.parts),
      events: this.#telemetry.taskEvents,
      writeOutputs: this.#outputs.writer,
      handleKeys: this.#parts.keysWith,
      handleGraceMs: config.handles.graceMs,
      doReplayTtlMs: config.tasks.doReplayTtlMs,
      shown: this.#parts.tasks,
    });
  }

  #takeUpOf(reach: Pick<ClusterOptions, 'config' | 'env' | 'clock' | 'random' | 'onSecret'>): TakeUp {
    const parts = {
      stop: this.#stopRequest,
      releasers: this.#releasers,
      parts: () => this.#parts,
      reroute: () => this.#host.reroute(),
      serve: () => this.#serve(),
    };
    const { clusterEvents, spreadEvents } = this.#telemetry;
    return takeUpOf(parts, {
      ...reach,
      version: this.#options.version,
      options: sharedOptions(this.#options.config),
      tls: () => this.#access.replicaTls(this.#config.cluster.serverName),
      // Of several parts each is told of by itself.
      events: { ...clusterEvents, ...(this.#config.state.parts > 1 && spreadEvents) },
      renewed: () => this.#runtimes.look(),
      lost: (why) => this.#lost(why),
    });
  }

  get state(): DaemonState {
    return this.#lifecycle.state;
  }

  get replaced(): Promise<HostError> {
    return this.#replaced.promise;
  }

  start(): Promise<DaemonAddresses> {
    this.#lifecycle.to('starting');
    this.#starting = this.#start();
    return this.#starting;
  }

  stop(): Promise<void> {
    this.#stopRequest.ask();
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  reload(): Promise<void> {
    return this.#reloads.ask();
  }

  killPlugins(): void {
    this.#host.killAll();
  }

  running(): string {
    return runningOf(this.#work, this.#rpc, this.#releasers.current);
  }

  async #start(): Promise<DaemonAddresses> {
    const startMs = this.#clock.now();
    try {
      // They come up beside what follows, which for a large state takes seconds; no code of a plugin runs before that is done.
      this.#releasers.push('prepared plugin processes', () => this.#host.stop(0));
      this.#hosting.prepare();
      const admin = await this.#startAdmin();
      await this.#takeUp.open();
      this.#stopRequest.assertWanted();
      const grpc = await this.#startRpc();
      this.#stopRequest.assertWanted();
      await this.#startPlugins();
      this.#stopRequest.assertWanted();
      await this.#takeUp.settled();
      this.#lifecycle.to('ready');
      const plugins = this.#host.plugins().filter(({ state }) => state === 'serving').length;
      const tookMs = Math.round(this.#clock.now() - startMs);
      const isReplica = this.#cluster !== undefined;
      const notes = this.#config.flyte.enabled ? flyteNotes(this.#parts.tasks.listPlugins(), isReplica) : [];
      for (const { level, message } of notes) {
        this.#options.log.emit(level === 'warn' ? 'flyte.warning' : 'flyte.note', { note: message });
      }
      this.#options.log.emit('daemon.ready', { grpc, admin, plugins, startMs: tookMs });
      return { grpc, admin };
    } catch (error) {
      const { endedEarly } = this.#stopRequest;
      // What was asked for is no failure.
      if (error === endedEarly) this.#lifecycle.to('draining');
      // Each failed step of it is in the log.
      const closed = await this.#releasers.unwind().then(
        () => true,
        () => false,
      );
      this.#lifecycle.to(error === endedEarly && closed ? 'stopped' : 'failed');
      throw error;
    }
  }

  /** The admin port comes first and goes last, so that a slow start and a long drain can be watched. */
  async #startAdmin(): Promise<string> {
    const { host, port, maxConnections } = this.#config.admin;
    this.#releasers.push('watch of certificates', () => this.#access.stop());
    await this.#stopRequest.unlessStopped(this.#access.start());
    this.#releasers.push('data store', () => this.#outputs.close());
    const liveness = new LivenessProbe(this.#clock, this.#runtimes);
    this.#releasers.push('liveness probe', () => liveness.stop());
    const source = adminSource({
      config: this.#options.config,
      state: () => this.state,
      host: this.#host,
      runtimes: this.#runtimes,
      tasks: this.#parts.tasks,
      telemetry: this.#telemetry,
      liveness,
      trouble: () => this.#parts.trouble,
      cluster: this.#cluster,
      onPluginsChanged: () => this.#lifecycle.changed(),
    });
    const server = new AdminServer({
      ...ADMIN_BOUNDS,
      host,
      port,
      maxConnections,
      source,
      log: this.#options.log,
      access: this.#access.admin(),
    });
    const address = await server.start();
    this.#releasers.push('admin server', () => server.stop(ADMIN_ANSWER_MS));
    return address;
  }

  /** What it was called for, and began, is another replica's: nothing more leaves, and the process is to end. */
  #lost(why: HostError): void {
    this.#host.killAll();
    this.#replaced.resolve(why);
  }

  async #startPlugins(): Promise<void> {
    this.#releasers.push('watch of secrets', () => this.#secrets.stop());
    await this.#stopRequest.unlessStopped(this.#secrets.start());
    const report = await this.#stopRequest.unlessStopped(this.#host.start());
    this.loadReport = report;
    this.#parts.loaded(report);
    logLoadReport(this.#options.log, report.results);
    const [fatal] = report.fatal;
    if (fatal !== undefined) throw fatal;
    this.#takeUp.loaded();
    const workFor = (part: number) => this.#parts.workFor(part);
    this.#cluster?.tellNeeds({ host: this.#host, runtimes: this.#runtimes, workFor });
    this.#releasers.push('polls and calls', () => within(this.#graceLeftMs(), this.#finishCalls()));
    for (const plugin of this.#host.plugins()) {
      this.#releasers.push(
        `listener of plugin ${plugin.id}`,
        plugin.onStateChange(() => this.#pluginsChanged()),
      );
    }
  }

  /** Goes on with what the state has. */
  #serve(): void {
    this.#runtimes.build(this.#host, this.#parts);
    this.#parts.serve();
  }

  #pluginsChanged(): void {
    this.#lifecycle.changed();
    // What a stop takes away is served again by the next start.
    if (this.state === 'ready') this.#parts.keepRoutes();
  }

  async #startRpc(): Promise<string> {
    const rpc = buildRpcServer({
      config: this.#config,
      clock: this.#clock,
      tasks: this.#parts.tasks,
      host: this.#host,
      telemetry: this.#telemetry,
      lifecycle: this.#lifecycle,
      access: this.#access.grpc(),
      elsewhere: this.#cluster?.elsewhere,
      standIn: this.#standIn,
      replicas: this.#cluster?.limits?.acceptor,
    });
    this.#rpc = rpc;
    // Before the port, so that it stops after it: what is still answered may need a plugin.
    this.#releasers.push('plugin processes', () => this.#host.stop(this.#graceLeftMs()));
    this.#releasers.push('inbox', () => {
      this.#standIn?.stop();
      this.#cluster?.looks.stop();
    });
    const { host, port } = await rpc.listen();
    this.#releasers.push('gRPC server', () => rpc.stop(Math.max(ANSWER_MS, this.#graceLeftMs())));
    await this.#takeUp.bound(port);
    this.#cluster?.looks.start();
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  }

  async #stop(): Promise<void> {
    if (this.state === 'created') {
      this.#lifecycle.to('stopped');
      return;
    }
    // A start under way notices the request at its next step and unwinds what it has.
    await this.#starting?.catch(() => undefined);
    if (this.state !== 'ready') return;
    const { drainDelayMs, graceMs } = this.#config.shutdown;
    this.#lifecycle.to('draining'); // 1: readiness off
    this.#rpc?.beginUnready();
    await this.#takeUp.retire();
    await sleep(drainDelayMs); // 2
    this.#parts.drain(); // 3: Watch streams end with a resume token, new tasks go elsewhere
    this.#rpc?.beginDrain();
    this.#graceEndsMs = this.#clock.now() + graceMs;
    await within(graceMs, this.#finishCalls()); // 4, 5
    const unfinished = unfinishedOf(this.#work);
    const left = unfinished.waiting + unfinished.deletesOwed > 0;
    if (left && !this.#parts.store.durable) this.#options.log.emit('daemon.unfinished', unfinished);
    try {
      await this.#releasers.unwind(); // 6, 7, 8
    } catch (error) {
      this.#lifecycle.to('failed');
      throw error;
    }
    this.#lifecycle.to('stopped');
  }

  /** After a failed start nothing is in flight that would be worth waiting for. */
  #graceLeftMs(): number {
    return Math.max(0, (this.#graceEndsMs ?? 0) - this.#clock.now());
  }

  #finishCalls(): Promise<void> {
    this.#finishing ??= Promise.all([this.#runtimes.stopPolling(), this.#parts.finish()])
      .then(() => this.#runtimes.close())
      .then(() => this.#parts.keepLevels())
      .catch((error: unknown) => this.#telemetry.taskEvents.fault?.('stop', error));
    return this.#finishing;
  }
}
