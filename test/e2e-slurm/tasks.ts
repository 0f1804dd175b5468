import type { Phase } from 'webapi-plugin-host';
import type { TaskInput } from 'webapi-plugin-host/client';

/** What must have become of a task in the end. */
export interface Expectation {
  readonly phase: Phase;
  readonly code?: string;
  /** Of a failure; USER unless given. */
  readonly kind?: 'USER' | 'SYSTEM';
  readonly message?: RegExp;
  readonly outputs?: Readonly<Record<string, unknown>>;
}

/** One of the sixty tasks. */
export interface PlannedTask {
  readonly name: string;
  readonly task: TaskInput;
  /** Undefined for tasks that the scenario deletes. */
  readonly expect: Expectation | undefined;
  /** Submissions that Slurm must have seen of it. */
  readonly submissions: number;
}

interface Parts {
  readonly custom?: Record<string, unknown>;
  readonly container?: Record<string, unknown>;
  /** By name: a simple type of flyteidl, or `[type]` for a list of it. */
  readonly outputs?: Readonly<Record<string, string | readonly [string]>>;
  readonly inputs?: Readonly<Record<string, number | string>>;
  readonly expect?: Expectation;
  readonly submissions?: number;
}

function literal(value: number | string) {
  return { scalar: { primitive: typeof value === 'number' ? { integer: String(value) } : { stringValue: value } } };
}

/** Makes tasks whose outputs lie below `dataDir`. */
export class TaskPlan {
  readonly tasks: PlannedTask[] = [];

  constructor(private readonly dataDir: string) {}

  add(name: string, parts: Parts): PlannedTask {
    const { custom = {}, container, outputs = {}, inputs = {}, expect, submissions = 1 } = parts;
    const variables = Object.entries(outputs).map(([key, simple]) => [
      key,
      { type: typeof simple === 'string' ? { simple } : { collectionType: { simple: simple[0] } } },
    ]);
    const planned: PlannedTask = {
      name,
      expect,
      submissions,
      task: {
        generatedName: name,
        outputPrefix: `file://${this.dataDir}/out/${name}`,
        template: {
          type: 'slurm',
          id: { resourceType: 'TASK', project: 'e2e', domain: 'test', name, version: '1' },
          interface: { outputs: { variables: Object.fromEntries(variables) } },
          custom: custom as never,
          ...(container === undefined ? {} : { container: container as never }),
        },
        inputs: { literals: Object.fromEntries(Object.entries(inputs).map(([key, value]) => [key, literal(value)])) },
      },
    };
    this.tasks.push(planned);
    return planned;
  }
}

const write = (json: string) => `printf '%s' ${JSON.stringify(json)} > "$PLUGIN_HOST_OUTPUT_DIR/outputs.json"`;

/** `y` = twice the input, a float that is whole, and a text, after `seconds`. */
function doubling(seconds: number) {
  return (plan: TaskPlan, name: string, x: number): PlannedTask =>
    plan.add(name, {
      custom: {
        script: `sleep ${seconds}\nprintf '{"y": %s, "half": %s, "who": "%s"}' $((INPUT_x * 2)) "$1" "$INPUT_who" > "$PLUGIN_HOST_OUTPUT_DIR/outputs.json"\n`,
        args: ['{{.inputs.x}}'],
      },
      inputs: { x, who: `it's ${name} $(id)` },
      outputs: { y: 'INTEGER', half: 'FLOAT', who: 'STRING' },
      expect: { phase: 'SUCCESS', outputs: { y: x * 2, half: x, who: `it's ${name} $(id)` } },
    });
}

function forever(plan: TaskPlan, name: string, custom: Record<string, unknown> = {}, more: Parts = {}): PlannedTask {
  return plan.add(name, { custom: { script: 'sleep 600\n', ...custom }, ...more });
}

function array(plan: TaskPlan, name: string, seconds: number, failing?: number): PlannedTask {
  const fail = failing === undefined ? '' : `[ "$SLURM_ARRAY_TASK_ID" = ${failing} ] && exit 9\n`;
  return plan.add(name, {
    custom: {
      array: '0-2%2',
      script: `sleep ${seconds}\n${fail}echo "{\\"square\\": $((SLURM_ARRAY_TASK_ID * SLURM_ARRAY_TASK_ID))}" > "$PLUGIN_HOST_OUTPUT_DIR/outputs.json"\n`,
    },
    outputs: failing === undefined ? { square: ['INTEGER'] as const } : {},
    expect:
      failing === undefined
        ? { phase: 'SUCCESS', outputs: { square: [0, 1, 4] } }
        : {
            phase: 'RETRYABLE_FAILURE',
            code: 'NonZeroExitCode',
            message: new RegExp(`_${failing} FAILED.*exit code 9`),
          },
  });
}

/** Twenty that are under way when the daemon is restarted. */
export function planFirstHalf(plan: TaskPlan) {
  const range = (count: number) => Array.from({ length: count }, (_, i) => i);
  return {
    timeouts: range(3).map((i) =>
      forever(
        plan,
        `timeout-${i}`,
        { timeLimitMinutes: 1 },
        {
          expect: { phase: 'PERMANENT_FAILURE', code: 'TimeLimit', message: /TIMEOUT.*time limit/ },
        },
      ),
    ),
    // long enough to run still when all of the first half is created
    requeued: range(2).map((i) => doubling(30)(plan, `requeued-${i}`, i)),
    parked: range(2).map((i) => forever(plan, `cancel-pending-${i}`, { partition: 'parked' })),
    recreated: range(3).map((i) => {
      // the second incarnation finds the mark that the first one left
      const mark = `${'$'}PLUGIN_HOST_OUTPUT_DIR/first`;
      return plan.add(`recreated-${i}`, {
        custom: { script: `if [ ! -e "${mark}" ]; then touch "${mark}"; sleep 600; fi\n${write('{"run": 2}')}\n` },
        outputs: { run: 'INTEGER' },
        expect: { phase: 'SUCCESS', outputs: { run: 2 } },
        submissions: 2,
      });
    }),
    long: range(4).map((i) => doubling(25)(plan, `long-${i}`, 100 + i)),
    cancelledBefore: range(2).map((i) => forever(plan, `cancel-before-${i}`)),
    cancelledAfter: range(2).map((i) => forever(plan, `cancel-after-${i}`)),
    scancelled: [
      forever(plan, 'scancelled', {}, { expect: { phase: 'ABORTED', message: /cancelled at the cluster/ } }),
    ],
    arrays: [array(plan, 'array-long', 12)],
  };
}

/** Forty after the restart, more than there are quota tokens; slurmrestd goes away in the middle. */
export function planSecondHalf(plan: TaskPlan) {
  const range = (count: number) => Array.from({ length: count }, (_, i) => i);
  const exit = (name: string, script: string, expect: Expectation) => plan.add(name, { custom: { script }, expect });
  return {
    quick: range(7).map((i) => doubling(i % 4)(plan, `quick-${i}`, i)),
    duringHang: range(6).map((i) => doubling(i % 3)(plan, `during-hang-${i}`, i)),
    containers: range(4).map((i) =>
      plan.add(`container-${i}`, {
        container: {
          image: 'unused',
          command: ['/bin/sh', '-c'],
          args: [`${write(`{"n": ${i}}`)}; echo "$GREETING"`],
          env: [{ key: 'GREETING', value: 'hello' }],
          resources: { requests: [{ name: 'CPU', value: '500m' }] },
        },
        outputs: { n: 'INTEGER' },
        expect: { phase: 'SUCCESS', outputs: { n: i } },
      }),
    ),
    failing: range(6).map((i) =>
      exit(`exit-${i + 1}`, `echo sad >&2; exit ${i + 1}\n`, {
        phase: 'RETRYABLE_FAILURE',
        code: 'NonZeroExitCode',
        message: new RegExp(`exit code ${i + 1},.*NonZeroExitCode`),
      }),
    ),
    unrunnable: range(2).map((i) =>
      exit(`unrunnable-${i}`, 'no-such-program-anywhere\n', {
        phase: 'PERMANENT_FAILURE',
        code: 'NonZeroExitCode',
        message: /exit code 127/,
      }),
    ),
    signalled: range(2).map((i) =>
      exit(`signalled-${i}`, 'kill -9 $$\n', {
        phase: 'RETRYABLE_FAILURE',
        code: 'KilledBySignal',
        message: /signal 9/,
      }),
    ),
    arrays: [array(plan, 'array-a', 0), array(plan, 'array-b', 1), array(plan, 'array-fails', 0, 1)],
    preempted: forever(
      plan,
      'preempted',
      { partition: 'humble' },
      {
        expect: { phase: 'RETRYABLE_FAILURE', code: 'Preempted', kind: 'SYSTEM', message: /PREEMPTED.*give way/ },
      },
    ),
    urgent: plan.add('urgent', { custom: { script: 'sleep 1', partition: 'urgent' }, expect: { phase: 'SUCCESS' } }),
    nodeFailed: forever(
      plan,
      'node-failed',
      { partition: 'humble' },
      {
        expect: {
          phase: 'RETRYABLE_FAILURE',
          code: 'NodeFail',
          kind: 'SYSTEM',
          message: /NODE_FAIL.*NodeDown.*on frail/,
        },
      },
    ),
    perl: [
      plan.add('perl', {
        custom: {
          script:
            '#!/usr/bin/perl\nopen my $f, ">", "$ENV{PLUGIN_HOST_OUTPUT_DIR}/outputs.json";\nprint $f "{\\"a\\": \\"@ARGV\\"}";\n',
          args: ['one two', '{{.inputs.x}}'],
        },
        inputs: { x: 3 },
        outputs: { a: 'STRING' },
        expect: { phase: 'SUCCESS', outputs: { a: 'one two 3' } },
      }),
    ],
    doubled: range(2).map((i) => doubling(1)(plan, `created-thrice-${i}`, i)),
    refused: [
      plan.add('refused-by-slurm', {
        custom: { script: 'true\n', partition: 'no-such-partition' },
        expect: { phase: 'PERMANENT_FAILURE', code: 'Slurm2000', message: /Invalid partition/ },
        submissions: 0,
      }),
      plan.add('refused-by-plugin', {
        custom: { script: 'true\n', partitoin: 'main' },
        expect: { phase: 'PERMANENT_FAILURE', code: 'InvalidTask', message: /partitoin/ },
        submissions: 0,
      }),
    ],
    cancelledWaiting: range(2).map((i) => forever(plan, `cancel-waiting-${i}`, {}, { submissions: 0 })),
  };
}
