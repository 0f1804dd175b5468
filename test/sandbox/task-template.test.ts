import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { readTaskInterface } from '../../src/data/task-interface.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import { makeTaskReader } from '../../src/sandbox/task-template.js';
import { fromRoot } from '../support/paths.js';

const idl = loadFlyteidlCore();
const literals = makeLiteralCodec(idl);
const read = (template: Buffer) =>
  makeTaskReader(template, idl.codec('flyteidl.core.TaskTemplate'), (bytes) =>
    readTaskInterface(literals, bytes),
  ).read();

test('templates that the real SDKs compiled show the declared types of each input and output by its name', () => {
  let files = 0;
  for (const engine of ['flyte1', 'flyte2']) {
    const folder = fromRoot('test/interop/fixtures', engine);
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.template.pb'))) {
      files += 1;
      const { inputNames, inputTypes, outputNames, outputTypes } = read(readFileSync(`${folder}/${file}`));
      assert.deepEqual([...inputTypes.keys()], inputNames, file);
      assert.deepEqual([...outputTypes.keys()], outputNames, file);
      for (const type of [...inputTypes.values(), ...outputTypes.values()]) {
        assert.ok(Object.keys(type).length > 0, file);
      }
    }
  }
  assert.ok(files >= 8, `${files} templates`);
  const { inputTypes } = read(readFileSync(fromRoot('test/interop/fixtures/flyte1/kinds.template.pb')));
  assert.equal(inputTypes.get('an_integer')?.simple, 'INTEGER');
  assert.equal(inputTypes.get('a_nested_list')?.collectionType?.collectionType?.simple, 'STRING');
  assert.equal(inputTypes.get('a_map')?.mapValueType?.simple, 'INTEGER');
  assert.equal(inputTypes.get('an_optional')?.unionType?.variants.length, 2);
});

test('a template without an interface declares nothing', () => {
  const { inputNames, outputNames, inputTypes, outputTypes } = read(
    idl.codec('flyteidl.core.TaskTemplate').encode({ type: 'job' }),
  );
  assert.deepEqual([inputNames, outputNames, inputTypes.size, outputTypes.size], [[], [], 0, 0]);
});
