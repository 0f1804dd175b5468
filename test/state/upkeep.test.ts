import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { Upkeep } from '../../src/state/embedded/upkeep.js';
import { EmbeddedEngine } from '../../src/state/index.js';
import { tempFolder } from '../support/temp.js';

const MIB = 1024 * 1024;

function setUp({ bytes = 200, left = 200, tookMs = 0, fails = false } = {}) {
  const clock = new ManualClock();
  const seen = { bytes, compactions: 0, running: 0 };
  const upkeep = new Upkeep({
    clock,
    maxBytes: 100,
    measure: async () => seen.bytes,
    compact: async () => {
      seen.compactions += 1;
      seen.running += 1;
      assert.equal(seen.running, 1, 'one at a time');
      if (tookMs > 0) await new Promise<void>((resolve) => void clock.setTimer(tookMs, resolve));
      seen.running -= 1;
      if (fails) throw new Error('no room');
      seen.bytes = left;
    },
  });
  upkeep.start();
  return { clock, seen, upkeep };
}

async function pass(clock: ManualClock, seconds: number): Promise<void> {
  for (let i = 0; i < seconds; i++) await clock.advance(1_000);
}

describe('the upkeep of the embedded state', () => {
  it('takes out what was dropped once the state is above its bound, and knows then what it takes', async () => {
    const { clock, seen, upkeep } = setUp({ bytes: 100, left: 20 });
    upkeep.committed();
    await pass(clock, 60);
    assert.equal(seen.compactions, 0, 'not below it');
    seen.bytes = 101;
    await pass(clock, 6);
    assert.deepEqual([seen.compactions, upkeep.sizeBytes], [1, 20]);
  });

  it('leaves a state that is really full alone for thirty seconds, and until something was committed', async () => {
    const { clock, seen, upkeep } = setUp();
    await pass(clock, 100);
    assert.equal(seen.compactions, 0, 'nothing was committed');
    for (let i = 0; i < 100; i++) {
      upkeep.committed();
      await pass(clock, 1);
    }
    assert.equal(seen.compactions, 4);
    upkeep.stop();
    upkeep.committed();
    await pass(clock, 100);
    assert.equal(seen.compactions, 4, 'nor once it was stopped');
  });

  it('works for a tenth of the time at most, one compaction after the other, also where they fail', async () => {
    const { clock, seen, upkeep } = setUp({ tookMs: 20_000, fails: true });
    for (let i = 0; i < 1_000; i++) {
      upkeep.committed();
      await pass(clock, 1);
    }
    assert.ok(seen.compactions >= 4 && seen.compactions <= 5, String(seen.compactions));
  });

  it('gives the room of dropped facts back, with all that is left as it was', async (t) => {
    const clock = new ManualClock();
    const engine = new EmbeddedEngine({ dir: tempFolder(t), clock, maxBytes: 24 * MIB });
    await engine.open();
    t.after(() => engine.close());
    const payloads = Array.from({ length: 40 }, (_, i) => `payload/${i}`);
    for (const key of payloads) await engine.commit(new Map([[key, randomBytes(MIB)]]), []);
    const kept = new Map([['birth', randomBytes(200)]]);
    await engine.commit(kept, payloads);
    // The folder is measured, and written anew, beside what the test does.
    const look = async () => {
      await clock.advance(5_000);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return engine.sizeBytes;
    };
    for (let looks = 0; looks < 1_000 && (await look()) < 24 * MIB; looks++);
    let size = engine.sizeBytes;
    assert.ok(size > 24 * MIB, `${size} bytes are taken`);
    for (let looks = 0; looks < 1_000 && size > MIB; looks++) size = await look();
    assert.ok(size < MIB, `${size} bytes are left`);
    await engine.commit(new Map([['do/x', Buffer.from('x')]]), []);
    const found = new Map<string, Buffer>();
    for await (const batch of engine.load()) for (const [key, value] of batch) found.set(key, value);
    assert.deepEqual(found, new Map([...kept, ['do/x', Buffer.from('x')]]));
  });
});
