import { type Node, parse } from 'acorn';
import { full } from 'acorn-walk';
import { PLUGIN_METHODS } from '../../src/model/plugin-methods.js';

/** Names that stand for nothing but a method of plugins; `create` and `get` are words of many. */
const PECULIAR: ReadonlySet<string> = new Set(
  PLUGIN_METHODS.filter((name) => !['create', 'get', 'delete', 'do'].includes(name)),
);
const ALL: ReadonlySet<string> = new Set(PLUGIN_METHODS);

/**
 * Lines of compiled code where a list of plugin methods begins: an object with three of their names as keys, a list or a
 * switch with two of them as texts.
 */
export function methodLists(code: string): number[] {
  return linesWhere(code, (node) => {
    const { type, properties = [], elements = [], cases = [] } = node as Parts;
    if (type === 'ObjectExpression') return keysOf(properties).filter((name) => PECULIAR.has(name)).length >= 3;
    if (type === 'ArrayExpression') return elements.filter((one) => ALL.has(String(one?.value))).length >= 2;
    return type === 'SwitchStatement' && cases.filter(({ test }) => ALL.has(String(test?.value))).length >= 2;
  });
}

/** Lines of compiled code where an object is put together that has the fields of a PluginFailure. */
export function madeFailures(code: string): number[] {
  return linesWhere(code, (node) => {
    const { type, properties = [] } = node as Parts;
    if (type !== 'ObjectExpression') return false;
    const keys = keysOf(properties);
    return ['kind', 'faultKind', 'retryAfterMs'].every((name) => keys.includes(name));
  });
}

interface Parts {
  readonly type: string;
  readonly properties?: readonly { readonly key?: { readonly name?: string; readonly value?: unknown } }[];
  readonly elements?: readonly ({ readonly value?: unknown } | null)[];
  readonly cases?: readonly { readonly test: { readonly value?: unknown } | null }[];
}

function keysOf(properties: NonNullable<Parts['properties']>): string[] {
  return properties.flatMap(({ key }) => (key === undefined ? [] : [key.name ?? String(key.value)]));
}

function linesWhere(code: string, matches: (node: Node) => boolean): number[] {
  const found: number[] = [];
  full(parse(code, { ecmaVersion: 'latest', sourceType: 'module', locations: true }), (node) => {
    if (matches(node)) found.push(node.loc?.start.line ?? 0);
  });
  return found.sort((a, b) => a - b);
}
