/** What somebody who waits listens to: an AbortSignal, or a `Stop`. */
export interface Abortable {
  readonly aborted: boolean;
  /** What the abort was given. */
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/**
 * An AbortController and its signal in one, for within the daemon: every call has several, and a real one takes an event target, maps
 * and weak references. As there, a listener is called once at most, and none that comes after the abort. Listeners do not throw.
 *
 * States: open → `abort` → aborted, for good.
 */
export class Stop implements Abortable {
  #listeners: (() => void)[] | undefined;
  #aborted = false;
  #reason: unknown;

  get aborted(): boolean {
    return this.#aborted;
  }

  /** What the first `abort` was given. */
  get reason(): unknown {
    return this.#reason;
  }

  abort(reason?: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    // One that a listener before it takes away is not called.
    for (let next = this.#listeners?.shift(); next !== undefined; next = this.#listeners?.shift()) next();
    this.#listeners = undefined;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    if (this.#aborted || this.#listeners?.includes(listener) === true) return;
    this.#listeners ??= [];
    this.#listeners.push(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const at = this.#listeners?.indexOf(listener) ?? -1;
    if (at >= 0) this.#listeners!.splice(at, 1);
  }
}
