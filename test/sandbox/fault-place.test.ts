import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { placeOfFault } from '../../src/sandbox/fault-place.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { thrown as anyThrown } from '../support/thrown.js';

test('the place of a fault is the file and line that is wrong, also in a file that the plugin imports', async (t) => {
  const folder = tempFolder(t);
  writeTree(folder, {
    'whole.mjs': 'export const a = 1;\nexport default {\n  load() {\n',
    'cut.mjs': "import './lib/helper.mjs';\nexport default {};\n",
    'lib/helper.mjs': "import '../lib/deep.js';\n",
    'lib/deep.js': '// first\nexport const b = = 2;\n',
    'package.json': '{"type": "module"}',
    'names.mjs': "import { nothing } from './lib/fine.mjs';\n",
    'lib/fine.mjs': 'export const c = 3;\n',
    'throws.mjs': "const made = () => {\n  throw new Error('no good day');\n};\nmade();\n",
    'loop.mjs': "import './loop.mjs';\nimport './absent.mjs';\n",
  });
  const placeIn = async (name: string) => {
    const url = pathToFileURL(path.join(folder, name)).href;
    const place = await placeOfFault(await import(url).catch((error: unknown) => error), url);
    return place?.replaceAll(`${folder}${path.sep}`, '');
  };
  assert.equal(await placeIn('whole.mjs'), 'whole.mjs:4');
  assert.equal(await placeIn('cut.mjs'), 'lib/deep.js:2: export const b = = 2;');
  assert.match((await placeIn('names.mjs')) ?? '', /^names\.mjs:1: import \{ nothing \}/);
  assert.equal(await placeIn('throws.mjs'), 'throws.mjs:2');
  assert.equal(await placeIn('loop.mjs'), undefined);
});

test('whatever is thrown, a look for its place does no harm', async () => {
  await fc.assert(
    fc.asyncProperty(anyThrown, async (make) => {
      const place = await placeOfFault(make(), 'file:///nowhere/at-all.mjs');
      assert.ok(place === undefined || typeof place === 'string');
    }),
  );

  for (const thrown of [undefined, null, 'text', { stack: 7 }, Object.assign(new SyntaxError('x'), { stack: '' })]) {
    assert.equal(await placeOfFault(thrown, 'file:///nowhere/at-all.mjs'), undefined);
    assert.equal(await placeOfFault(thrown, 'data:text/javascript,1'), undefined);
  }
});
