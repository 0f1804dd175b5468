import { TokenBucket } from '../../limits/token-bucket.js';
import type { TasksDeps } from '../deps.js';

/**
 * The bounds of what is taken up from handles alone (rule 15). Anybody who reaches the port can make handles up, so they
 * have a number, bytes and a rate of their own, and take no room from what was created here.
 *
 * What no read has ever shown to exist gives way to newcomers, the oldest first: nothing is lost that its handle does not
 * say. What a read has shown stays until it is over.
 */
export class Adoptions {
  readonly #deps: TasksDeps;
  readonly #rate: TokenBucket;

  constructor(deps: TasksDeps) {
    this.#deps = deps;
    const { adoptionsPerSecond, adoptionsAtOnce } = deps.options;
    const full = { level: adoptionsAtOnce, atMs: deps.clock.now() };
    this.#rate = new TokenBucket({
      config: { qps: adoptionsPerSecond, burst: adoptionsAtOnce },
      clock: deps.clock,
      snapshot: full,
    });
  }

  /** Whether one more may be taken up now; makes room for it. */
  admit(): boolean {
    if (!this.#rate.tryTake()) return false;
    while (!this.#fits()) if (!this.#makeRoom()) return false;
    return true;
  }

  #fits(): boolean {
    const { store, options } = this.#deps;
    return store.adopted.size < options.maxAdopted && store.adopted.bytes < options.maxAdoptedBytes;
  }

  #makeRoom(): boolean {
    const { store } = this.#deps;
    const task = store.adopted.oldestUnread;
    if (task === undefined) return false;
    store.forget(task);
    return true;
  }
}
