import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AddressSources, advertisedAddress } from '../../src/cluster/address.js';

const of = (given: string | undefined, changes: Partial<AddressSources> = {}) =>
  advertisedAddress({ given, podIp: undefined, port: 8000, loopbackAllowed: false, ...changes });

test('an address has the port that is listened on unless it says another, and IPv6 is put in brackets', () => {
  assert.equal(of('10.1.2.3'), '10.1.2.3:8000');
  assert.equal(of('10.1.2.3:9000'), '10.1.2.3:9000');
  assert.equal(of('host-0.plugin-host.flyte.svc'), 'host-0.plugin-host.flyte.svc:8000');
  assert.equal(of('fd00::1'), '[fd00::1]:8000');
  assert.equal(of('[fd00::1]:9000'), '[fd00::1]:9000');
  assert.equal(of(undefined, { podIp: '10.0.0.7' }), '10.0.0.7:8000');
  assert.equal(of('10.1.2.3', { podIp: '10.0.0.7' }), '10.1.2.3:8000');
});

test('what others could not reach is refused with its reason, loopback unless it is asked for', () => {
  for (const host of ['localhost', '127.0.0.1', '127.3.0.1', '::1', '[::1]:80']) {
    assert.throws(() => of(host), { code: 'CLUSTER_ADDRESS_UNUSABLE', message: /take for themselves/ }, host);
  }
  assert.equal(of('127.0.0.1', { loopbackAllowed: true }), '127.0.0.1:8000');
  assert.throws(() => of(undefined), { message: /nothing says where/ });
  assert.throws(() => of('0.0.0.0'), { message: /nobody can be reached/ });
  assert.throws(() => of('::', { loopbackAllowed: true }), { message: /nobody can be reached/ });
  assert.throws(() => of('10.0.0.1:0'), { message: /0 is no port/ });
  assert.throws(() => of('1:2:3'), { message: /is no address/ });
});
