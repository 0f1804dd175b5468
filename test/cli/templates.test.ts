import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { readTemplate } from '../../src/cli/task-files.js';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { readTaskInterface } from '../../src/data/task-interface.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import { makeTaskReader } from '../../src/sandbox/task-template.js';
import { fromRoot } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';

type Typed = { readonly [kind: string]: unknown };

interface Template {
  readonly type: string;
  readonly interface?: {
    readonly [side in 'inputs' | 'outputs']?: { readonly variables?: Readonly<Record<string, { type: Typed }>> };
  };
}

/** Made by scripts/fixtures/task_templates.py. */
const cases: Record<string, { readonly json: Template; readonly protobuf: string }> = JSON.parse(
  readFileSync(fromRoot('test', 'fixtures', 'templates.json'), 'utf8'),
);

const idl = loadFlyteidlCore();
const codec = idl.codec('flyteidl.core.TaskTemplate');
const literals = makeLiteralCodec(idl);

/** What is declared, by name: the kind of the type, and its value where it is a simple one. */
function declared(template: Template, side: 'inputs' | 'outputs'): [string, string, unknown][] {
  const variables = Object.entries(template.interface?.[side]?.variables ?? {});
  return variables.map(([name, { type }]): [string, string, unknown] => [name, ...kindOf(type)]).sort();
}

const KINDS = [
  'simple',
  'schema',
  'collectionType',
  'mapValueType',
  'blob',
  'enumType',
  'structuredDatasetType',
  'unionType',
];

function kindOf(type: Typed): [string, unknown] {
  const kinds = KINDS.filter((kind) => type[kind] !== undefined);
  assert.equal(kinds.length, 1, `a type of the kinds ${kinds.join(', ')}`);
  const [kind] = kinds as [string];
  return [kind, kind === 'simple' ? type[kind] : undefined];
}

test('run takes the JSON of each template that flytekit and its plugins compile, and reads what their protobuf says', async (t) => {
  const cwd = tempFolder(t);
  const types = new Set<string>();
  for (const [name, { json, protobuf }] of Object.entries(cases)) {
    types.add(json.type);
    const file = `${name}.json`;
    writeFileSync(path.join(cwd, file), JSON.stringify(json));
    const bytes = await readTemplate(idl, file, { cwd, stdin: new PassThrough() as never });
    assert.deepEqual(codec.decode(bytes), codec.decode(Buffer.from(protobuf, 'base64')), name);
  }
  assert.ok(types.size >= 30, [...types].join(', '));
});

test('a plugin is shown the declared type of each of their inputs and outputs', () => {
  let seen = 0;
  for (const [name, { json, protobuf }] of Object.entries(cases)) {
    const template = Buffer.from(protobuf, 'base64');
    const shown = makeTaskReader(template, codec, (bytes) => readTaskInterface(literals, bytes)).read();
    assert.equal(shown.type, json.type);
    for (const [side, types] of [
      ['inputs', shown.inputTypes],
      ['outputs', shown.outputTypes],
    ] as const) {
      const found = [...types].map(([key, type]): [string, string, unknown] => [
        key,
        ...kindOf(type as unknown as Typed),
      ]);
      assert.deepEqual(found.sort(), declared(json, side), `${side} of ${name}`);
      seen += found.length;
    }
  }
  assert.ok(seen >= 30, `${seen} variables`);
});
