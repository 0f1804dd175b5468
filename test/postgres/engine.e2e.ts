import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { it, type TestContext } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { type KeyRange, rangeOfKind, rangeOfPart } from '../../src/state/facts/part-keys.js';
import { decodePair, PostgresEngine, type PostgresPlace } from '../../src/state/index.js';
import { encoded } from '../state/sample-facts.js';
import { makeCertificate } from '../support/certificates.js';
import { start } from '../support/spawn.js';
import { givenIn, suiteSecret } from '../support/suite-secrets.js';
import { tempFolder } from '../support/temp.js';
import { sharedServer } from './server.js';

function engineAt(place: PostgresPlace, onSecret?: (secret: string) => void): PostgresEngine {
  return new PostgresEngine({ place, clock: systemClock, random: Math.random, onSecret });
}

async function opened(t: TestContext, place: PostgresPlace): Promise<PostgresEngine> {
  const engine = engineAt(place);
  await engine.open();
  t.after(() => engine.close());
  return engine;
}

async function loaded(engine: PostgresEngine): Promise<Map<string, Buffer>> {
  const facts = new Map<string, Buffer>();
  for await (const batch of engine.load()) for (const [key, value] of batch) facts.set(key, value);
  return facts;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    return HostError.is(error) ? error.code : String(error);
  }
}

const fact = (name: string, bytes = 100): Map<string, Buffer> => new Map([[`do/${name}`, Buffer.alloc(bytes, name)]]);

const shared = sharedServer('state');

/** In a schema that no other test has. */
function placeOf(changes: Partial<PostgresPlace> = {}): PostgresPlace {
  return shared.server.place({ schema: shared.newSchema(), ...changes });
}

it('gives back what was committed, changed and dropped, whole, byte for byte, and nothing else', async (t) => {
  const place = placeOf();
  const engine = await opened(t, place);
  await engine.commit(encoded(), []);
  for (let i = 0; i < 20; i++) {
    await engine.commit(fact(`k${i}`), i > 5 ? [`do/k${i - 5}`, 'do/never there'] : []);
  }
  // What an update leaves behind, every kind of byte, more than a page takes, an empty value, and nothing at all.
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const large = new Map([
    ['payload/large', Buffer.alloc(9_000_000, 'x')],
    ['payload/bytes', all],
    ['outputs/ü', Buffer.alloc(0)],
    ['do/k19', all],
  ]);
  await engine.commit(large, ['payload/none']);
  await engine.commit(new Map(), []);
  const many = new Map(Array.from({ length: 5_000 }, (_, i) => [`task/${i}`, Buffer.alloc(i % 300, i)] as const));
  await engine.commit(many, []);
  const expected = new Map([...encoded(), ...large, ...many]);
  for (const i of [0, 15, 16, 17, 18]) expected.set(`do/k${i}`, fact(`k${i}`).get(`do/k${i}`) as Buffer);
  assert.deepEqual(sorted(await loaded(engine)), sorted(expected));
  for (const [key, value] of encoded()) decodePair(key, value);
  assert.ok(engine.sizeBytes > 0);
  await engine.close();
  const later = await opened(t, place);
  assert.deepEqual(sorted(await loaded(later)), sorted(expected));
});

it('gives the facts of a range whole, over several pages, and asks for nothing beyond it', async (t) => {
  const engine = await opened(t, placeOf());
  const names = Array.from({ length: 2_500 }, (_, i) => `8.1/task/t${String(i).padStart(4, '0')}`);
  const others = [
    '8.0/task/a',
    '8.1/payload/t0000',
    '8.1/task',
    '8.1/task0',
    '8.1/unclear/a',
    '8.10/task/a',
    '8.2/task/a',
  ];
  await engine.commit(new Map([...names, ...others].map((key) => [key, Buffer.from(key)])), []);
  const pagesOf = async (range: KeyRange) => {
    const pages: string[][] = [];
    for await (const page of engine.load(range)) pages.push(page.map(([key]) => key));
    return pages;
  };
  const pages = await pagesOf(rangeOfKind(1, 8, 'task'));
  assert.deepEqual(pages.flat(), names);
  assert.deepEqual(
    pages.map((page) => page.length),
    [2_000, 500],
  );
  assert.deepEqual(await pagesOf(rangeOfKind(1, 8, 'owed')), []);
  const part = (await pagesOf(rangeOfPart(1, 8))).flat();
  assert.deepEqual(part.sort(), [...names, ...others.filter((key) => key.startsWith('8.1/'))].sort());
});

it('writes nothing of a commit that fails, and all of it when it is repeated', async (t) => {
  const place = placeOf();
  const engine = await opened(t, place);
  await engine.commit(fact('old'), []);
  shared.server.sql(`ALTER TABLE ${place.schema}.payloads ADD CONSTRAINT planted CHECK (key <> 'payload/x')`);
  const mixed = new Map([...fact('new'), ['payload/x', Buffer.from('x')] as const]);
  assert.equal(await codeOf(engine.commit(mixed, ['do/old'])), 'STATE_UNWRITABLE');
  assert.deepEqual([...(await loaded(engine)).keys()], ['do/old']);
  shared.server.sql(`ALTER TABLE ${place.schema}.payloads DROP CONSTRAINT planted`);
  await engine.commit(mixed, ['do/old']);
  assert.deepEqual([...(await loaded(engine)).keys()].sort(), ['do/new', 'payload/x']);
});

it('belongs to one daemon: a second one is refused by name, and has it at once after a stop, after a lease after a kill', async (t) => {
  const place = placeOf({ leaseMs: 1_500 });
  const first = await opened(t, place);
  const second = engineAt(place);
  await assert.rejects(second.open(), { code: 'STATE_LOCKED', message: new RegExp(`process ${process.pid}`) });
  // With a schema of its own it is another state.
  const beside = await opened(t, { ...place, schema: 'other "one"' });
  assert.equal((await loaded(beside)).size, 0);
  await first.commit(fact('a'), []);
  await first.close();
  const before = Date.now();
  const third = await opened(t, place);
  assert.deepEqual([...(await loaded(third)).keys()], ['do/a']);
  assert.ok(Date.now() - before < place.leaseMs, 'nobody waited for a lease after a stop');
  // What a kill leaves: an owner's row, and a counter that stands still.
  shared.server.sql(`UPDATE ${place.schema}.members SET epoch = 'dead'`);
  shared.server.sql(`UPDATE ${place.schema}.owner SET epoch = 'dead', name = 'gone'`);
  const fourth = await opened(t, place);
  await fourth.commit(fact('b'), []);
  assert.equal(await codeOf(third.commit(fact('late'), ['do/b'])), 'STATE_LOCKED');
  assert.equal(await codeOf(third.commit(fact('later'), [])), 'STATE_LOCKED', 'for good');
  assert.deepEqual([...(await loaded(fourth)).keys()].sort(), ['do/a', 'do/b']);
});

it('loads what an owner was told is safe while the state was taken from it: never less', async (t) => {
  const place = placeOf({ leaseMs: 1_000 });
  const first = await opened(t, place);
  await first.commit(fact('a'), []);
  // The commit compares the epoch, and is then held up between that and its end.
  shared.server.sql(`CREATE FUNCTION ${place.schema}.held() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(2.5); RETURN NEW; END'`);
  shared.server.sql(`CREATE TRIGGER held BEFORE INSERT ON ${place.schema}.facts FOR EACH ROW WHEN (NEW.key = 'do/slow')
    EXECUTE FUNCTION ${place.schema}.held()`);
  const slow = codeOf(first.commit(fact('slow'), []));
  await until(() => shared.server.sql(`SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`) === '1');
  shared.server.sql(`DELETE FROM ${place.schema}.members`);
  const second = await opened(t, place);
  const taken = await loaded(second);
  assert.equal(await slow, 'done');
  assert.ok(taken.has('do/slow'), 'what was told is safe is in what the next owner loads');
});

it('makes its tables once when several daemons start at a time, and finds them made', async (t) => {
  const place = placeOf({ leaseMs: 1_000 });
  const engines = Array.from({ length: 6 }, () => engineAt(place));
  const ends = await Promise.all(engines.map((engine) => codeOf(engine.open())));
  t.after(() => Promise.all(engines.map((engine) => engine.close())));
  assert.deepEqual(
    ends.filter((end) => end !== 'STATE_LOCKED'),
    ['done'],
  );
  assert.equal(shared.server.sql(`SELECT version, readable_by FROM ${place.schema}.format`), '4|1');
});

it('refuses a later format unless that one says it may be read, and tables of something else', async (t) => {
  const place = placeOf();
  await (await opened(t, place)).close();
  shared.server.sql(`UPDATE ${place.schema}.format SET version = 7, readable_by = 7`);
  await assert.rejects(engineAt(place).open(), { code: 'STATE_FORMAT_NEWER', message: /format 7/ });
  shared.server.sql(`UPDATE ${place.schema}.format SET readable_by = 1`);
  await (await opened(t, place)).close();
  assert.equal(shared.server.sql(`SELECT version FROM ${place.schema}.format`), '7', 'and it is left as it is');
  shared.server.sql('CREATE SCHEMA theirs');
  shared.server.sql('CREATE TABLE theirs.invoices (id int)');
  await assert.rejects(engineAt(shared.server.place({ schema: 'theirs' })).open(), {
    code: 'STATE_FOREIGN',
    message: /invoices/,
  });
});

it('needs no right but those on a schema that was made for it', async (t) => {
  shared.server.sql('CREATE ROLE modest LOGIN');
  const place = placeOf({ user: 'modest' });
  await assert.rejects(engineAt(place).open(), { code: 'STATE_UNWRITABLE', message: /CREATE on the database/ });
  shared.server.sql(`CREATE SCHEMA ${place.schema} AUTHORIZATION modest`);
  const engine = await opened(t, place);
  await engine.commit(fact('a'), []);
});

it('is not opened on a server that acknowledges what a crash takes back, or that takes no writes', async () => {
  for (const [setting, there, code] of [
    ['synchronous_commit', 'off', 'STATE_UNSAFE'],
    ['fsync', 'off', 'STATE_UNSAFE'],
    ['default_transaction_read_only', 'on', 'STATE_READ_ONLY'],
  ] as const) {
    const before = shared.server.sql(`SHOW ${setting}`);
    await configure(setting, there);
    await assert.rejects(engineAt(placeOf()).open(), { code, message: /PostgreSQL at 127\.0\.0\.1/ });
    await configure(setting, before);
  }
});

it('says that the server cannot be reached, is slow, locked or read-only, and goes on after each with nothing lost', async (t) => {
  const place = placeOf({ statementTimeoutMs: 3_000, lockTimeoutMs: 700, connectTimeoutMs: 3_000 });
  const engine = await opened(t, place);
  await engine.commit(fact('0'), []);
  await shared.server.kill();
  assert.equal(await codeOf(engine.commit(fact('1'), [])), 'STATE_UNREACHABLE');
  await shared.server.run();
  await engine.commit(fact('1'), []);

  shared.server.freeze('SIGSTOP');
  assert.match(await codeOf(engine.commit(fact('2'), [])), /^STATE_(SLOW|UNREACHABLE)$/);
  shared.server.freeze('SIGCONT');
  await until(async () => (await codeOf(engine.commit(fact('2'), []))) === 'done');

  const locker = start(t, shared.server.psql, [...shared.server.psqlOptions], { env: shared.server.psqlEnv });
  locker.child.stdin.write(`BEGIN; LOCK TABLE ${place.schema}.facts; SELECT 'locked';\n`);
  await locker.waitFor(/locked/);
  await assert.rejects(engine.commit(fact('3'), []), { code: 'STATE_SLOW', message: /lock/ });
  locker.child.stdin.end();
  await locker.finished;
  await engine.commit(fact('3'), []);

  await configure('default_transaction_read_only', 'on');
  assert.equal(await codeOf(engine.commit(fact('4'), [])), 'STATE_READ_ONLY');
  await configure('default_transaction_read_only', 'off');
  await engine.commit(fact('4'), []);
  assert.deepEqual([...(await loaded(engine)).keys()].sort(), ['do/0', 'do/1', 'do/2', 'do/3', 'do/4']);
});

it('waits for a server that comes up after it, within its time, and ends at once when it is told to', async (t) => {
  // As the daemon's admin port does, which is open before its state.
  const alive = setInterval(() => {}, 1_000);
  t.after(() => clearInterval(alive));
  await shared.server.kill();
  const impatient = engineAt(placeOf({ startTimeoutMs: 400 }));
  await assert.rejects(impatient.open(), { code: 'STATE_UNREACHABLE', message: /127\.0\.0\.1/ });
  const stopped = engineAt(placeOf({ startTimeoutMs: 3_600_000 }));
  const stop = new AbortController();
  const ended = codeOf(stopped.open(stop.signal));
  stop.abort();
  assert.equal(await ended, 'STATE_UNREACHABLE');
  const patient = engineAt(placeOf({ startTimeoutMs: 60_000 }));
  const open = patient.open();
  t.after(() => patient.close());
  await shared.server.run();
  await open;
  await patient.commit(fact('a'), []);
});

it('reads its password for every connection, so that a new one is used without a restart', async (t) => {
  const [first, second] = [suiteSecret('databasePassword', 'first'), suiteSecret('databasePassword', 'second')];
  shared.server.sql(`CREATE ROLE guarded LOGIN PASSWORD '${first}'; CREATE SCHEMA guarded AUTHORIZATION guarded`);
  const rules = (method: string) => `local all all trust\nhost all all 127.0.0.1/32 ${method}\n`;
  const allow = (method: string) => shared.server.write('pg_hba.conf', rules(method));
  allow('scram-sha-256');
  shared.server.reload();
  t.after(() => {
    allow('trust');
    shared.server.reload();
  });
  const passwordFile = givenIn(path.join(tempFolder(t), 'password'));
  writeFileSync(passwordFile, 'wrong\n');
  const place = shared.server.place({ user: 'guarded', schema: 'guarded', passwordFile });
  await until(async () => (await codeOf(engineAt(place).open())) === 'STATE_UNWRITABLE');
  await assert.rejects(engineAt({ ...place, passwordFile: `${passwordFile}.none` }).open(), {
    code: 'STATE_UNWRITABLE',
    message: /state\.postgres\.passwordFile/,
  });
  writeFileSync(passwordFile, `${first}\n`);
  const told: string[] = [];
  const engine = engineAt(place, (secret) => told.push(secret));
  t.after(() => engine.close());
  await engine.open();
  await engine.commit(fact('a'), []);
  shared.server.sql(`ALTER ROLE guarded PASSWORD '${second}'`);
  writeFileSync(passwordFile, second);
  shared.server.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guarded'`);
  await until(async () => (await codeOf(engine.commit(fact('b'), []))) === 'done');
  assert.deepEqual([...new Set(told)], [first, second], 'each is told of before it is used, so that it is masked');
});

it('verifies the server’s certificate and name, shows its own, and uses files that were swapped', async (t) => {
  const authority = makeCertificate({ name: 'authority', authority: true });
  const stranger = makeCertificate({ name: 'stranger', authority: true });
  const folder = tempFolder(t);
  const file = (name: string, text: string): string => {
    const at = path.join(folder, name);
    writeFileSync(at, text);
    return at;
  };
  const ofServer = makeCertificate({ name: 'localhost', by: authority });
  for (const [name, text] of [
    ['server.crt', ofServer.cert],
    ['server.key', ofServer.key],
    ['root.crt', authority.cert],
  ] as const) {
    shared.server.write(name, text);
  }
  await configure('ssl_ca_file', 'root.crt');
  await configure('ssl', 'on');
  shared.server.sql('CREATE ROLE sealed LOGIN');
  const rules = (ssl: string) => `local all all trust\n${ssl}host all all 127.0.0.1/32 trust\n`;
  shared.server.write(
    'pg_hba.conf',
    rules('hostssl all sealed 127.0.0.1/32 cert\nhost all sealed 127.0.0.1/32 reject\n'),
  );
  shared.server.reload();
  t.after(async () => {
    shared.server.write('pg_hba.conf', rules(''));
    await configure('ssl', 'off');
  });
  const client = makeCertificate({ name: 'sealed', by: authority });
  const place = placeOf({
    user: 'sealed',
    tls: 'verify',
    caFile: file('ca', authority.cert),
    certFile: file('cert', client.cert),
    keyFile: file('key', client.key),
  });
  shared.server.sql(`CREATE SCHEMA ${place.schema} AUTHORIZATION sealed`);
  const engine = await opened(t, place);
  await engine.commit(fact('a'), []);
  assert.equal(await codeOf(engineAt({ ...place, tls: 'off' }).open()), 'STATE_UNWRITABLE');
  const unknown = { ...place, caFile: file('other', stranger.cert) };
  await assert.rejects(engineAt(unknown).open(), { code: 'STATE_UNTRUSTED', message: /certificate/ });
  await assert.rejects(engineAt({ ...place, certFile: undefined, keyFile: undefined }).open(), {
    code: 'STATE_UNWRITABLE',
    message: /certificate/,
  });
  // An outdated certificate takes the place of the client's own, as a swap that went wrong, and then a good one.
  const outdated = makeCertificate({ name: 'sealed', by: authority, fromDays: -9, untilDays: -2 });
  file('cert', outdated.cert);
  file('key', outdated.key);
  const drop = () =>
    shared.server.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sealed'`);
  drop();
  await until(async () => (await codeOf(engine.commit(fact('b'), []))) !== 'done');
  file('cert', client.cert);
  file('key', client.key);
  await until(async () => (await codeOf(engine.commit(fact('b'), []))) === 'done');
});

/** In force for every connection that is made from now on. */
async function configure(setting: string, value: string): Promise<void> {
  shared.server.set(`${setting} = '${value}'`);
  shared.server.reload();
  await until(() => shared.server.sql(`SHOW ${setting}`) === value);
}

function sorted(facts: Iterable<readonly [string, Buffer]>): [string, string][] {
  return [...facts]
    .map(([key, value]): [string, string] => [key, value.toString('base64')])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await holds()); tries++) {
    assert.ok(tries < 600, 'it came to be in time');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
