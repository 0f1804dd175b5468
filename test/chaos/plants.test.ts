import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { compiled } from '../support/paths.js';
import { assertPlantable, PLANTS } from './plants.js';

const below = (room: string, file: string) => compiled(`${room}/${file.replace(/\.js$/, '.ts')}`);

test('each planted bug finds its place in the code as it is, and tests that may notice it', () => {
  for (const plant of PLANTS) {
    assertPlantable(plant, readFileSync(below('src', plant.file), 'utf8'));
    for (const file of plant.tests) assert.ok(existsSync(below('test', file)), file);
  }
  assert.equal(new Set(PLANTS.map(({ name }) => name)).size, PLANTS.length);
});
