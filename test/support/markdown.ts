import assert from 'node:assert/strict';

/** The fenced blocks of a document, in their order. */
export function codeBlocks(document: string): { readonly language: string; readonly text: string }[] {
  return [...document.matchAll(/^```(\w+)\n([\s\S]*?)^```/gm)].map(([, language = '', text = '']) => ({
    language,
    text,
  }));
}

/** The block whose text begins with this line; fails where there is none. */
export function codeBlock(document: string, firstLine: string): string {
  const found = codeBlocks(document).find(({ text }) => text.startsWith(firstLine));
  assert.ok(found, `no code block starts with ${firstLine}`);
  return found.text;
}

/** What stands between a heading and the next one of its level or above. */
export function section(document: string, heading: string): string {
  const from = document.indexOf(`${heading}\n`);
  assert.ok(from >= 0, `no heading ${heading}`);
  const level = /^#+/.exec(heading)?.[0].length ?? 1;
  const rest = document.slice(from + heading.length);
  // A comment in a block may look like a heading.
  const end = rest
    .replace(/^```[\s\S]*?^```/gm, (block) => block.replaceAll('#', ' '))
    .search(new RegExp(`^#{1,${level}} `, 'm'));
  return end < 0 ? rest : rest.slice(0, end);
}
