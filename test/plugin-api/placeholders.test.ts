import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import type { CreateContext } from '../../src/plugin-api/contexts.js';
import { isPluginError } from '../../src/plugin-api/errors.js';
import { type LiteralType, type LiteralValue, literals } from '../../src/plugin-api/literals.js';
import { placeholdersOf, renderPlaceholders } from '../../src/plugin-api/placeholders.js';
import { fromRoot } from '../support/paths.js';

interface Arguments {
  readonly prefix: string;
  readonly rendered: Readonly<Record<string, string>>;
}

interface Flytekit {
  readonly inputs: readonly { name: string; type: string; literal: string; rendered: string }[];
  readonly queries: readonly { template: string; inputs: Record<string, LiteralValue>; rendered?: string }[];
  readonly arguments: Arguments;
}

interface Flyte {
  readonly inputs: readonly { readonly name: string; readonly rendered: string }[];
  readonly arguments: Arguments;
}

/** Made by scripts/fixtures/placeholders.py. */
const fixture = <T>(name: string): T =>
  JSON.parse(readFileSync(fromRoot('test', 'fixtures', 'placeholders', `${name}.json`), 'utf8'));
const flytekit = fixture<Flytekit>('flytekit');
const flyte = fixture<Flyte>('flyte');
const codec = makeLiteralCodec(loadFlyteidlCore());

test('inputs of each kind have the text that flytekit and flyte give them', () => {
  assert.ok(flytekit.inputs.length >= 60);
  for (const [at, { name, type, literal, rendered }] of flytekit.inputs.entries()) {
    const v = codec.read(Buffer.from(literal, 'base64'));
    const inputTypes = new Map([['v', codec.readType(Buffer.from(type, 'base64'))]]);
    const seen = renderPlaceholders('{{ .inputs.v }}', { inputs: { v }, inputTypes });
    assert.equal(seen, flyte.inputs[at]?.rendered, `flyte, ${name} ${at}`);
    // The two differ in booleans alone.
    if (name !== 'boolean') assert.equal(seen, rendered, `flytekit, ${name} ${at}`);
  }
});

test('placeholders are found where flytekit finds them in queries, and what it leaves alone stays', () => {
  assert.ok(flytekit.queries.length >= 10);
  for (const { template, inputs, rendered } of flytekit.queries) {
    if (rendered === undefined) assert.throws(() => renderPlaceholders(template, { inputs }), isPluginError, template);
    else assert.equal(renderPlaceholders(template, { inputs }), rendered);
  }
});

/** The context of `create` as far as placeholders are made of it. */
function contextOf(outputPrefix: string, parts: { execution?: string; nodeId?: string; generatedName?: string } = {}) {
  const { execution = 'test-run', nodeId = 'a1', generatedName = '7-f.x' } = parts;
  return {
    outputPrefix,
    idempotencyKey: 'key-1',
    taskReader: { read: () => ({ inputTypes: new Map<string, LiteralType>([['n', { simple: 'FLOAT' }]]) }) },
    inputReader: { get: async () => ({ n: 7 }) },
    taskExecutionMetadata: { generatedName, namespace: 'ns', taskExecutionId: { execution, nodeId } },
  } as unknown as CreateContext;
}

test('all other names are rendered as the connectors of flytekit and flyte render them in arguments', async () => {
  for (const { arguments: seen, names } of [
    { arguments: flytekit.arguments, names: /runName|actionName|runStartTime/ },
    { arguments: flyte.arguments, names: /$^/ },
  ]) {
    const { inputs: _, ...values } = await placeholdersOf(contextOf(seen.prefix));
    assert.ok(Object.keys(seen.rendered).length >= 10);
    for (const [template, rendered] of Object.entries(seen.rendered)) {
      // What flytekit does not know yet is rendered all the same.
      if (names.test(template) || template.includes('inputs')) continue;
      assert.equal(renderPlaceholders(template, values), rendered);
      const spaced = template.replace('{{.', '{{  .').replace('}}', '\t}}').toUpperCase();
      if (rendered !== template)
        assert.equal(renderPlaceholders(spaced, values), rendered.replace(/^--to/, '--TO').replace(/\/x:/, '/X:'));
    }
  }
});

test('what a context does not tell stays a placeholder, and its key is a name that any database takes', async () => {
  const values = await placeholdersOf(contextOf('', { execution: '', nodeId: '' }));
  const text = '{{.outputPrefix}} {{.rawOutputDataPrefix}} {{.input}} {{.runName}} {{.actionName}}';
  assert.equal(renderPlaceholders(text, values), text);
  assert.equal(
    renderPlaceholders('{{ .inputs.n }} {{.namespace}} t_{{ .PerRetryUniqueKey }}', values),
    '7.0 ns t_af_x',
  );
  const unnamed = await placeholdersOf(contextOf('s3://b/x/', { generatedName: '' }));
  assert.equal(renderPlaceholders('{{.perRetryUniqueKey}} {{.outputPrefix}}', unnamed), 'key_1 s3://b/x');
});

test('other placeholders are rendered where a value is given, in any case of letters, and stay as they are elsewhere', () => {
  const values = { outputPrefix: 's3://b/out', rawOutputDataPrefix: 's3://b/raw', runName: 'r1' };
  const text =
    '{{ .rawOutputDataPrefix }} {{.outputprefix}} {{$RunName}} {{.actionName}} {{ .toString }} {{ .runName.x }}';
  assert.equal(
    renderPlaceholders(text, values),
    's3://b/raw s3://b/out r1 {{.actionName}} {{ .toString }} {{ .runName.x }}',
  );
});

test('values that only TypeScript can make, or that come by reference, have a text too', () => {
  const forms: [LiteralValue, string][] = [
    [2n ** 60n, '1152921504606846976'],
    [new Date(0), '1970-01-01 00:00:00+00:00'],
    [literals.float(1), '1.0'],
    [literals.integer(1), '1'],
    // Below the microsecond Python cuts towards zero.
    [literals.exactDuration(0, -1_500), '-1 day, 23:59:59.999999'],
    [literals.exactDuration(1, 999_999_999), '0:00:01.999999'],
    [literals.blob('s3://b/file.csv'), 's3://b/file.csv'],
    [literals.multipartBlob('s3://b/folder'), 's3://b/folder'],
    [literals.schema('s3://b/schema'), 's3://b/schema'],
    [literals.structuredDataset('s3://b/table'), 's3://b/table'],
    [literals.struct({ a: [1, 0.5, null, true], b: 'x' }), "{'a': [1, 0.5, None, True], 'b': 'x'}"],
    [literals.msgpack({ a: 1n }), "{'a': 1}"],
    [literals.union('five', { simple: 'STRING' }), 'five'],
    [[literals.union(5, { simple: 'FLOAT' }), null], '[5.0, None]'],
    [{ a: 1, b: [true] }, "{'a': 1, 'b': [True]}"],
  ];
  for (const [value, form] of forms)
    assert.equal(renderPlaceholders('{{ .inputs.v }}', { inputs: { v: value } }), form);
});

test('an input that the task does not have, or that is no text, is refused as the task’s fault', () => {
  const inputs: Record<string, LiteralValue> = {
    here: 1,
    bytes: new Uint8Array(2),
    deep: [{ a: new Uint8Array(2) }],
    tagged: literals.binary(new Uint8Array(2), 'pickle'),
    error: literals.error('n0', 'it failed'),
    offloaded: literals.offloaded('s3://b/x', 7, null),
    never: new Date(Number.NaN),
  };
  for (const name of ['absent', 'constructor', '__proto__', 'bytes', 'deep', 'tagged', 'error', 'offloaded', 'never']) {
    assert.throws(
      () => renderPlaceholders(`{{ .inputs.${name} }}`, { inputs }),
      (error) =>
        isPluginError(error) &&
        error.code === 'PlaceholderUnrendered' &&
        error.faultKind === 'USER' &&
        error.message.includes(name),
      name,
    );
  }
});

test('what an input brings is never rendered again, and marks of replacement in it mean nothing', () => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.constantFrom('{{ .inputs.secret }}', '$&', "$'", '$1', '{{.runName}}'),
      (text, mark) => {
        const inputs = { a: text + mark, secret: 's' };
        assert.equal(renderPlaceholders('<{{ .inputs.a }}>', { inputs, runName: 'r' }), `<${text}${mark}>`);
      },
    ),
  );
});
