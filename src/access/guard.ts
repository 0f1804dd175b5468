import { HostError } from '../errors/index.js';
import type { Right } from '../model/access.js';
import type { AccessEvents, AccessPort, AccessRefusal } from '../model/events/access.js';
import { Guesses } from './guesses.js';
import type { Peer, PeerRefusal } from './peer.js';
import { bearerToken, type KnownTokens, markOf } from './tokens.js';

/** `all`: whatever the connection is; `peer`: whoever was let in; a right: who has a token with it, where there are tokens. */
export type Need = 'all' | 'peer' | Right;

export interface CallGuardOptions {
  readonly port: AccessPort;
  /** What a path needs. */
  readonly needs: (path: string) => Need;
  /** Asked at each call; undefined where no token is needed. Without it none ever is. */
  readonly tokens?: (() => KnownTokens | undefined) | undefined;
  /** Calls back whenever other tokens are good from then on. */
  readonly onTokens?: ((listener: () => void) => void) | undefined;
  readonly events: Pick<AccessEvents, 'refused'>;
  /** Monotonic, in milliseconds. Default: the machine's. */
  readonly now?: () => number;
}

/**
 * Who calls, as far as it is known: the name of its token, else of its certificate; or why it may not. `mark` is that of the token
 * that it was let in by, where it needed one.
 */
export type Admission =
  | { readonly denied: HostError; readonly by?: undefined; readonly mark?: undefined }
  | { readonly denied?: undefined; readonly by: string; readonly mark?: string };

/** Decides who may call what, before anything is done for the call. Its only state is who guesses. */
export class CallGuard {
  readonly #options: CallGuardOptions;
  readonly #guesses: Guesses;

  constructor(options: CallGuardOptions) {
    this.#options = options;
    const isGood = (mark: string) => options.tokens?.()?.hasMark(mark) === true;
    this.#guesses = new Guesses(options.now ?? (() => performance.now()), isGood);
  }

  /** Calls back whenever what was let in may have to end: see `revoked`. */
  onTokens(listener: () => void): void {
    this.#options.onTokens?.(listener);
  }

  /** Why what was let in by this token may not go on; undefined where it may. */
  revoked(mark: string | undefined): HostError | undefined {
    const tokens = mark === undefined ? undefined : this.#options.tokens?.();
    if (mark === undefined || tokens === undefined || tokens.hasMark(mark)) return undefined;
    return new HostError('TOKEN_REVOKED', 'the token that this came with was taken out; come again with another one');
  }

  /** Without a peer a call is nobody's. */
  check(path: string, authorization: string | undefined, peer: Peer | undefined): Admission {
    return this.admit(this.#options.needs(path), authorization, peer);
  }

  admit(need: Need, authorization: string | undefined, peer: Peer | undefined): Admission {
    const by = peer?.names[0] ?? '';
    if (need === 'all') return { by };
    const refusal = peer === undefined ? UNKNOWN : peer.refusal;
    if (refusal !== undefined) {
      const code = refusal.reason === 'plaintext' ? 'PLAINTEXT_REFUSED' : 'CERTIFICATE_REFUSED';
      return this.#deny(refusal.reason, peer, new HostError(code, refusal.message));
    }
    const tokens = need === 'peer' ? undefined : this.#options.tokens?.();
    if (tokens === undefined) return { by };
    return this.#byToken(need as Right, tokens, authorization, peer as Peer);
  }

  #byToken(right: Right, tokens: KnownTokens, authorization: string | undefined, peer: Peer): Admission {
    const token = bearerToken(authorization);
    if (token === undefined) return this.#deny('no_token', peer, this.#wrong('no bearer token'));
    const mark = markOf(token);
    const waitMs = this.#guesses.waitMs(peer.address, mark);
    if (waitMs > 0) {
      const message = 'too many wrong tokens came from this address';
      return this.#deny('guesses', peer, new HostError('TOKEN_GUESSES', message, { retryAfterMs: waitMs }));
    }
    const caller = tokens.callerOf(token);
    if (caller === undefined) {
      this.#guesses.wrong(peer.address, mark);
      return this.#deny('wrong_token', peer, this.#wrong('a bearer token that is none of the configured ones'));
    }
    this.#guesses.right(peer.address, mark);
    if (caller.may.includes(right)) return { by: caller.name, mark };
    const message = `the token of ${caller.name} may ${caller.may.join(', ')}, and this needs ${right}`;
    return this.#deny('may_not', peer, new HostError('TOKEN_MAY_NOT', message));
  }

  #wrong(seen: string): HostError {
    const code = this.#options.port === 'admin' ? 'ADMIN_TOKEN_WRONG' : 'TOKEN_WRONG';
    return new HostError(code, `seen ${seen}, expected "authorization: Bearer <token>"`);
  }

  #deny(reason: AccessRefusal, peer: Peer | undefined, denied: HostError): Admission {
    const { port, events } = this.#options;
    events.refused({ port, reason, remote: peer?.address ?? '', detail: denied.message });
    return { denied };
  }
}

const UNKNOWN: PeerRefusal = { reason: 'no_certificate', message: 'nothing is known of the connection' };
