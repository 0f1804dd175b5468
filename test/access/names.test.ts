import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowsName, certificateNames } from '../../src/access/names.js';
import { isLoopback } from '../../src/access/peer.js';
import { CERTIFICATE_NAME } from '../../src/model/identity-check.js';

const subject = (CN: string | string[]) => ({ CN }) as never;

test('a certificate is for the common names and the alternative names in it, each with its kind', () => {
  const subjectaltname = 'DNS:engine.flyte.svc, URI:spiffe://cluster/engine, IP Address:10.0.0.1, email:a@b.example';
  assert.deepEqual(certificateNames({ subject: subject(['engine', 'other']), subjectaltname }), [
    'CN=engine',
    'CN=other',
    'DNS:engine.flyte.svc',
    'URI:spiffe://cluster/engine',
    'IP:10.0.0.1',
    'email:a@b.example',
  ]);
  assert.deepEqual(certificateNames({ subject: undefined as never, subjectaltname: undefined as never }), []);
});

test('a name that holds the mark between names makes no second one', () => {
  const names = certificateNames({
    subject: subject('x'),
    subjectaltname: 'URI:"http://a/, DNS:admin.example", DNS:own.example, othername:<unsupported>',
  });
  assert.deepEqual(names, ['CN=x', 'URI:http://a/, DNS:admin.example', 'DNS:own.example']);
  assert.equal(allowsName(['DNS:admin.example'], names), false);
});

test('a list lets in whole names of the same kind, host names in capitals too, and no part of one', () => {
  const names = ['CN=engine', 'DNS:Engine.Flyte'];
  assert.equal(allowsName(['CN=engine'], names), true);
  assert.equal(allowsName(['DNS:engine.flyte'], names), true);
  for (const other of [
    'CN=eng',
    'CN=Engine',
    'DNS:engine',
    'DNS:flyte',
    'URI:engine',
    'CN=engine2',
    'CN=DNS:engine.flyte',
  ]) {
    assert.equal(allowsName([other], names), false, other);
  }
  const wild = ['CN=*', 'DNS:*.flyte', 'DNS:*'];
  for (const name of wild) assert.equal(allowsName([name], names), false, 'an asterisk stands for nothing else');
  assert.equal(allowsName(['CN=engine', 'DNS:engine.flyte'], wild), false);
  assert.equal(allowsName(['CN=engine'], []), false);
  assert.equal(allowsName([], names), false);
});

test('an IPv6 address is the same in each of its spellings, and no other', () => {
  // As Node writes those of a certificate.
  const { subject, subjectaltname } = { subject: undefined as never, subjectaltname: 'IP Address:FD00:0:0:0:0:0:0:1' };
  const names = certificateNames({ subject, subjectaltname });
  for (const written of ['IP:fd00::1', 'IP:FD00::1', 'IP:fd00:0:0:0:0:0:0:1']) assert.ok(allowsName([written], names));
  for (const other of ['IP:fd00::2', 'IP:::1', 'IP:0.0.0.1', 'IP:', 'DNS:fd00::1'])
    assert.equal(allowsName([other], names), false);
});

test('names are written in a list with their kind, and nothing without one is taken', () => {
  for (const name of ['CN=a b', 'DNS:a.b', 'URI:spiffe://x', 'email:a@b', 'IP:::1'])
    assert.match(name, CERTIFICATE_NAME);
  for (const name of ['engine', 'CN=', 'cn=a', 'dns:a', 'O=a', 'CN= a', ''])
    assert.doesNotMatch(name, CERTIFICATE_NAME);
});

test('loopback is 127.0.0.0/8 and ::1, within IPv6 too, and nothing else', () => {
  for (const address of ['127.0.0.1', '127.255.0.9', '::1', '::ffff:127.0.0.1'])
    assert.equal(isLoopback(address), true);
  for (const address of [
    '',
    '10.0.0.1',
    '0.0.0.0',
    '::',
    '::ffff:10.0.0.1',
    '128.0.0.1',
    '127.0.0.1.evil',
    'fe80::1',
  ]) {
    assert.equal(isLoopback(address), false, address);
  }
});
