import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostLimits } from '../../src/daemon/host-options.js';
import { load } from '../config/support.js';

test('what the gRPC port takes fits into a message to a plugin, and two of them into its queue', () => {
  for (const size of ['64KiB', '64MiB', '256MiB', '1GiB']) {
    const { config } = load({ 'a.json': JSON.stringify({ grpc: { maxReceiveMessageBytes: size } }) });
    const { maxRequestBytes, maxQueuedBytes } = hostLimits(config);
    assert.ok(maxRequestBytes >= config.grpc.maxReceiveMessageBytes + 1024 * 1024, size);
    assert.ok(maxQueuedBytes >= 2 * maxRequestBytes, size);
  }
});
