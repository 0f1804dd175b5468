import type { PluginHost } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import { faultFields, type Log } from '../telemetry/index.js';

export interface ReloadsOptions {
  readonly host: PluginHost;
  readonly clock: Clock;
  readonly log: Log;
  /** Resolves when the daemon serves, or never will; never rejects. */
  readonly started: () => Promise<unknown>;
  readonly isReady: () => boolean;
  readonly onDone: () => void;
}

/**
 * Loads all plugins anew when it is asked to, once at a time: what is asked for while one reload runs is done by one more
 * after it, however often it was asked for.
 *
 * States: idle; running; running with one more asked for, which leads back to running.
 */
export class Reloads {
  readonly #options: ReloadsOptions;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(options: ReloadsOptions) {
    this.#options = options;
  }

  /** Resolves when a reload that began after this call is done. Never rejects. */
  ask(): Promise<void> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      this.#running = this.#run();
      return this.#running;
    });
    return this.#next;
  }

  async #run(): Promise<void> {
    const { host, clock, log, started, isReady, onDone } = this.#options;
    await started();
    if (!isReady()) return;
    const startMs = clock.now();
    try {
      const results = await host.reloadAll();
      log.emit('daemon.reloaded', {
        reloaded: results.flatMap(({ pluginId, error }) => (error === undefined ? [pluginId] : [])),
        failed: results.flatMap(({ pluginId, error }) =>
          error === undefined ? [] : [{ plugin: pluginId, code: error.code, error: error.message }],
        ),
        tookMs: Math.round(clock.now() - startMs),
      });
    } catch (error) {
      log.emit('daemon.fault', { where: 'reload', ...faultFields(error) });
    }
    onDone();
  }
}
