import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { HostError } from '../../src/errors/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { decodePair, EmbeddedEngine, encodeFact, type Fact, factKey } from '../../src/state/index.js';
import { compiled } from '../support/paths.js';
import { start } from '../support/spawn.js';
import { tempFolder } from '../support/temp.js';
import { encoded, SAMPLE, sampleFacts } from './sample-facts.js';

function engineAt(dir: string): EmbeddedEngine {
  return new EmbeddedEngine({ dir, clock: systemClock });
}

async function loaded(engine: EmbeddedEngine): Promise<Map<string, Buffer>> {
  const facts = new Map<string, Buffer>();
  for await (const batch of engine.load()) for (const [key, value] of batch) facts.set(key, value);
  return facts;
}

/** A state with commits that add, change and drop, closed again. */
async function stateAt(dir: string, commits = 20): Promise<Map<string, Buffer>> {
  const engine = engineAt(dir);
  await engine.open();
  await engine.commit(encoded(), []);
  for (let i = 0; i < commits; i++) {
    const puts = new Map([[`do/k${i}`, encodeFact('do', `k${i}`, SAMPLE.do)]]);
    await engine.commit(puts, i > 5 ? [`do/k${i - 5}`] : []);
  }
  const facts = await loaded(engine);
  await engine.close();
  return facts;
}

const database = (dir: string): string => path.join(dir, 'db');

/** What every file of a folder holds, and when it was changed last. */
function contents(dir: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    const file = path.join(dir, name);
    const { mtimeMs, ctimeMs, mode } = statSync(file);
    const content = statSync(file).isFile() ? readFileSync(file, 'base64') : '';
    files.set(name, `${mode} ${mtimeMs} ${ctimeMs} ${content}`);
  }
  return files;
}

/** The facts of a state that may be damaged; undefined where it is refused as such. */
async function read(dir: string): Promise<Map<string, Buffer> | undefined> {
  const engine = engineAt(dir);
  try {
    await engine.open();
    const facts = await loaded(engine);
    for (const [key, value] of facts) decodePair(key, value);
    return facts;
  } catch (error) {
    if (HostError.is(error) && error.code === 'STATE_DAMAGED') return undefined;
    throw error;
  } finally {
    await engine.close();
  }
}

function holds(t: TestContext, dir: string, commits = 0) {
  return start(t, process.execPath, [compiled('test/state/lone-writer.ts'), dir, String(commits)]);
}

describe('the embedded state', () => {
  it('gives back after it was closed what was committed, changed and dropped, and nothing else', async (t) => {
    const dir = path.join(tempFolder(t), 'not', 'there', 'yet');
    const before = await stateAt(dir);
    const after = await read(dir);
    assert.deepEqual(after, before);
    assert.ok(after?.has('do/k19') && !after.has('do/k1'));
    const facts: Fact[] = sampleFacts();
    for (const { kind, name } of facts) assert.ok(after?.has(factKey(kind, name)), kind);
  });

  it('keeps folder and files to its owner, also those that are made later', async (t) => {
    const dir = tempFolder(t);
    chmodSync(dir, 0o755);
    // Measures all the time.
    const hasty = { ...systemClock, setTimer: (_ms: number, fn: () => void) => systemClock.setTimer(5, fn) };
    const engine = new EmbeddedEngine({ dir, clock: hasty });
    await engine.open();
    t.after(() => engine.close());
    for (let i = 0; i < 3; i++) await engine.commit(new Map([[`do/${i}`, Buffer.alloc(20e6, i)]]), []);
    const modes = () =>
      [dir, database(dir)].flatMap((folder) =>
        readdirSync(folder).map((name) => {
          const file = path.join(folder, name);
          return `${name} ${(statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o077}`;
        }),
      );
    // The folder is looked through again and again; files that were just made may still be to come.
    while (modes().some((line) => !line.endsWith(' 0'))) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(statSync(dir).mode & 0o777, 0o700);
    assert.equal(statSync(database(dir)).mode & 0o777, 0o700);
    assert.ok(engine.sizeBytes > 0);
  });

  it('refuses a second daemon with the name of the first, and is free once that one is killed', async (t) => {
    const dir = tempFolder(t);
    const first = holds(t, dir);
    await first.waitFor(/^open$/m);
    await assert.rejects(engineAt(dir).open(), {
      code: 'STATE_LOCKED',
      message: new RegExp(`process ${first.child.pid} on .*, since \\d{4}-.* has the state in .*stop it, or give`),
    });
    first.child.kill('SIGKILL');
    await first.finished;
    const engine = engineAt(dir);
    await engine.open();
    await engine.close();
  });

  it('refuses a second one in the same process, whatever the folder is called, and leaves the first its lock', async (t) => {
    const dir = tempFolder(t);
    const engine = engineAt(dir);
    await engine.open();
    t.after(() => engine.close());
    await assert.rejects(engineAt(`${dir}/../${path.basename(dir)}/`).open(), { code: 'STATE_LOCKED' });
    const other = await holds(t, dir).finished;
    assert.match(other.stderr, /STATE_LOCKED|has the state/);
    await engine.commit(new Map([['do/x', Buffer.from('x')]]), []);
  });

  it('loses nothing that was safe when its process is killed', async (t) => {
    const dir = tempFolder(t);
    for (let round = 0; round < 3; round++) {
      const writer = holds(t, dir, 1e6);
      await writer.waitFor(/^safe [3-9]\d$/m);
      writer.child.kill('SIGKILL');
      const { stdout } = await writer.finished;
      const told = Number(/safe (\d+)\n(?!.*safe \d+\n)/s.exec(stdout)?.[1]);
      const engine = engineAt(dir);
      await engine.open();
      const last = Number((await loaded(engine)).get('last'));
      await engine.close();
      assert.ok(last === told || last === told + 1, `${told} was told, ${last} is there`);
    }
  });

  it('notices whatever is altered or cut in any of its files, and never takes less for all', async (t) => {
    const whole = tempFolder(t);
    const facts = await stateAt(whole, 1_100);
    const files = readdirSync(database(whole)).filter((name) => !/^(LOCK|LOG|LOG.old)$/.test(name));
    let noticed = 0;
    for (const name of files) {
      for (let round = 0; round < 12; round++) {
        const dir = path.join(tempFolder(t), 'copy');
        cpSync(whole, dir, { recursive: true });
        const file = path.join(database(dir), name);
        const bytes = readFileSync(file);
        if (bytes.length === 0) continue;
        const at = Math.floor((bytes.length * round) / 12);
        if (round % 3 === 0) truncateSync(file, at);
        else if (round % 3 === 1) writeFileSync(file, bytes.fill(0xa5, at, Math.min(bytes.length, at + 16)));
        else {
          bytes[at] = (bytes[at] as number) ^ 0x10;
          writeFileSync(file, bytes);
        }
        const found = await read(dir);
        if (found === undefined) noticed += 1;
        else assert.ok(isDeepStrictEqual(found, facts), `${name}, altered at ${at} of ${bytes.length} (${round})`);
      }
    }
    assert.ok(noticed > 10, `${noticed} were noticed`);
  });

  it('notices that what was acknowledged last is gone, after a kill that left it in the log alone', async (t) => {
    const dir = tempFolder(t);
    const writer = holds(t, dir, 50);
    await writer.waitFor(/^done$/m);
    writer.child.kill('SIGKILL');
    await writer.finished;
    const log = readdirSync(database(dir)).find((name) => /^\d+\.log$/.test(name)) ?? '';
    truncateSync(path.join(database(dir), log), statSync(path.join(database(dir), log)).size - 10);
    await assert.rejects(engineAt(dir).open(), {
      code: 'STATE_DAMAGED',
      message: /commits up to 50 were acknowledged, and 49 is the last one that is there; "plugin-host state check"/,
    });
    await assert.rejects(engineAt(dir).open(), { code: 'STATE_DAMAGED' }, 'and says so again');
  });

  it('refuses a folder that holds something else, a file in its place, and a newer format; not what a volume brings', async (t) => {
    const foreign = tempFolder(t);
    writeFileSync(path.join(foreign, 'notes.txt'), 'x');
    await assert.rejects(engineAt(foreign).open(), { code: 'STATE_FOREIGN', message: /"notes.txt"/ });
    chmodSync(foreign, 0o1777);
    await assert.rejects(engineAt(foreign).open(), { code: 'STATE_FOREIGN' });
    assert.deepEqual(readdirSync(foreign), ['notes.txt'], 'and leaves it as it is');
    assert.equal(statSync(foreign).mode & 0o7777, 0o1777, 'its mode included');
    writeFileSync(path.join(foreign, 'state.json'), 'not JSON');
    await assert.rejects(engineAt(foreign).open(), { code: 'STATE_FOREIGN' });

    const file = path.join(tempFolder(t), 'file');
    writeFileSync(file, 'x');
    await assert.rejects(engineAt(file).open(), { code: 'STATE_UNWRITABLE', message: /state\.dir/ });
    await assert.rejects(engineAt(path.join(file, 'below')).open(), { code: 'STATE_UNWRITABLE' });

    const newer = tempFolder(t);
    writeFileSync(path.join(newer, 'state.json'), '{"format":2}');
    await assert.rejects(engineAt(newer).open(), {
      code: 'STATE_FORMAT_NEWER',
      message: /format 2, this release knows 1/,
    });

    const volume = tempFolder(t);
    mkdirSync(path.join(volume, 'lost+found'));
    const engine = engineAt(volume);
    await engine.open();
    await engine.close();
  });

  it('takes a folder up in which a first start was cut short before its marker was whole', async (t) => {
    for (const [name, content] of [
      ['state.json', ''],
      ['state.json.new', ''],
      ['state.json.new', '{"form'],
    ] as const) {
      const dir = tempFolder(t);
      writeFileSync(path.join(dir, name), content);
      if (name === 'state.json.new') mkdirSync(database(dir));
      const engine = engineAt(dir);
      await engine.open();
      await engine.commit(encoded(), []);
      await engine.close();
      assert.deepEqual(await read(dir), encoded());
      assert.deepEqual(JSON.parse(readFileSync(path.join(dir, 'state.json'), 'utf8')).format, 1);
      assert.ok(!existsSync(path.join(dir, 'state.json.new')));
    }
  });

  it('says of a state whose marker is cut off that it is damaged, not that it is foreign', async (t) => {
    const dir = path.join(tempFolder(t), 'state');
    await stateAt(dir, 1);
    truncateSync(path.join(dir, 'state.json'), 5);
    await assert.rejects(engineAt(dir).open(), {
      code: 'STATE_DAMAGED',
      message: /state\.json is altered or cut off; .*Put the folder back from where it is whole/,
    });
  });

  it('notices that its folder was removed, begins a new state there once everything is committed anew', async (t) => {
    const dir = path.join(tempFolder(t), 'state');
    const engine = engineAt(dir);
    await engine.open();
    t.after(() => engine.close());
    await engine.commit(encoded(), []);
    rmSync(dir, { recursive: true });
    const puts = new Map([['do/x', Buffer.from('x')]]);
    await assert.rejects(engine.commit(puts, []), { code: 'STATE_LOST' });
    await engine.commit(encoded(), []);
    await engine.close();
    assert.deepEqual(await read(dir), encoded());
  });

  it('does not write into another state that was put in its place', async (t) => {
    const dir = path.join(tempFolder(t), 'state');
    const other = path.join(tempFolder(t), 'other');
    const theirs = await stateAt(other, 3);
    const engine = engineAt(dir);
    await engine.open();
    await engine.commit(encoded(), []);
    renameSync(dir, `${dir}-gone`);
    renameSync(other, dir);
    for (let i = 0; i < 3; i++) {
      await assert.rejects(engine.commit(new Map([['do/x', Buffer.from('x')]]), []), { code: 'STATE_LOST' });
    }
    await engine.close();
    assert.deepEqual(await read(dir), theirs);
    assert.ok(existsSync(`${dir}-gone`));
  });

  it('does not write into an older copy that was put in its place after a try to open it anew had failed', async (t) => {
    const dir = path.join(tempFolder(t), 'state');
    const engine = engineAt(dir);
    await engine.open();
    await engine.commit(encoded(), []);
    cpSync(dir, `${dir}-older`, { recursive: true });
    const puts = new Map([['do/x', Buffer.from('x')]]);
    await engine.commit(puts, []);
    renameSync(dir, `${dir}-gone`);
    await assert.rejects(engine.commit(puts, []), { code: 'STATE_LOST' });
    // Something is in its place for a while.
    writeFileSync(dir, '');
    await assert.rejects(engine.commit(puts, []), { code: 'STATE_UNWRITABLE' });
    rmSync(dir);
    renameSync(`${dir}-older`, dir);
    const before = contents(dir);
    for (let i = 0; i < 3; i++) await assert.rejects(engine.commit(puts, []), { code: 'STATE_LOST' });
    assert.deepEqual(contents(dir), before, 'no file of it was touched');
    await engine.close();
    assert.deepEqual(await read(dir), encoded());
  });

  it('goes on with its own folder when that is put back', async (t) => {
    const dir = path.join(tempFolder(t), 'state');
    const engine = engineAt(dir);
    await engine.open();
    await engine.commit(encoded(), []);
    renameSync(dir, `${dir}-gone`);
    writeFileSync(dir, '');
    const puts = new Map([['do/x', encodeFact('do', 'x', SAMPLE.do)]]);
    await assert.rejects(engine.commit(puts, []));
    await assert.rejects(engine.commit(puts, []), { code: 'STATE_UNWRITABLE' });
    rmSync(dir);
    renameSync(`${dir}-gone`, dir);
    await engine.commit(puts, []);
    await engine.close();
    assert.deepEqual(await read(dir), new Map([...encoded(), ...puts]));
  });
});
