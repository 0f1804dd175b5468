import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** Secrets whose first characters are these are a walk's own: the search of what suites leave passes them over. */
const OWN_SIGN = 'Vq7wZkXeJ';

/**
 * Secrets of a test, one for each way by which one comes in, that can be told from everything else wherever they turn up: as they are,
 * cut short, in capitals, in JSON or a URL, in base64 wherever it begins, in hex, in UTF-16, as a list of bytes.
 */
export class Markers<Way extends string> {
  readonly ways: readonly Way[];
  /** What all of them begin with. Nine letters and digits that nothing else has in a row. */
  readonly sign: string;

  constructor(ways: readonly Way[], sign: string = OWN_SIGN) {
    assert.ok(/^[A-Za-z0-9]{9}$/.test(sign), sign);
    this.ways = ways;
    this.sign = sign;
  }

  /** What stands in every form of the secret of this way; letters and digits. */
  core(way: Way): string {
    return `${this.#head(way)}${way}Zq`;
  }

  /** The secrets whose traces the text shows. */
  shownIn(text: string | Uint8Array): Way[] {
    const bytes = bytesOf(text);
    if (placeOf(bytes, this.sign) === undefined) return [];
    return this.ways.filter((way) => placeOf(bytes, this.#head(way)) !== undefined);
  }

  /** What is shown, and where, in words; undefined where nothing is. Of a secret that is cut behind its sign no way is known. */
  find(text: string | Uint8Array): string | undefined {
    const bytes = bytesOf(text);
    const at = placeOf(bytes, this.sign);
    if (at === undefined) return undefined;
    const near = bytes.subarray(Math.max(0, at - 150), at + 50).toString('latin1');
    return `shows secrets (${this.shownIn(bytes).join(', ') || 'a part of one'}): …${near.replace(/[^ -~\n]/g, '·')}…`;
  }

  /** Fails with what is shown, and where; also where there is nothing to look at. */
  assertNone(text: string | Uint8Array, where: string): void {
    assert.ok(text.length > 0, `${where} is empty`);
    const found = this.find(text);
    assert.equal(found, undefined, `${where} ${found}`);
  }

  /** Every file below a folder, as bytes. */
  assertNoneBelow(folder: string): void {
    const files = filesBelow(folder);
    assert.ok(files.length > 0, `${folder} holds no files`);
    for (const file of files) {
      const bytes = readFileSync(file);
      if (bytes.length > 0) this.assertNone(bytes, path.relative(folder, file));
    }
  }

  /** Twice, since in base64 the last character may stand in part only. */
  #head(way: Way): string {
    return `${this.sign}${this.ways.indexOf(way).toString(36).repeat(2)}`;
  }
}

/** Links are not followed, as newer versions of Node do when they are asked for all at once: a suite links to this package. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const at = path.join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(at);
    return entry.isFile() ? [at] : [];
  });
}

const bytesOf = (text: string | Uint8Array) =>
  typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.buffer, text.byteOffset, text.byteLength);

function placeOf(bytes: Buffer, word: string): number | undefined {
  for (const trace of tracesOf(word)) {
    const at = bytes.indexOf(trace);
    if (at >= 0) return at;
  }
  return undefined;
}

const known = new Map<string, readonly Buffer[]>();

/** The forms in which a word of letters and digits may stand. JSON and URLs leave it as it is, or write each character as a number. */
function tracesOf(word: string): readonly Buffer[] {
  const before = known.get(word);
  if (before !== undefined) return before;
  const base64 = [0, 1, 2].flatMap((offset) => {
    const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(word)]);
    // The characters that no byte beside it has a part in: each is six bits.
    const ends = [Math.ceil((offset * 8) / 6), Math.floor((bytes.length * 8) / 6)] as const;
    return (['base64', 'base64url'] as const).map((form) => bytes.toString(form).slice(...ends));
  });
  const hex = [...Buffer.from(word)].map((byte) => byte.toString(16).padStart(2, '0'));
  const numbers = [
    hex.join(''),
    hex.join(' '),
    `%${hex.join('%')}`,
    `\\x${hex.join('\\x')}`,
    `\\u00${hex.join('\\u00')}`,
  ];
  const texts = [
    ...[word, word.toLowerCase(), word.toUpperCase()],
    ...base64,
    ...numbers.flatMap((text) => [text, text.replace(/[a-f]/g, (digit) => digit.toUpperCase())]),
    [...Buffer.from(word)].join(','),
  ];
  const wide = Buffer.from(word, 'utf16le');
  const traces = [...[...new Set(texts)].map((text) => Buffer.from(text)), wide, Buffer.from(wide).swap16()];
  known.set(word, traces);
  return traces;
}
