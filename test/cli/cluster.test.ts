import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { JsonObject } from '../../src/lib/json.js';
import { makeSource, serveAdmin, TOKEN } from '../admin/support.js';
import { cli } from './support.js';

const env = { PLUGIN_HOST_ADMIN_TOKEN: TOKEN };

async function shown(t: TestContext, cluster: JsonObject): Promise<string[]> {
  const { url } = await serveAdmin(t, { source: { ...makeSource(), cluster: () => cluster } });
  const { code, stdout } = await cli(['cluster', '--admin', url], { env });
  assert.equal(code, 0);
  return stdout.trimEnd().split('\n');
}

function member(index: number, parts?: readonly number[], more: JsonObject = {}): JsonObject {
  return {
    epoch: `e${index}`,
    name: `plugin-host-6d5f9c7b9d-abcd${index}, process 1`,
    address: `10.244.1.1${index}:8000`,
    version: '0.1.0',
    owner: parts === undefined ? index === 0 : parts.length > 0,
    ownerSince: '2026-11-28T01:00:00.000Z',
    silentMs: index === 0 ? null : 240,
    ...(parts !== undefined && { parts: [...parts] }),
    ...more,
  };
}

/** Part by part, who has it. */
function spread(owners: readonly (number | null)[], members: readonly JsonObject[], more: JsonObject = {}): JsonObject {
  const parts = owners.map((index, part) => ({ part, owner: index === null ? null : `e${index}` }));
  return { enabled: true, role: 'owner', epoch: 'e0', members: [...members], parts, limits: [], ...more };
}

describe('plugin-host cluster', () => {
  it('says of a daemon alone that it is the only one', async (t) => {
    assert.deepEqual(await shown(t, { enabled: false }), ['This daemon is the only one: cluster.enabled is not set.']);
  });

  it('shows who works for all, and of parts nothing', async (t) => {
    const members = [member(0), member(1, undefined, { ownerSince: null })];
    const lines = await shown(t, { enabled: true, role: 'owner', epoch: 'e0', owner: 'e0', members });
    assert.match(lines[0]!, /^REPLICA +ROLE +ADDRESS +VERSION +OWNER SINCE +SILENT FOR$/);
    assert.match(lines[1]!, /abcd0, process 1 \(asked\) +owner +10\.244\.1\.10:8000 +0\.1\.0 +2026-11-28T01:00/);
    assert.match(lines[2]!, /abcd1, process 1 +standby +10\.244\.1\.11:8000 +0\.1\.0 +- +0\.2 s$/);
    assert.equal(lines.length, 3);
  });

  it('shows who has which parts and whose limits, what is on its way and what nobody has, within 80 columns', async (t) => {
    const owners = Array.from({ length: 32 }, (_, part) => (part % 8 === 7 ? null : part % 3));
    const partsOf = (index: number) => owners.flatMap((owner, part) => (owner === index ? [part] : []));
    const members = [
      member(0, partsOf(0)),
      member(1, partsOf(1), { unreachable: ['slurm'] }),
      member(2, partsOf(2), { leaving: true }),
    ];
    const limits = [
      { plugin: 'slurm', part: 4, owner: 'e1' },
      { plugin: 'demo', part: 7, owner: null },
    ];
    const cluster = spread(owners, members, { limits });
    (cluster.parts as { state?: string }[])[3]!.state = 'taking';
    const lines = await shown(t, cluster);
    for (const line of lines) assert.ok(line.length <= 80, line);
    assert.match(lines[0]!, /^REPLICA +ROLE +PARTS +ADDRESS +VERSION +SILENT$/);
    assert.match(lines[1]!, /^plugin-host-6d5f9c7b9d-abcd0 +owner +10 +10\.244\.1\.10:8000 +0\.1\.0 +-$/);
    assert.match(lines[3]!, /abcd2 +leaving +\d+ /);
    const text = lines.join('\n');
    assert.match(text, /^0, 6, 9, 12, 18, 21, +- +plugin-host-6d5f9c7b9d-abcd0\n24, 27, 30, 3 \(taking\)/m);
    assert.match(text, / slurm +plugin-host-6d5f9c7b9d-abcd1$/m);
    assert.match(text, /^7, 15, 23, 31 +demo +nobody$/m);
    assert.match(text, /^plugin-host-6d5f9c7b9d-abcd1 cannot reach the remote of slurm\.$/m);
    assert.equal(lines.at(-1), 'Asked was plugin-host-6d5f9c7b9d-abcd0.');
  });

  it('says what waits in the inbox for the one that was asked, and what others run for it', async (t) => {
    const members = [member(0), member(1, undefined, { ownerSince: null })];
    const one = { enabled: true, role: 'owner', epoch: 'e0', owner: 'e0', members };
    const alone = await shown(t, { ...one, inbox: { waiting: 2, running: 0, oldestMs: 12_345 } });
    assert.deepEqual(alone.slice(3), ['', 'Promises that wait in the inbox: 2, the oldest for 12.3 s.']);
    const cluster = spread([0, 0, 1], [member(0, [0, 1]), member(1, [2])]);
    Object.assign((cluster.parts as object[])[0]!, { inbox: { waiting: 2, running: 1, oldestMs: 500 } });
    Object.assign((cluster.parts as object[])[1]!, { inbox: { waiting: 1, running: 1, oldestMs: 2_000 } });
    assert.deepEqual((await shown(t, cluster)).slice(-5), [
      '',
      'Promises that wait in the inbox: 3, the oldest for 2.0 s.',
      'Runs of Do that go on at others: 2.',
      '',
      'Asked was plugin-host-6d5f9c7b9d-abcd0.',
    ]);
  });

  it('says which plugin rests, where it serves, and what keeps its limits from lying there', async (t) => {
    const servedBy = [
      { epoch: 'e1', lacks: ['demo', 'http'] },
      { epoch: 'e2', lacks: [] },
    ];
    const limits = [
      { plugin: 'demo', part: 0, owner: 'e0' },
      { plugin: 'slurm', part: 0, owner: 'e0', rests: { servedBy } },
    ];
    const lines = await shown(t, spread([0, 1], [member(0, [0]), member(1, [1]), member(2, [])], { limits }));
    for (const line of lines) assert.ok(line.length <= 80, line);
    assert.deepEqual(lines.slice(-6, -2), [
      'slurm rests: it does not serve at the owner of part 0, which has its limits,',
      '  plugin-host-6d5f9c7b9d-abcd0. It serves at',
      '  plugin-host-6d5f9c7b9d-abcd1, which lacks demo, http',
      '  plugin-host-6d5f9c7b9d-abcd2',
    ]);
  });

  it('names those that share a host by their processes', async (t) => {
    const on = (index: number, more: JsonObject = {}) =>
      member(index, index < 2 ? [index] : [], { name: `host, process ${index}`, ...more });
    const lines = await shown(t, spread([0, 1], [on(0), on(1), on(2, { leaving: true })]));
    assert.match(lines[3]!, /^host, process 2 +standby +0 /, 'it starts, and has nothing to leave');
    assert.match(lines[2]!, /^host, process 1 /);
    assert.equal(lines.at(-1), 'Asked was host, process 0.');
  });
});
