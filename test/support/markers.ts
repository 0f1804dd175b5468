import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/**
 * Secrets of a test, one for each way by which one comes in, that can be told from everything else wherever they turn up: as they are,
 * cut short, in JSON or a URL, in base64 wherever it begins, in hex.
 */
export class Markers<Way extends string> {
  readonly ways: readonly Way[];

  constructor(ways: readonly Way[]) {
    this.ways = ways;
  }

  /** What stands in every form of the secret of this way; letters and digits. */
  core(way: Way): string {
    return `Walk${this.ways.indexOf(way)}${way}Zq`;
  }

  /** The secrets whose traces the text shows. */
  shownIn(text: string): Way[] {
    return this.ways.filter((way) => this.#traces(way).some((trace) => text.includes(trace)));
  }

  /** Fails with what is shown, and where; also where there is nothing to look at. */
  assertNone(text: string, where: string): void {
    assert.ok(text.length > 0, `${where} is empty`);
    const shown = this.shownIn(text);
    const [first] = shown;
    const trace = first === undefined ? '' : this.#traces(first).find((each) => text.includes(each));
    const at = text.indexOf(trace ?? '');
    assert.deepEqual(shown, [], `${where} shows secrets: …${text.slice(Math.max(0, at - 150), at + 50)}…`);
  }

  /** Every file below a folder, as bytes. */
  assertNoneBelow(folder: string): void {
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    assert.ok(files.length > 0, `${folder} holds no files`);
    for (const { name, parentPath } of files) {
      const text = readFileSync(path.join(parentPath, name), 'latin1');
      if (text.length > 0) this.assertNone(text, name);
    }
  }

  #traces(way: Way): string[] {
    const core = this.core(way);
    const base64 = [0, 1, 2].flatMap((offset) => {
      const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(core)]);
      // The characters that no byte beside it has a part in: each is six bits.
      const ends = [Math.ceil((offset * 8) / 6), Math.floor((bytes.length * 8) / 6)] as const;
      return (['base64', 'base64url'] as const).map((form) => bytes.toString(form).slice(...ends));
    });
    const hex = [...Buffer.from(core)].map((byte) => byte.toString(16).padStart(2, '0'));
    return [core, core.slice(0, 9), ...base64, hex.join(''), hex.join(' ')];
  }
}
