import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Abortable, Stop } from '../../src/lib/stop.js';

/** A signal, and what aborts it. */
interface Pair {
  readonly signal: Abortable;
  abort(reason?: unknown): void;
}

function platform(): Pair {
  const controller = new AbortController();
  return { signal: controller.signal, abort: (reason) => controller.abort(reason) };
}

function own(): Pair {
  const stop = new Stop();
  return { signal: stop, abort: (reason) => stop.abort(reason) };
}

for (const [name, pair] of Object.entries({ platform, own })) {
  test(`a listener is called once, in its turn, and not where it left or came too late (${name})`, () => {
    const { signal, abort } = pair();
    const called: string[] = [];
    const left = () => called.push('left');
    const takenAway = () => called.push('taken away');
    const twice = () => called.push('twice');
    signal.addEventListener('abort', left);
    signal.addEventListener('abort', twice);
    signal.addEventListener('abort', () => {
      called.push(`told, aborted: ${signal.aborted}`);
      signal.removeEventListener('abort', takenAway);
      signal.addEventListener('abort', () => called.push('during the abort'));
    });
    signal.addEventListener('abort', takenAway);
    signal.addEventListener('abort', twice);
    signal.removeEventListener('abort', left);
    signal.removeEventListener('abort', left);
    assert.equal(signal.aborted, false);
    abort('the first');
    abort('the second');
    signal.addEventListener('abort', () => called.push('too late'));
    assert.deepEqual(called, ['twice', 'told, aborted: true']);
    assert.deepEqual([signal.aborted, signal.reason], [true, 'the first']);
  });
}
