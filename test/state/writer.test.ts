import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../src/lib/clock.js';
import { type FactKey, type FactSource, noState, type StateTrouble, StateWriter } from '../../src/state/index.js';
import { CrashEngine } from './engines.js';

/** Facts that are their own texts. */
class Memory implements FactSource {
  readonly facts = new Map<FactKey, string>();
  /** Keys whose fact cannot be encoded. */
  readonly broken = new Set<FactKey>();

  fact(key: FactKey): Buffer | undefined {
    if (this.broken.has(key)) throw new TypeError('no such thing can be written');
    const text = this.facts.get(key);
    return text === undefined ? undefined : Buffer.from(text);
  }

  keys(): Iterable<FactKey> {
    return this.facts.keys();
  }
}

const codeOf = (writer: StateWriter): string | undefined => writer.trouble?.code;

function setUp(engine = new CrashEngine(), maxBytes = 0) {
  const clock = new ManualClock();
  const source = new Memory();
  const told: string[] = [];
  const writer = new StateWriter({
    engine,
    source,
    clock,
    random: () => 0.5,
    maxBytes,
    events: {
      committed: (_ms, facts) => told.push(`committed ${facts}`),
      failed: (code) => told.push(`failed ${code}`),
      degraded: ({ code }: StateTrouble) => told.push(`degraded ${code}`),
      mended: (ms) => told.push(`mended after ${ms}`),
      fault: (key) => told.push(`fault ${key}`),
    },
  });
  const set = (key: FactKey, text: string | undefined) => {
    if (text === undefined) source.facts.delete(key);
    else source.facts.set(key, text);
    writer.changed(key);
  };
  const settled = async (promise: Promise<unknown>) => {
    let done = false;
    void promise.then(() => {
      done = true;
    });
    await clock.advance(0);
    return done;
  };
  const onDisk = () => Object.fromEntries([...engine.disk.facts].map(([key, value]) => [key, String(value)]));
  return { clock, source, told, writer, set, settled, onDisk, engine };
}

describe('the writer of facts', () => {
  it('writes awaited changes within milliseconds as one commit, and others within a tenth of a second', async () => {
    const { clock, writer, set, settled, onDisk, engine } = setUp();
    set('a', '1');
    await clock.advance(99);
    assert.equal(engine.asked, 0, 'nobody waits for it');
    await clock.advance(1);
    assert.deepEqual(onDisk(), { a: '1' });
    set('b', '1');
    const safe = writer.safe();
    set('c', '1');
    assert.equal(await settled(safe), false);
    await clock.advance(2);
    assert.equal(await settled(safe), true);
    assert.deepEqual(onDisk(), { a: '1', b: '1', c: '1' });
    assert.equal(engine.asked, 2);
  });

  it('says that nothing is unsafe where nothing changed, and waits for what is under way', async () => {
    const { clock, writer, set, settled, engine } = setUp();
    assert.equal(await settled(writer.safe()), true);
    engine.hold();
    set('a', '1');
    void writer.safe();
    await clock.advance(2);
    const underWay = writer.safe();
    assert.equal(await settled(underWay), false, 'handed over and not safe yet');
    engine.release();
    assert.equal(await settled(underWay), true);
  });

  it('writes a fact as it stands when its group is written, once, and drops what is gone', async () => {
    const { clock, writer, set, onDisk, told } = setUp();
    set('a', '1');
    set('b', '1');
    await clock.advance(100);
    for (let i = 2; i < 50; i++) set('a', String(i));
    set('b', undefined);
    set('never', '1');
    set('never', undefined);
    void writer.safe();
    await clock.advance(2);
    assert.deepEqual(onDisk(), { a: '49' });
    assert.deepEqual(told, ['committed 2', 'committed 3']);
  });

  it('has one commit under way at a time, and writes what is awaited meanwhile right after it', async () => {
    const { clock, writer, set, settled, engine, onDisk } = setUp();
    engine.hold();
    set('a', '1');
    const first = writer.safe();
    await clock.advance(2);
    set('a', '2');
    const second = writer.safe();
    set('b', '1');
    await clock.advance(500);
    assert.equal(engine.asked, 1);
    const seen: unknown[] = [];
    void first.then(() => seen.push(onDisk()));
    engine.release();
    assert.equal(await settled(second), true, 'no time passes between the two');
    assert.deepEqual(seen, [{ a: '1' }], 'the value that was handed over');
    assert.deepEqual(onDisk(), { a: '2', b: '1' });
    assert.equal(engine.asked, 2);
  });

  it('leaves what nobody awaits to gather once a commit is done', async () => {
    const { clock, writer, set, engine } = setUp();
    engine.hold();
    set('a', '1');
    void writer.safe();
    await clock.advance(2);
    set('a', '2');
    engine.release();
    await clock.advance(1);
    assert.equal(engine.asked, 1);
    await clock.advance(1);
    assert.equal(engine.asked, 2);
  });

  it('is degraded while the engine fails, keeps everybody waiting, and mends itself with nothing lost', async () => {
    const { clock, writer, set, settled, engine, onDisk, told } = setUp();
    engine.failWith = 'STATE_DISK_FULL';
    set('a', '1');
    const first = writer.safe();
    await clock.advance(2);
    assert.equal(writer.trouble?.code, 'STATE_DISK_FULL');
    set('a', '2');
    set('b', '1');
    const second = writer.safe();
    await clock.advance(60_000);
    assert.equal(await settled(first), false);
    assert.equal(await settled(second), false);
    assert.ok(engine.asked > 5 && engine.asked < 40, `tried ${engine.asked} times, with growing distances`);
    assert.ok(writer.lagMs >= 60_000);
    engine.failWith = 'STATE_READ_ONLY';
    await clock.advance(10_000);
    assert.equal(writer.trouble?.code, 'STATE_READ_ONLY');
    engine.failWith = undefined;
    await clock.advance(10_000);
    assert.equal(await settled(Promise.all([first, second])), true);
    assert.deepEqual(onDisk(), { a: '2', b: '1' });
    assert.equal(writer.trouble, undefined);
    assert.equal(writer.lagMs, 0);
    assert.deepEqual(
      told.filter((line) => line.startsWith('degraded')),
      ['degraded STATE_DISK_FULL', 'degraded STATE_READ_ONLY'],
    );
    assert.equal(told.filter((line) => line.startsWith('mended')).length, 1);
  });

  it('is degraded while one commit takes seconds, and not by one that takes less', async () => {
    const { clock, writer, set, engine } = setUp();
    engine.hold();
    set('a', '1');
    void writer.safe();
    await clock.advance(1_900);
    assert.equal(codeOf(writer), undefined);
    await clock.advance(200);
    assert.equal(codeOf(writer), 'STATE_SLOW');
    engine.release();
    await clock.advance(0);
    assert.equal(codeOf(writer), undefined);
  });

  it('writes everything anew after the state was lost', async () => {
    const { clock, set, engine, onDisk } = setUp();
    set('a', '1');
    set('b', '1');
    await clock.advance(100);
    engine.disk.facts.clear();
    engine.failWith = 'STATE_LOST';
    set('b', '2');
    await clock.advance(100);
    engine.failWith = undefined;
    await clock.advance(10_000);
    assert.deepEqual(onDisk(), { a: '1', b: '2' });
  });

  it('leaves out one fact that cannot be encoded, says so, and writes the others', async () => {
    const { clock, writer, source, set, settled, onDisk, told } = setUp();
    source.broken.add('bad');
    set('bad', '1');
    set('good', '1');
    const safe = writer.safe();
    await clock.advance(2);
    assert.equal(await settled(safe), true);
    assert.deepEqual(onDisk(), { good: '1' });
    assert.ok(told.includes('fault bad'));
  });

  it('refuses what is new while the state is over its bound, and nothing else', async () => {
    const engine = new CrashEngine();
    const { clock, writer, set, onDisk } = setUp(engine, 1_000);
    engine.sizeBytes = 1_000;
    writer.assertRoom();
    engine.sizeBytes = 1_001;
    assert.throws(() => writer.assertRoom(), { code: 'STATE_FULL', retryable: true });
    set('a', '1');
    await clock.advance(100);
    assert.deepEqual(onDisk(), { a: '1' });
  });

  it('writes what is left when it closes, and rejects where that is not possible', async () => {
    const whole = setUp();
    whole.set('a', '1');
    await whole.writer.close();
    assert.deepEqual(whole.onDisk(), { a: '1' });
    assert.equal(whole.clock.pending, 0);

    const broken = setUp();
    broken.engine.failWith = 'STATE_UNWRITABLE';
    broken.set('a', '1');
    await broken.clock.advance(150);
    await assert.rejects(broken.writer.close(), { code: 'STATE_UNWRITABLE' });
    await assert.rejects(broken.writer.close(), { code: 'STATE_UNWRITABLE' }, 'the same, asked again');
    assert.equal(broken.clock.pending, 0);
  });

  it('keeps nothing, and keeps nobody waiting, where no state is configured', async () => {
    const clock = new ManualClock();
    const writer = new StateWriter({ engine: noState, source: new Memory(), clock, random: () => 0, maxBytes: 0 });
    writer.changed('a');
    await writer.safe();
    assert.equal(clock.pending, 0);
    assert.equal(writer.durable, false);
  });

  it('never tells as safe what a loss of power takes back, and loses no part of a change alone', async () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('change' as const),
        keys: fc.uniqueArray(fc.nat(5), { minLength: 1 }),
        wait: fc.boolean(),
      }),
      fc.record({ kind: fc.constant('time' as const), ms: fc.nat(150) }),
      fc.record({ kind: fc.constantFrom('hold' as const, 'release' as const, 'fail' as const, 'mend' as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { clock, writer, set, engine, onDisk } = setUp();
        let change = 0;
        let safe = 0;
        for (const one of steps) {
          if (one.kind === 'change') {
            const mine = ++change;
            for (const key of one.keys) set(`k${key}`, String(mine));
            set('change', String(mine));
            const told = one.wait ? writer.safe() : Promise.resolve();
            if (one.wait) {
              void told.then(() => {
                safe = Math.max(safe, mine);
              });
            }
          } else if (one.kind === 'time') await clock.advance(one.ms);
          else if (one.kind === 'hold') engine.hold();
          else if (one.kind === 'release') engine.release();
          else engine.failWith = one.kind === 'fail' ? 'STATE_UNWRITABLE' : undefined;
        }
        await clock.advance(0);
        engine.powerLoss();
        await clock.advance(10_000);
        const disk = onDisk();
        const last = Number(disk.change ?? 0);
        assert.ok(last >= safe, `change ${safe} was told as safe, and ${last} is the last one there`);
        for (const value of Object.values(disk)) assert.ok(Number(value) <= last, 'a part of a later change is there');
      }),
    );
  });
});
