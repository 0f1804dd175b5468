import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '../../src/lib/clock.js';
import { EmbeddedEngine, encodeFact, type Puts } from '../../src/state/index.js';
import { encoded, SAMPLE } from '../state/sample-facts.js';
import { tempFolder } from '../support/temp.js';
import { startCli } from './support.js';

async function stateWith(t: TestContext, puts: Puts): Promise<string> {
  const dir = tempFolder(t);
  const engine = new EmbeddedEngine({ dir, clock: systemClock });
  await engine.open();
  await engine.commit(puts, []);
  await engine.close();
  return dir;
}

async function run(...args: string[]) {
  const cli = startCli(['state', ...args]);
  const code = await cli.exitCode;
  return { code, out: cli.stdout(), err: cli.stderr() };
}

describe('plugin-host state', () => {
  it('check says what is in a state that is whole', async (t) => {
    const dir = await stateWith(t, encoded());
    const { code, out } = await run('check', dir);
    assert.equal(code, 0, out);
    assert.match(out, /^task +1 {2}\d+ bytes$/m);
    assert.match(out, /^owed +1 /m);
    assert.match(out, /last commit 1;/);
    assert.match(out, /Nothing is damaged/);
    const json = JSON.parse((await run('check', dir, '--json')).out);
    assert.equal(json.facts.mark.count, 1);
    assert.deepEqual(json.problems, []);
  });

  it('check names every damaged value and what is missing to another, and reads the rest', async (t) => {
    const facts = encoded();
    const bad = Buffer.from(facts.get('owed/a2-1') as Buffer);
    bad[20] = (bad[20] as number) ^ 1;
    facts.set('owed/a2-1', bad);
    facts.delete('outputs/a1-3');
    const waiting = {
      ...SAMPLE.task,
      stage: 'accepted' as const,
      state: { ...SAMPLE.task.state, outputs: 'inline' as const },
    };
    facts.set('task/b-1', encodeFact('task', 'b-1', waiting));
    const { code, out } = await run('check', await stateWith(t, facts));
    assert.equal(code, 8);
    assert.match(out, /owed\/a2-1 is damaged: its checksum does not fit/);
    assert.match(out, /task\/b-1 waits to be created, and payload\/b-1 is missing/);
    assert.match(out, /task\/b-1 has outputs, and outputs\/b-1 is missing/);
    assert.match(out, /^task +2 /m);
  });

  it('check says that commits are missing which were acknowledged', async (t) => {
    const dir = await stateWith(t, encoded());
    const log = readdirSync(path.join(dir, 'db')).filter((name) => name.endsWith('.log'));
    for (const name of log) {
      const file = path.join(dir, 'db', name);
      truncateSync(file, Math.max(0, statSync(file).size - 5));
    }
    const { code, out } = await run('check', dir);
    assert.equal(code, 8);
    assert.match(out, /commits up to 1 were acknowledged, and 0 is the last/);
  });

  it('makes nothing where no state is, and refuses one that a daemon has', async (t) => {
    const empty = tempFolder(t);
    const nothing = await run('check', empty);
    assert.equal(nothing.code, 5);
    assert.match(nothing.err, /STATE_FOREIGN/);
    assert.deepEqual(readdirSync(empty), []);
    const dir = tempFolder(t);
    const engine = new EmbeddedEngine({ dir, clock: systemClock });
    await engine.open();
    t.after(() => engine.close());
    const held = await run('check', dir);
    assert.equal(held.code, 5);
    assert.match(held.err, /STATE_LOCKED/);
  });

  it('says of a folder that is not there, and of a file, that no state is there', async (t) => {
    const dir = tempFolder(t);
    const absent = await run('check', path.join(dir, 'absent'));
    assert.equal(absent.code, 5);
    assert.match(absent.err, /absent does not exist, so there is no state in it/);
    writeFileSync(path.join(dir, 'file'), '');
    const file = await run('check', path.join(dir, 'file'));
    assert.equal(file.code, 5);
    assert.match(file.err, /file is no folder, so there is no state in it/);
    for (const { err } of [absent, file]) assert.doesNotMatch(err, /may write|STATE_UNWRITABLE/);
  });

  it('check and export leave each file of a state as it is, also of one that is damaged', async (t) => {
    const dir = tempFolder(t);
    const { TMPDIR } = process.env;
    process.env.TMPDIR = tempFolder(t);
    t.after(() => {
      if (TMPDIR === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = TMPDIR;
    });
    const engine = new EmbeddedEngine({ dir, clock: systemClock });
    await engine.open();
    // More than what is gathered in memory, so that some of it is in tables.
    for (let i = 0; i < 3; i++) await engine.commit(new Map([[`payload/${i}`, randomBytes(9e6)]]), []);
    await engine.commit(encoded(), []);
    await engine.close();
    const seen = () =>
      readdirSync(dir, { recursive: true, encoding: 'utf8' })
        .map((name) => path.join(dir, name))
        .map((file) => {
          const { mode, uid, mtimeMs, ctimeMs } = statSync(file);
          return [file, mode, uid, mtimeMs, ctimeMs, statSync(file).isFile() ? readFileSync(file, 'base64') : ''];
        });
    for (const damaged of [false, true]) {
      if (damaged) {
        const log = readdirSync(path.join(dir, 'db')).find((name) => name.endsWith('.log')) ?? '';
        const bytes = readFileSync(path.join(dir, 'db', log));
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 0xff;
        writeFileSync(path.join(dir, 'db', log), bytes);
      }
      const before = seen();
      assert.ok(before.some(([file]) => String(file).endsWith('.ldb')));
      for (const command of ['check', 'export']) {
        const { code, out } = await run(command, dir);
        assert.equal(code, 8, out);
        assert.ok(isDeepStrictEqual(seen(), before), command);
      }
    }
    assert.deepEqual(readdirSync(os.tmpdir()), [], 'and nothing is left behind');
  });

  it('export writes a line for each fact, and neither secrets nor what users gave', async (t) => {
    const facts = encoded();
    const payload = SAMPLE.payload;
    const secretive = {
      ...payload,
      template: Buffer.from('templ4te'),
      inputs: Buffer.from('s3cret-input'),
      metadata: { ...payload.metadata, environmentVariables: { API_KEY: 'v4lue', HOME: '/h0me' } },
    };
    facts.set('payload/a1-3', encodeFact('payload', 'a1-3', secretive));
    const failed = {
      ...SAMPLE.task,
      meta: Buffer.from('{"t0ken":1}'),
      state: { ...SAMPLE.task.state, reason: 'Bearer abcdefghijkl', customInfo: { password: 'hunter22' } },
    };
    facts.set('task/a1-3', encodeFact('task', 'a1-3', failed));
    const { code, out } = await run('export', await stateWith(t, facts));
    assert.equal(code, 0);
    const lines = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(lines.length, facts.size);
    const task = lines.find(({ key }) => key === 'task/a1-3');
    assert.equal(task.fact.identity.plugin, 'demo');
    assert.equal(task.fact.stage, 'live');
    for (const secret of ['templ4te', 's3cret-input', 'v4lue', '/h0me', 't0ken', 'abcdefghijkl', 'hunter22']) {
      assert.ok(!out.includes(secret) && !out.includes(Buffer.from(secret).toString('base64').slice(0, 8)), secret);
    }
    assert.ok(out.includes('API_KEY'));
  });
});
