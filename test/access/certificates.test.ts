import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { CertificateWatch } from '../../src/access/certificate-watch.js';
import { type CertificateFiles, readIdentity } from '../../src/access/certificates.js';
import { HostError } from '../../src/errors/index.js';
import { ManualClock } from '../../src/lib/clock.js';
import { makeCertificate } from '../support/certificates.js';
import { tempFolder } from '../support/temp.js';
import { MountedIdentity, noteAccess } from './support.js';

const AUTHORITY = makeCertificate({ name: 'authority', authority: true });
const GOOD = makeCertificate({ name: 'good', by: AUTHORITY });
const NEXT = makeCertificate({ name: 'next', by: AUTHORITY });
const DAY_MS = 86_400_000;

/** Reads of the files settle in turns of the event loop of their own. */
async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; !holds(); i++) {
    assert.ok(i < 100_000, 'it never came to that');
    await turn();
  }
}

function filesIn(t: TestContext, texts: { cert?: string; key?: string; ca?: string }): CertificateFiles {
  const dir = tempFolder(t);
  const write = (name: string, text: string | undefined) => {
    const file = path.join(dir, name);
    if (text !== undefined) writeFileSync(file, text);
    return file;
  };
  const caFile = texts.ca === undefined ? undefined : write('ca.pem', texts.ca);
  return { certFile: write('cert.pem', texts.cert), keyFile: write('key.pem', texts.key), caFile };
}

test('each thing that is wrong with a certificate, its key or its authorities is said, with the file, and no text of a key', async (t) => {
  const expired = makeCertificate({ name: 'old', by: AUTHORITY, fromDays: -9, untilDays: -1 });
  const early = makeCertificate({ name: 'early', by: AUTHORITY, fromDays: 2 });
  const cases: [string, { cert?: string; key?: string; ca?: string }, RegExp][] = [
    ['no certificate', { key: GOOD.key }, /cert\.pem cannot be read: ENOENT/],
    ['no key', { cert: GOOD.cert }, /key\.pem cannot be read: ENOENT/],
    ['an empty certificate', { ...GOOD, cert: '' }, /cert\.pem holds no certificate/],
    ['a key for a certificate', { ...GOOD, cert: GOOD.key }, /cert\.pem holds no certificate/],
    [
      'a certificate that is cut',
      { ...GOOD, cert: GOOD.cert.replace(/\n[^-]{400}/, '\n') },
      /cert\.pem holds a certificate that cannot be read/,
    ],
    ['a certificate for a key', { ...GOOD, key: GOOD.cert }, /key\.pem holds no private key/],
    ['a key that is cut', { ...GOOD, key: GOOD.key.slice(0, 100) }, /key\.pem is cut/],
    [
      'a key that cannot be read',
      { ...GOOD, key: GOOD.key.replace(/\n[^-]{60}/, '\n') },
      /key\.pem holds no private key/,
    ],
    ['another key', { ...GOOD, key: NEXT.key }, /key\.pem is not that of the certificate in .*cert\.pem/],
    ['an expired one', expired, /cert\.pem has expired: it was valid until/],
    ['one of the future', early, /cert\.pem is not valid before/],
    ['authorities that are none', { ...GOOD, ca: 'x' }, /ca\.pem holds no certificate/],
    ['expired authorities', { ...GOOD, ca: expired.cert }, /all certificates in .*ca\.pem have expired/],
  ];
  for (const [what, texts, message] of cases) {
    const seen = await readIdentity(filesIn(t, texts), Date.now()).then(
      () => assert.fail(`${what} was taken`),
      (error: Error) => error.message,
    );
    assert.match(seen, message, what);
    assert.ok(!seen.includes(GOOD.key.split('\n')[1] ?? ''), what);
  }
  const { names } = await readIdentity(filesIn(t, { ...GOOD, ca: `${expired.cert}${AUTHORITY.cert}` }), Date.now());
  assert.deepEqual(names, ['CN=good', 'DNS:localhost', 'IP:127.0.0.1']);
});

test('a file that is cut behind something whole is refused, wherever it is cut, and text between the blocks is not minded', async (t) => {
  const [first, second] = [`${AUTHORITY.cert.trim()}\n`, `${NEXT.cert.trim()}\n`];
  const refused = async (texts: { cert?: string; key?: string; ca?: string }, message: RegExp) =>
    assert.rejects(readIdentity(filesIn(t, texts), Date.now()), message);
  for (const bytes of [1, 4, 12, 200, second.length - 27, second.length - 2]) {
    const cut = second.slice(0, bytes);
    await refused({ ...GOOD, ca: `${first}${cut}` }, /ca\.pem is cut: behind 1 whole/);
    await refused({ ...GOOD, cert: `${GOOD.cert}${cut}` }, /cert\.pem is cut: behind 1 whole/);
    await refused({ ...GOOD, key: `${GOOD.key}${cut}` }, /key\.pem is cut: behind 1 whole/);
  }
  await refused({ ...GOOD, ca: `${first.slice(0, 200)}\n${second}` }, /ca\.pem is cut/);
  const ca = `# the old one - by CN=old\n${first}\r\nsubject: next\n${second}`;
  const texts = { cert: `${GOOD.cert}${GOOD.key}`, key: GOOD.key, ca };
  assert.equal((await readIdentity(filesIn(t, texts), Date.now())).ca, ca);
});

test('files with the marks of an editor on Windows are read as others are, and larger ones than any bundle are not read', async (t) => {
  const windows = (pem: string) => `\ufeff${pem.replaceAll('\n', '\r\n')}`;
  const texts = { cert: windows(GOOD.cert), key: windows(GOOD.key), ca: windows(AUTHORITY.cert) };
  assert.equal((await readIdentity(filesIn(t, texts), Date.now())).names[0], 'CN=good');
  const huge = filesIn(t, { ...GOOD, ca: AUTHORITY.cert.padEnd(4 * 1024 * 1024 + 1) });
  await assert.rejects(
    readIdentity(huge, Date.now()),
    /ca\.pem cannot be read: it has 4194305 bytes, and 4194304 is the most/,
  );
});

test('files that hold what is known are not parsed again while all of it is valid, and are as soon as something is not', async (t) => {
  const authority = makeCertificate({ name: 'for ten days', authority: true, untilDays: 10 });
  const files = filesIn(t, {
    ...makeCertificate({ name: 'for twenty days', fromDays: -1, untilDays: 20 }),
    ca: authority.cert,
  });
  const nowMs = Date.now();
  const known = await readIdentity(files, nowMs);
  assert.equal(await readIdentity(files, nowMs + 9 * DAY_MS, known), known);
  await assert.rejects(readIdentity(files, nowMs + 11 * DAY_MS, known), /all certificates in .*ca\.pem have expired/);
  await assert.rejects(readIdentity(files, nowMs - 2 * DAY_MS, known), /cert\.pem is not valid before/);
  writeFileSync(files.caFile as string, authority.cert + AUTHORITY.cert);
  const longer = await readIdentity(files, nowMs, known);
  assert.equal(longer.ca, authority.cert + AUTHORITY.cert);
  await assert.rejects(readIdentity(files, nowMs + 21 * DAY_MS, longer), /cert\.pem has expired/);
  // The watch asks in this way: what it reads again would be another one.
  const clock = new ManualClock(0);
  const watch = new CertificateWatch({ port: 'grpc', files, clock, events: noteAccess() });
  await watch.start();
  t.after(() => watch.stop());
  const { identity } = watch;
  for (let looks = 0; looks < 3; looks++) {
    await clock.advance(10_000);
    await until(() => clock.pending > 0);
  }
  assert.equal(watch.identity, identity);
});

test('a start with files that cannot be used fails with a code and the option, and leaves nothing running', async (t) => {
  const clock = new ManualClock(0);
  const files = filesIn(t, { cert: GOOD.cert, key: NEXT.key });
  const watch = new CertificateWatch({ port: 'admin', files, clock, events: noteAccess() });
  await assert.rejects(watch.start(), (error) => {
    assert.ok(HostError.is(error) && error.code === 'TLS_FILES_UNUSABLE');
    assert.match(error.message, /^admin\.tls: .*key\.pem is not that of the certificate/);
    return true;
  });
  assert.throws(() => watch.identity, /no certificate has been read/);
});

test('a swapped link is noticed, told once, and given to those who listen; the same files are not', async (t) => {
  const clock = new ManualClock(0);
  const events = noteAccess();
  const mounted = new MountedIdentity(tempFolder(t), GOOD, AUTHORITY.cert);
  const watch = new CertificateWatch({ port: 'grpc', files: mounted.files, clock, events });
  await watch.start();
  t.after(() => watch.stop());
  const given: string[] = [];
  watch.onChange(({ names }) => given.push(names[0] ?? ''));
  mounted.swap(NEXT);
  assert.equal(watch.identity.cert, GOOD.cert);
  await clock.advance(10_000);
  await until(() => clock.pending > 0);
  assert.deepEqual(given, [], 'it may be in the midst of being written');
  await clock.advance(1_000);
  await until(() => given.length > 0);
  assert.deepEqual(given, ['CN=next']);
  assert.equal(watch.identity.key, NEXT.key);
  assert.deepEqual(events.told, ['certificate CN=good', 'certificate CN=next']);
});

test('a renewal that cannot be used leaves the one before, is told once and only when it stays, and what mends it is taken', async (t) => {
  const clock = new ManualClock(0);
  const events = noteAccess();
  const mounted = new MountedIdentity(tempFolder(t), GOOD);
  const watch = new CertificateWatch({ port: 'grpc', files: mounted.files, clock, events });
  await watch.start();
  t.after(() => watch.stop());
  mounted.swap({ cert: NEXT.cert, key: GOOD.key });
  await clock.advance(10_000);
  // Files that are exchanged one after the other do not fit for a moment.
  await until(() => clock.pending > 0);
  assert.deepEqual(events.told, ['certificate CN=good']);
  await clock.advance(1_000);
  await until(() => events.told.length > 1 && clock.pending > 0);
  assert.match(events.told[1] ?? '', /^kept the key in/);
  assert.equal(watch.identity.cert, GOOD.cert);
  await clock.advance(10_000);
  await until(() => clock.pending > 0);
  assert.equal(events.told.length, 2);
  mounted.swap(NEXT);
  await clock.advance(10_000);
  await until(() => clock.pending > 0);
  await clock.advance(1_000);
  await until(() => events.told.length > 2);
  assert.deepEqual(events.told.slice(2), ['certificate CN=next']);
});

test('a bundle of authorities that grows while it is looked at is taken when it stays, and no part of it before', async (t) => {
  const clock = new ManualClock(0);
  const other = makeCertificate({ name: 'other', authority: true });
  const files = filesIn(t, { ...GOOD, ca: other.cert });
  const watch = new CertificateWatch({ port: 'grpc', files, clock, events: noteAccess() });
  await watch.start();
  t.after(() => watch.stop());
  const seen: boolean[] = [];
  const whole = `${AUTHORITY.cert}${other.cert}`;
  // Cut between two certificates, which nothing in the file shows.
  for (const [ms, text] of [
    [10_000, AUTHORITY.cert],
    [1_000, whole],
    [1_000, whole],
  ] as const) {
    writeFileSync(files.caFile as string, text);
    await clock.advance(ms);
    await until(() => clock.pending > 0);
    assert.notEqual(watch.identity.ca, AUTHORITY.cert);
    seen.push(watch.identity.ca === whole);
  }
  assert.deepEqual(seen, [false, false, true]);
});

test('the last days of a certificate are told once a day, and past its end with none left', async (t) => {
  const clock = new ManualClock(0);
  let wallMs = Date.now();
  const events = noteAccess();
  const { files } = new MountedIdentity(tempFolder(t), makeCertificate({ name: 'short', untilDays: 3.5 }));
  const watch = new CertificateWatch({ port: 'grpc', files, clock, events, wallMs: () => wallMs });
  await watch.start();
  t.after(() => watch.stop());
  assert.ok(watch.daysLeft > 3.4 && watch.daysLeft < 3.6);
  const look = async () => {
    await clock.advance(10_000);
    await until(() => clock.pending > 0);
  };
  await look();
  assert.deepEqual(events.told, ['certificate CN=short', 'expires 3']);
  wallMs += 2 * DAY_MS;
  await look();
  await look();
  assert.deepEqual(events.told.slice(2), ['expires 1']);
  wallMs += 2 * DAY_MS;
  await look();
  assert.ok(watch.daysLeft < 0);
  assert.ok(events.told.includes('expires 0'));
});
