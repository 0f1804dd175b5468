// A call of every method of every service, in an order in which each finds what it needs.
import assert from 'node:assert/strict';

const NATIVE = 'pluginhost.v1.PluginHost';
const AGENT = 'flyteidl.service.AsyncAgentService';
const CONNECTOR = 'flyteidl2.connector.AsyncConnectorService';
const HEALTH = 'grpc.health.v1.Health';
const LIVE = new Set(['QUEUED', 'INITIALIZING', 'RUNNING']);

function template(type, steer) {
  return { type, custom: { steer }, metadata: { discoverable: false } };
}

function executionId(name) {
  const execution = { project: 'flytesnacks', domain: 'development', name };
  return {
    taskId: { resourceType: 'TASK', project: 'flytesnacks', domain: 'development', name: 'job', version: '1' },
    nodeExecutionId: { nodeId: 'n0', executionId: execution },
  };
}

function phaseOf([{ status }]) {
  return status.phaseInfo.phase;
}

/** `request` makes the messages to send from what earlier calls left in `kept`; `check` sees the answers. */
const call = (method, request, check, more = {}) => ({ method, request, check, ...more });

function nativeCalls(name, prefix) {
  const task = (type, steer) => ({
    generatedName: `${name}-native`,
    template: template(type, { label: `${name}-native`, ...steer }),
    outputPrefix: `${prefix}/native`,
  });
  const handle = (kept) => [{ handle: kept.handle }];
  return [
    call(
      `${NATIVE}/ListPlugins`,
      () => [{}],
      ([{ plugins }]) => {
        const { state, taskTypes, config } = plugins.find(({ id }) => id === 'interop');
        assert.equal(state, 'SERVING');
        assert.ok(taskTypes.some((type) => type.name === 'interop_versioned' && type.versions[0] === 2));
        assert.match(config.resyncInterval, /^\d+s$/);
      },
    ),
    call(
      `${NATIVE}/Create`,
      () => [{ task: task('interop_job', { hold: true }) }],
      (answers, kept) => {
        kept.handle = answers[0].handle;
        assert.ok(LIVE.has(phaseOf(answers)) || phaseOf(answers) === 'WAITING_FOR_RESOURCES', phaseOf(answers));
      },
    ),
    call(`${NATIVE}/Get`, handle, (answers) => assert.ok(LIVE.has(phaseOf(answers)), phaseOf(answers))),
    call(`${NATIVE}/Status`, handle, (answers) => {
      assert.ok(LIVE.has(phaseOf(answers)), phaseOf(answers));
      assert.ok(Date.parse(answers[0].status.observedAt) > 0);
      assert.match(answers[0].status.phaseInfo.customInfo.job, /^job-/);
    }),
    call(
      `${NATIVE}/Watch`,
      (kept) => [{ handles: [kept.handle], includeCurrent: true }],
      (answers, kept) => {
        assert.ok(answers[0].bookmark !== undefined && answers[0].resumeToken !== '');
        assert.equal(answers[1].change.handle, kept.handle);
      },
      { take: 2 },
    ),
    call(
      `${NATIVE}/Delete`,
      (kept) => [{ handle: kept.handle, reason: 'done' }],
      (answers) => assert.deepEqual(answers, [{}]),
    ),
    call(
      `${NATIVE}/Do`,
      () => [{ task: task('interop_sync', {}) }],
      ([{ phaseInfo }]) => {
        assert.equal(phaseInfo.phase, 'SUCCESS');
        assert.ok(phaseInfo.outputValues.literals.times.scalar.primitive.integer >= 1);
      },
    ),
    call(`${NATIVE}/Status`, () => [{ handle: 'AAAA' }], undefined, { code: 'invalidargument' }),
    call(`${NATIVE}/Create`, () => [{ task: { ...task('no_such_type', {}) } }], undefined, { code: 'notfound' }),
  ];
}

function flyte1Calls(name, prefix) {
  const taskExecutionMetadata = { taskExecutionId: executionId(`${name}-agent`), namespace: 'development' };
  const taskCategory = { name: 'interop_job', version: 0 };
  const job = (kept) => [{ resourceMeta: kept.agentMeta, taskCategory }];
  const outputPrefix = `${prefix}/agent`;
  return [
    call(
      `${AGENT}/CreateTask`,
      () => [
        {
          template: template('interop_job', { label: `${name}-agent`, hold: true, logLines: 3 }),
          outputPrefix,
          taskExecutionMetadata,
        },
      ],
      ([{ resourceMeta }], kept) => {
        kept.agentMeta = resourceMeta;
        assert.ok(resourceMeta.length > 0);
      },
    ),
    call(`${AGENT}/GetTask`, job, ([{ resource }]) => assert.notEqual(resource.phase, undefined)),
    call(
      `${AGENT}/GetTaskMetrics`,
      (kept) => [{ ...job(kept)[0], queries: ['cpu'] }],
      ([{ results }]) => assert.equal(results[0].metric, 'cpu'),
    ),
    call(
      `${AGENT}/GetTaskLogs`,
      (kept) => [{ ...job(kept)[0], lines: '10' }],
      (parts) => assert.equal(parts.flatMap(({ body }) => body?.results ?? []).length, 3),
      // Logs are there once the job runs.
      { again: true },
    ),
    call(`${AGENT}/DeleteTask`, job, (answers) => assert.deepEqual(answers, [{}])),
    call(
      'flyteidl.service.SyncAgentService/ExecuteTaskSync',
      () => [
        {
          header: {
            template: template('interop_sync', { label: `${name}-sync` }),
            outputPrefix: `${prefix}/sync`,
            taskExecutionMetadata: { taskExecutionId: executionId(`${name}-sync`) },
          },
        },
        { inputs: {} },
      ],
      ([{ header }]) => assert.equal(header.resource.phase, 'SUCCEEDED'),
    ),
    call(
      'flyteidl.service.AgentMetadataService/GetAgent',
      () => [{ name: 'interop' }],
      ([{ agent }]) => assert.ok(agent.supportedTaskCategories.some((category) => category.name === 'interop_job')),
    ),
    call(
      'flyteidl.service.AgentMetadataService/ListAgents',
      () => [{}],
      ([{ agents }]) => assert.ok(agents.some((agent) => agent.isSync === true)),
    ),
  ];
}

function flyte2Calls(name, prefix) {
  const taskExecutionMetadata = {
    taskExecutionId: {
      ...executionId(`${name}-connector`),
      taskId: { ...executionId('').taskId, org: 'flytesnacks' },
    },
    namespace: 'development',
  };
  const taskCategory = { name: 'interop_job', version: 0 };
  const job = (kept) => [{ resourceMeta: kept.connectorMeta, taskCategory }];
  return [
    call(
      `${CONNECTOR}/CreateTask`,
      () => [
        {
          template: template('interop_job', { label: `${name}-connector`, hold: true, logLines: 3 }),
          inputs: { literals: [{ name: 'x', value: { scalar: { primitive: { integer: '7' } } } }] },
          outputPrefix: `${prefix}/connector`,
          taskExecutionMetadata,
        },
      ],
      ([{ resourceMeta }], kept) => {
        kept.connectorMeta = resourceMeta;
        assert.ok(resourceMeta.length > 0);
      },
    ),
    call(`${CONNECTOR}/GetTask`, job, ([{ resource }]) => assert.notEqual(resource.phase, undefined)),
    call(
      `${CONNECTOR}/GetTaskMetrics`,
      (kept) => [{ ...job(kept)[0], queries: ['cpu'] }],
      ([{ results }]) => assert.equal(results[0].metric, 'cpu'),
    ),
    call(`${CONNECTOR}/GetTaskLogs`, job, (parts) => assert.match(JSON.stringify(parts), /line 0 of/), { again: true }),
    call(`${CONNECTOR}/DeleteTask`, job, (answers) => assert.deepEqual(answers, [{}])),
    call(
      'flyteidl2.connector.ConnectorMetadataService/GetConnector',
      () => [{ name: 'interop' }],
      ([{ connector }]) => assert.equal(connector.name, 'interop'),
    ),
    call(
      'flyteidl2.connector.ConnectorMetadataService/ListConnectors',
      () => [{}],
      ([{ connectors }]) => assert.ok(connectors.length >= 2),
    ),
  ];
}

function commonCalls() {
  const serving = ([{ status }]) => assert.equal(status, 'SERVING');
  const listed = ([{ listServicesResponse }]) =>
    assert.ok(listServicesResponse.service.some((service) => service.name === NATIVE));
  return [
    call(`${HEALTH}/Check`, () => [{}], serving),
    call(`${HEALTH}/Check`, () => [{ service: 'interop' }], serving),
    call(`${HEALTH}/Check`, () => [{ service: 'nobody' }], undefined, { code: 'notfound' }),
    call(
      `${HEALTH}/List`,
      () => [{}],
      ([{ statuses }]) => assert.equal(statuses.interop.status, 'SERVING'),
    ),
    call(`${HEALTH}/Watch`, () => [{ service: NATIVE }], serving, { take: 1 }),
    call('grpc.reflection.v1.ServerReflection/ServerReflectionInfo', () => [{ listServices: '' }], listed),
    call('grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo', () => [{ listServices: '' }], listed),
  ];
}

/** `name` tells the jobs of one client from those of the others; `prefix` is a URI for outputs. */
export function callsOf(name, prefix) {
  return [...nativeCalls(name, prefix), ...flyte1Calls(name, prefix), ...flyte2Calls(name, prefix), ...commonCalls()];
}
