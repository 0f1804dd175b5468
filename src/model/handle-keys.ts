import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { carriedMac, type HandleSigner, MAC_BYTES, macOf, type ReadHandle } from './handle.js';

/** What the signature of a handle is worth: `unknown` names a key that is not among these. */
export type Signature = 'right' | 'wrong' | 'none' | 'unknown';

export const HANDLE_KEYS = { max: 16, minCharacters: 32, maxCharacters: 1024 } as const;

const KEY = new RegExp(`^[\\x21-\\x7e]{${HANDLE_KEYS.minCharacters},${HANDLE_KEYS.maxCharacters}}$`);

/** The keys that handles are signed with: the first one signs, all of them verify. */
export class HandleKeys {
  readonly #signers: readonly HandleSigner[];

  /** `texts` as `handleKeyTexts` gives them. */
  constructor(texts: readonly string[]) {
    this.#signers = texts.map(signerOf);
  }

  get signer(): HandleSigner | undefined {
    return this.#signers[0];
  }

  /** Ids of the keys, for show: they tell nothing of the keys. */
  get ids(): readonly string[] {
    return this.#signers.map(({ keyId }) => keyId.toString(16).padStart(8, '0'));
  }

  check(bytes: Buffer, { signedWith }: Pick<ReadHandle, 'signedWith'>): Signature {
    if (signedWith === undefined) return 'none';
    // An id has 32 bits: two keys may share one.
    const signers = this.#signers.filter(({ keyId }) => keyId === signedWith);
    if (signers.length === 0) return 'unknown';
    const mac = carriedMac(bytes);
    return signers.some((signer) => timingSafeEqual(macOf(bytes, signer), mac)) ? 'right' : 'wrong';
  }
}

/**
 * The keys in a text: one a line, the one that signs first; empty lines and those that begin with # are left out. Answers what
 * is wrong with it where something is; no key is quoted.
 */
export function handleKeyTexts(text: string): readonly string[] | { readonly problem: string } {
  const { max, minCharacters, maxCharacters } = HANDLE_KEYS;
  const keys: string[] = [];
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    const key = line.trim();
    if (key === '' || key.startsWith('#')) continue;
    if (!KEY.test(key)) {
      const expected = `expected ${minCharacters} to ${maxCharacters} visible ASCII characters, such as openssl rand -base64 32 prints`;
      return { problem: `line ${at + 1} is no key (${key.length} characters seen); ${expected}` };
    }
    if (keys.includes(key)) return { problem: `line ${at + 1} repeats a key` };
    keys.push(key);
  }
  if (keys.length === 0) return { problem: 'it holds no key; expected one a line, the one that signs first' };
  if (keys.length > max) return { problem: `it holds ${keys.length} keys; expected ${max} at most` };
  return keys;
}

function signerOf(text: string): HandleSigner {
  const digest = createHash('sha256').update(`id of a handle key\n${text}`).digest();
  return {
    // 0 says that there is none.
    keyId: digest.readUInt32BE(0) || 1,
    mac(...parts) {
      const hmac = createHmac('sha256', text);
      for (const part of parts) hmac.update(part);
      return hmac.digest().subarray(0, MAC_BYTES);
    },
  };
}
