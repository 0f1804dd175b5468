import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { systemClock } from '../../src/lib/clock.js';
import { decodePair, EmbeddedEngine, factKey, inspectState, openFolderForInspection } from '../../src/state/index.js';
import { fromRoot } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';
import { SAMPLE, sampleFacts } from './sample-facts.js';

const fixtures = fromRoot('test', 'fixtures', 'state');
const releases = readdirSync(fixtures).filter((name) => name.endsWith('.json'));
/** What a release did not write yet reads as this. */
const UNTOLD: Readonly<Record<string, object>> = {
  '0.1.0/task': { undeliveredForMs: 0, delivered: false, failing: undefined, createFailingForMs: 0, waitedForMs: 0 },
  '0.1.0/bucket': { failingForMs: undefined, pausedUntilMs: undefined },
  '0.1.0/owed': { failingForMs: 0 },
  '0.1.0/unclear': { lookBoundMs: undefined },
  '0.1.0/birth': { endsKnownSinceMs: undefined },
  '0.1.0/routes': { plugins: SAMPLE.routes.plugins.map((plugin) => ({ ...plugin, failed: false })) },
};
const bare = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

it('there is the state of at least one release', () => {
  assert.ok(releases.includes('0.1.0.json'));
});

for (const release of releases) {
  it(`a state that ${release.replace('.json', '')} wrote is opened, whole, and says what it said then`, async (t) => {
    const dir = tempFolder(t);
    const files = JSON.parse(readFileSync(path.join(fixtures, release), 'utf8')) as Record<string, string>;
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
      writeFileSync(path.join(dir, name), Buffer.from(content, 'base64'));
    }
    assert.deepEqual(
      (await inspectState(await openFolderForInspection(dir))).problems.filter(
        (problem) => !problem.includes('is missing'),
      ),
      [],
    );
    const engine = new EmbeddedEngine({ dir, clock: systemClock });
    await engine.open();
    t.after(() => engine.close());
    const facts = new Map<string, unknown>();
    for await (const batch of engine.load()) {
      for (const [key, value] of batch) facts.set(key, decodePair(key, value).fact);
    }
    for (const { kind, name, fact } of sampleFacts()) {
      const untold = UNTOLD[`${release.replace('.json', '')}/${kind}`];
      assert.deepEqual(bare(facts.get(factKey(kind, name))), bare({ ...fact, ...untold }), kind);
    }
    assert.equal(facts.size, sampleFacts().length);
  });
}
