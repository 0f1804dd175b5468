import { createHash, timingSafeEqual } from 'node:crypto';
import type { Right } from '../model/access.js';

/** Whom a token stands for, and what that one may do. */
export interface Caller {
  readonly name: string;
  readonly may: readonly Right[];
}

/** Equal lengths whatever is sent, so that a comparison takes the same time. */
const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();

/** A short name of a token that tells nothing of it. */
export const markOf = (token: string): string => digestOf(token).toString('base64', 0, 18);

/** Which tokens are good now. */
export interface KnownTokens {
  /** Whose token it is. */
  callerOf(token: string): Caller | undefined;
  /** Whether one of them has this mark. */
  hasMark(mark: string): boolean;
}

/** Tokens as their hashes. It has no states; a new set takes the place of an old one. */
export class Tokens implements KnownTokens {
  readonly #known: readonly { readonly digest: Buffer; readonly caller: Caller }[];
  readonly #marks: ReadonlySet<string>;

  constructor(tokens: readonly { readonly token: string; readonly caller: Caller }[]) {
    this.#known = tokens.map(({ token, caller }) => ({ digest: digestOf(token), caller }));
    this.#marks = new Set(tokens.map(({ token }) => markOf(token)));
  }

  hasMark(mark: string): boolean {
    return this.#marks.has(mark);
  }

  /** All are compared, each in the same time. */
  callerOf(token: string): Caller | undefined {
    const digest = digestOf(token);
    let found: Caller | undefined;
    for (const known of this.#known) if (timingSafeEqual(known.digest, digest)) found ??= known.caller;
    return found;
  }
}

/** The token of an `authorization` header; undefined where it carries none. */
export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer (\S{1,8192})$/i.exec(header ?? '')?.[1];
}
