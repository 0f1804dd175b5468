import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HostError, messageOf, stackOf } from '../../src/errors/index.js';
import { isPluginFailure } from '../../src/model/plugin-failure.js';
import { isPluginError } from '../../src/plugin-api/errors.js';
import { isTaggedLiteral } from '../../src/plugin-api/literals.js';
import { isPhaseInfo } from '../../src/plugin-api/phase.js';
import { statusOf } from '../../src/rpc/status.js';
import { isSurprise, toFailure } from '../../src/sandbox/failures.js';
import { errorOf } from '../../src/tasks/failures.js';
import { faultFields } from '../../src/telemetry/index.js';
import { thrown } from '../support/thrown.js';

test('whatever is thrown has a message and a stack, both texts', () => {
  fc.assert(
    fc.property(thrown, (make) => {
      const value = make();
      assert.equal(typeof messageOf(value), 'string');
      assert.equal(typeof stackOf(value), 'string');
      assert.equal(typeof faultFields(value).error, 'string');
      for (const is of [HostError.is, isPluginError, isTaggedLiteral, isPhaseInfo]) {
        assert.equal(typeof is(value), 'boolean');
      }
    }),
    { numRuns: 1_000 },
  );
});

test('whatever is thrown becomes a status that can be sent, never a throw', () => {
  fc.assert(
    fc.property(thrown, (make) => {
      const value = make();
      const { code, details, metadata } = statusOf(value);
      assert.ok(Number.isInteger(code) && code > 0, `code ${code}`);
      assert.doesNotThrow(() => encodeURI(details));
      assert.ok(Buffer.byteLength(details) <= 1_000);
      assert.equal(metadata.get('grpc-status-details-bin').length, 1);
    }),
    { numRuns: 1_000 },
  );
});

test('whatever a plugin throws becomes a failure, and that an error for a caller, never a throw', () => {
  fc.assert(
    fc.property(thrown, (make) => {
      const value = make();
      assert.equal(typeof isSurprise(value), 'boolean');
      const failure = toFailure(value, (text) => text);
      assert.ok(isPluginFailure(failure), JSON.stringify(failure));
      const error = errorOf(failure, 'demo', 'reading the task', 'get');
      assert.ok(HostError.is(error));
      assert.ok(statusOf(error).code > 0);
    }),
    { numRuns: 1_000 },
  );
});

test('a code of a plugin is its own, unless the catalogue has it: names that every object has are in no catalogue', () => {
  for (const code of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf', '']) {
    const failure = { kind: 'transient', message: 'm', code, faultKind: 'SYSTEM', retryAfterMs: undefined } as const;
    const error = errorOf(failure, 'demo', 'reading the task', 'get');
    assert.equal(error.code, 'PLUGIN_THREW_TRANSIENT');
    assert.equal(error.details.plugin_code, code);
  }
});
