import type { TestContext } from 'node:test';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { keepObjectsYoung } from '../../../src/lib/young-objects.js';
import { phaseState } from '../../../src/model/phase-state.js';
import { createNativeService, NATIVE_BOUNDS } from '../../../src/rpc/native/service.js';
import { DEFAULT_FIELD_LIMITS } from '../../support/defaults.js';
import { FakeTasks } from '../fake-tasks.js';
import { createRequest, idl, startServer } from '../support.js';

/**
 * A server in a process of its own, since a process that runs tests follows every asynchronous resource and keeps what it follows. Says its
 * port and the handle of a task; answers `collect` once a full collection is over, and any other word with the bytes of its old space. It answers
 * `held` with the bytes that it has in memory after a full collection, and with those that its unfinished requests are counted with.
 */

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const tasks = new FakeTasks();
tasks.createState = phaseState('RUNNING', { reason: 'it runs' });
const service = createNativeService({ tasks, idl, limits: DEFAULT_FIELD_LIMITS, ...NATIVE_BOUNDS });
keepObjectsYoung();
const untilKilled = { after() {} } as unknown as TestContext;
const { port, call, server } = await startServer(untilKilled, { services: [service] });
await call('Create', createRequest());
process.on('message', (word) => {
  if (word !== 'look') collect();
  if (word === 'held') {
    const { heapUsed, external } = process.memoryUsage();
    process.send?.([heapUsed + external, server.unfinishedBytes]);
    return;
  }
  const old = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space');
  process.send?.(old?.space_used_size);
});
process.send?.({ port, handle: [...tasks.records.keys()][0] });
