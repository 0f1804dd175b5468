import type { AnyLeaf } from '../model/options/leaf.js';
import { CONFIG_SCHEMA } from '../model/options/schema.js';
import type { Node, Section } from '../model/options/spec.js';
import { defaultOf, expectedOf, showValue } from '../model/options/values.js';
import { keyText } from './problems.js';
import { variables } from './sources.js';

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ').replaceAll('<', '&lt;');

function defaultText(leaf: AnyLeaf): string {
  if (leaf.presence === 'required') return '*required*';
  if (leaf.written === undefined) return '*not set*';
  const written = `\`${JSON.stringify(showValue(leaf, defaultOf(leaf)))}\``;
  return leaf.presence === 'optional' ? `the plugin’s, or ${written}` : written;
}

interface Row {
  readonly key: string;
  readonly cells: readonly string[];
}

/** The reference of all options as Markdown, made from the schema. */
export function configReference(schema: Section = CONFIG_SCHEMA): string {
  const env = new Map([...variables(schema)].map(([name, { path }]) => [path.join('.'), name]));
  const parts: string[] = [];
  for (const [key, node] of Object.entries(schema.fields)) {
    const rows: Row[] = [];
    collect(node, [key], rows, env);
    parts.push(`## \`${key}\``, '', node.doc, '');
    parts.push('| Key | Type | Default | Meaning | Environment |', '| --- | --- | --- | --- | --- |');
    for (const row of rows) parts.push(`| \`${row.key.replaceAll('|', '\\|')}\` | ${row.cells.join(' | ')} |`);
    parts.push('');
  }
  return parts.join('\n');
}

function collect(node: Node, at: readonly string[], rows: Row[], env: ReadonlyMap<string, string>): void {
  const key = at.map((part) => (part.startsWith('<') ? part : keyText([part]))).join('.');
  const variable = env.get(at.join('.'));
  const row = (type: string, fallback: string, doc: string) =>
    rows.push({ key, cells: [cell(type), cell(fallback), cell(doc), variable === undefined ? '' : `\`${variable}\``] });
  switch (node.node) {
    case 'section':
      for (const [name, child] of Object.entries(node.fields)) collect(child, [...at, name], rows, env);
      return;
    case 'map':
      row(node.listKey === undefined ? 'map' : 'map or list', '`{}`', `${node.doc} A key is ${node.keyExpected}.`);
      collect(node.value, [...at, `<${node.keyName}>`], rows, env);
      return;
    case 'free':
      row('object', '`{}`', node.doc);
      return;
    case 'leaf':
      row(
        node.takes.type,
        defaultText(node),
        `${node.doc}${node.sensitive ? ' Sensitive.' : ''} Takes ${expectedOf(node).replace(/, as text with a unit.*$/, '')}.`,
      );
      return;
    default:
      node satisfies never;
  }
}
