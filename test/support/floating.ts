import { withoutCommentsAndTemplates } from './imports.js';

const promising =
  /^import\s+(?:\*\s+as\s+(\w+)|(\w+)?,?\s*(?:\{([^}]*)\})?)\s+from\s+'node:(?:\w+\/promises|events)'/gm;

/** The local names of what node's promise modules export: functions, and namespaces whose members are functions. */
function promisingNames(text: string): { calls: string[]; namespaces: string[] } {
  const calls: string[] = [];
  const namespaces: string[] = [];
  for (const [statement, star, whole, named] of text.matchAll(promising)) {
    const fromEvents = statement.endsWith("events'");
    if (!fromEvents && (star ?? whole)) namespaces.push((star ?? whole) as string);
    for (const part of named?.split(',') ?? []) {
      const [original, local] = part.trim().split(/\s+as\s+/);
      if (original && !original.startsWith('type ') && (!fromEvents || original === 'once'))
        calls.push(local ?? original);
    }
  }
  return { calls, namespaces };
}

/** What stands after the call whose opening bracket is at `open`: a `{` or `:` makes it the head of a method. */
function afterCall(text: string, open: number): string {
  let depth = 0;
  for (let at = open; at < text.length; at += 1) {
    if (text[at] === '(') depth += 1;
    if (text[at] === ')') depth -= 1;
    if (depth === 0)
      return text
        .slice(at + 1)
        .trimStart()
        .slice(0, 1);
  }
  return '';
}

/**
 * Lines on which a promise of one of node's own modules is dropped: a statement that begins with a call of a name
 * imported from `node:fs/promises` and its like, or of `once` from `node:events`. Biome 2.6 does not know these types.
 */
export function findFloatingNodePromises(source: string): number[] {
  const text = withoutCommentsAndTemplates(source);
  const { calls, namespaces } = promisingNames(text);
  const callee = [...calls, ...namespaces.map((name) => `${name}\\.\\w+`)].join('|');
  if (callee === '') return [];
  const statement = new RegExp(`(?<=[;{}]\\s*)(?<![\\w.$])(?:${callee})\\(`, 'g');
  return [...text.matchAll(statement)]
    .filter((match) => !/[{:.]/.test(afterCall(text, match.index + match[0].length - 1)))
    .map((match) => text.slice(0, match.index).split('\n').length);
}
