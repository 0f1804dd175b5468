import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { isPluginError } from '../../src/plugin-api/errors.js';
import { type LiteralValue, literals } from '../../src/plugin-api/literals.js';
import { renderPlaceholders } from '../../src/plugin-api/placeholders.js';
import { fromRoot } from '../support/paths.js';

test('inputs are rendered as flytekit renders them into queries', () => {
  const cases = JSON.parse(readFileSync(fromRoot('test/fixtures/placeholders/flytekit.json'), 'utf8')) as {
    template: string;
    inputs: Record<string, LiteralValue>;
    rendered: string;
  }[];
  assert.ok(cases.length >= 8);
  for (const { template, inputs, rendered } of cases) assert.equal(renderPlaceholders(template, { inputs }), rendered);
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

test('each kind of input has the form that the engine gives it', () => {
  const forms: [LiteralValue, string][] = [
    [true, 'true'],
    [null, ''],
    [2n ** 60n, '1152921504606846976'],
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    [['a', 1], '[a,1]'],
    [literals.duration(1_500), '1.5s'],
    [literals.blob('s3://b/file.csv'), 's3://b/file.csv'],
    [literals.structuredDataset('s3://b/table'), 's3://b/table'],
    [literals.struct({ a: [1] }), '{"a":[1]}'],
  ];
  for (const [value, form] of forms)
    assert.equal(renderPlaceholders('{{ .inputs.v }}', { inputs: { v: value } }), form);
});

test('an input that the task does not have, or that is no text, is refused as the task’s fault', () => {
  for (const name of ['absent', 'constructor', '__proto__', 'bytes', 'map']) {
    const inputs = { here: 1, bytes: new Uint8Array(2), map: { a: 1 } };
    assert.throws(
      () => renderPlaceholders(`{{ .inputs.${name} }}`, { inputs }),
      (error) => isPluginError(error) && error.code === 'PlaceholderUnrendered' && error.faultKind === 'USER',
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
