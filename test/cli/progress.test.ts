import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createProgress } from '../../src/cli/progress.js';
import type { TaskStatus } from '../../src/client/types.js';
import { streamsOf } from './support.js';

const status = (phase: 'QUEUED' | 'RUNNING', log?: string): TaskStatus => ({
  phaseInfo: {
    phase,
    version: 1,
    reason: '',
    logs: log === undefined ? [] : [{ uri: log, name: 'main', ttlMs: undefined }],
    externalResources: [],
    remotePhase: '',
    outputs: { kind: 'none' },
  } as unknown as TaskStatus['phaseInfo'],
  observedAtMs: 0,
  consecutiveFailures: 0,
  lastError: '',
  lastErrorCode: '',
  remoteDown: false,
});

for (const [name, columns] of [
  ['a terminal', 80],
  ['a terminal that cannot be drawn on', 0],
] as const) {
  describe(`progress on ${name}`, () => {
    it('writes nothing into an open question, and says it afterwards', () => {
      for (const end of ['resume', 'stop'] as const) {
        const { io, stderr } = streamsOf({ tty: true, columns });
        const progress = createProgress(io, false, () => 0);
        progress.status(status('QUEUED'));
        progress.pause();
        const before = stderr();
        progress.status(status('RUNNING', 'http://logs/1'));
        progress.say('by the way');
        assert.equal(stderr(), before);
        progress[end]();
        assert.match(stderr().slice(before.length), /log main: http:\/\/logs\/1[\s\S]*by the way/);
        progress.stop();
      }
    });
  });
}
