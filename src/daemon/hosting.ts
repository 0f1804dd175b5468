import { randomInt } from 'node:crypto';
import type { LoadedConfig } from '../config/index.js';
import { createPluginHost } from '../host/plugin-host.js';
import type { PluginHost, PluginHostOptions } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import type { SecretMasks } from '../lib/secrets.js';
import type { SendingLease } from '../model/sending-lease.js';
import { type Log, Telemetry } from '../telemetry/index.js';
import { guardedPaths } from './guarded.js';
import { dataOptions, hostLimits, pluginEntries } from './host-options.js';

export interface HostingOptions {
  readonly config: LoadedConfig;
  readonly version: string;
  readonly log: Log;
  readonly masks: SecretMasks;
  readonly clock: Clock;
  /** Where relative plugin sources and package names start from. */
  readonly baseDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** CPU, memory and event-loop metrics of the process. */
  readonly processMetrics: boolean;
}

/** In [0, 1), not to be guessed. */
export const random = (): number => randomInt(2 ** 32) / 2 ** 32;

/**
 * The host of a daemon's plugins, and what tells of it: all that it takes to have their processes come up. Apart from the daemon, so that
 * they do so while the rest of its code is still being loaded.
 *
 * States: nothing is made → `host` is made, once → `prepare` has started processes → what the host's own states are.
 */
export class Hosting {
  readonly telemetry: Telemetry;
  readonly #options: HostingOptions;
  #host: PluginHost | undefined;
  #prepared = false;
  /** See PluginHostOptions; the daemon's, once it is made. */
  servedBefore: NonNullable<PluginHostOptions['servedBefore']> = () => [];

  constructor(options: HostingOptions) {
    this.#options = options;
    this.telemetry = new Telemetry({
      log: options.log,
      version: options.version,
      plugins: pluginEntries(options.config.config).map(({ id, source }) => id ?? String(source)),
      processMetrics: options.processMetrics,
    });
  }

  /** The same one each time; `lease` as the first who asks has it. */
  host(lease?: SendingLease): PluginHost {
    this.#host ??= this.#makeHost(lease);
    return this.#host;
  }

  /** Starts the processes of some plugins; once, however often it is called. Imports nothing of theirs. */
  prepare(): void {
    if (this.#prepared) return;
    this.#prepared = true;
    this.host().prepare();
  }

  /** Ends what was started, at once; callable at any time. */
  killAll(): void {
    this.#host?.killAll();
  }

  #makeHost(lease: SendingLease | undefined): PluginHost {
    const { config: loaded, masks, clock, baseDir, env } = this.#options;
    const { config } = loaded;
    const { defaultForTaskTypes, sandbox } = config;
    return createPluginHost({
      entries: pluginEntries(config),
      events: this.telemetry.hostEvents,
      data: dataOptions(config),
      clock,
      random,
      lease,
      sandbox,
      limits: hostLimits(config),
      guarded: guardedPaths(loaded, env),
      masks,
      defaultForTaskTypes,
      servedBefore: () => this.servedBefore(),
      baseDir,
      env,
    });
  }
}
