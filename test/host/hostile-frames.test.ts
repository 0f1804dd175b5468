import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { fixture, resourceArgs, startHost, untilState } from './support.js';

/** A test that hangs fails. */
const BOUND = { timeout: 120_000 };

/** What a process does on its channel -> why it is ended. */
const WHY: Readonly<Record<string, RegExp>> = {
  references: /refers to its bytes more than once|nobody asked for/,
  smallValues: /bytes of text/,
  smallValuesInBounds: /more values than|nobody asked for/,
  nested: /bytes of text|above the bound/,
  nestedInBounds: /nested too deeply|more values than/,
  lines: /log lines a second/,
  largeLines: /bytes of log lines a second/,
  fullLines: /bytes of log lines a second/,
  metrics: /measurements a second/,
  pongs: /"pong" that nobody asked for/,
  answers: /"answer" that nobody asked for/,
  errors: /"error" that nobody asked for/,
  ready: /"ready" that nobody asked for/,
  closed: /"closed" that nobody asked for/,
  loaded: /"loaded" has fields of the wrong type/,
  constructorCode: /"failed" has fields of the wrong type/,
  protoCode: /"failed" has fields of the wrong type/,
  protoKind: /no known kind/,
  garbage: /above the bound/,
  hugeLength: /above the bound/,
  hugeText: /bytes of text/,
};

test('every way to misuse the channel that the plugin knows is looked at', async () => {
  const { ATTACKS } = (await import(pathToFileURL(fixture('hostile.mjs')).href)) as { ATTACKS: object };
  assert.deepEqual(Object.keys(WHY), Object.keys(ATTACKS));
});

for (const [attack, why] of Object.entries(WHY)) {
  test(`a process that sends "${attack}" on its channel is ended for it, and started again`, BOUND, async (t) => {
    const { plugin, changes } = await startHost(t, [{ source: './hostile.mjs' }, { source: './steady.mjs' }]);
    const hostile = plugin('hostile');
    const steady = plugin('steady');
    const steadyPid = steady.pid;
    const restarting = untilState(hostile, 'restarting');
    await hostile.call('get', resourceArgs({ attack }), { deadlineMs: undefined });
    await restarting;
    const { reason } = changes.find((change) => change.state === 'restarting')!;
    assert.match(reason, /broke the channel/);
    assert.match(reason, why);
    await untilState(hostile, 'serving');
    const outcome = await steady.call('get', resourceArgs({ job: 'a' }), { deadlineMs: undefined });
    assert.equal(outcome.ok, true);
    assert.equal(steady.pid, steadyPid, 'the other plugin keeps its process');
  });
}
