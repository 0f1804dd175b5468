import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compiledDirectory } from '../../src/cli/compile-cache.js';

test('compiled code is kept in the caches of the user, and nowhere where there are none or Node has its own place', () => {
  const dir = 'webapi-plugin-host/compiled';
  assert.equal(compiledDirectory({ XDG_CACHE_HOME: '/caches', HOME: '/h/u' }), `/caches/${dir}`);
  assert.equal(compiledDirectory({ XDG_CACHE_HOME: 'caches', HOME: '/h/u' }), `/h/u/.cache/${dir}`);
  assert.equal(compiledDirectory({ XDG_CACHE_HOME: '', HOME: '/h/u' }), `/h/u/.cache/${dir}`);
  for (const env of [{}, { HOME: '' }, { HOME: 'u' }, { HOME: '/h/u', NODE_COMPILE_CACHE: '/other' }]) {
    assert.equal(compiledDirectory(env), undefined);
  }
});
