import { HostError } from '../../errors/index.js';
import type { Clock } from '../../lib/clock.js';
import type { TaskEvents } from '../../model/events/tasks.js';
import { encodeHandle, type Handle, type ReadHandle } from '../../model/handle.js';
import type { HandleKeys, Signature } from '../../model/handle-keys.js';

export interface HandleTrustOptions {
  readonly clock: Clock;
  /** Within this after the birth of the state, handles that the keys do not know are taken up all the same. Milliseconds. */
  readonly graceMs: number;
  readonly events: Pick<TaskEvents, 'handleUnverified'>;
}

/**
 * Whose handles are taken. Engines keep them as bytes, and anybody who reaches the port can make some up: with keys, only what
 * these signed is taken. Asked about handles alone that memory does not hold; what is held was answered here.
 *
 * States: open (no keys: what can be read is taken) → `use` → signing, any number of times, by other keys.
 */
export class HandleTrust {
  readonly #options: HandleTrustOptions;
  #keys: HandleKeys | undefined;
  #graceEndsMs = Number.NEGATIVE_INFINITY;

  constructor(options: HandleTrustOptions) {
    this.#options = options;
  }

  /**
   * Signs and checks from here on. `bornMsAgo` is the age of the state that these keys go with; where the same state only
   * changes its keys it need not be said again.
   */
  use(keys: HandleKeys, bornMsAgo?: number): void {
    const { clock, graceMs } = this.#options;
    if (bornMsAgo !== undefined) this.#graceEndsMs = clock.now() + graceMs - bornMsAgo;
    this.#keys = keys;
  }

  /** The bytes that Create answers. */
  encode(handle: Handle): Buffer {
    return encodeHandle(handle, this.#keys?.signer);
  }

  /** Throws HANDLE_MALFORMED for an altered handle, HANDLE_UNSIGNED or HANDLE_FOREIGN for one that no key here has signed. */
  check(bytes: Buffer, handle: ReadHandle): void {
    if (this.#keys === undefined) return;
    const signature = this.#keys.check(bytes, handle);
    if (signature === 'right') return;
    const taken = signature !== 'wrong' && this.#options.clock.now() < this.#graceEndsMs;
    this.#options.events.handleUnverified?.(signature, taken);
    if (!taken) throw refused(signature);
  }
}

function refused(signature: Signature): HostError {
  const send = 'send the bytes that Create answered';
  if (signature === 'wrong') {
    return new HostError(
      'HANDLE_MALFORMED',
      `not a handle of this daemon: it was altered after it was signed; ${send}`,
    );
  }
  if (signature === 'none') {
    return new HostError(
      'HANDLE_UNSIGNED',
      `the handle is not signed, and this daemon takes signed ones only; ${send}`,
    );
  }
  return new HostError(
    'HANDLE_FOREIGN',
    `the handle is signed with a key that this daemon does not have: another one made it, or the key was lost or taken out; ${send}`,
  );
}
