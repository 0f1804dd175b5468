import { attemptKeyOf } from '../../src/model/attempt-key.js';
import type { TaskEvents } from '../../src/model/events/tasks.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { type FakePlugin, type Harness, type HarnessOptions, makeHarness } from './harness.js';

const EVENTS = [
  'accepted',
  'created',
  'ended',
  'adopted',
  'handleUnverified',
  'metaLarge',
  'stateCut',
  'createRetried',
  'outputsDelayed',
  'createUnclear',
  'createCleared',
  'createLeft',
  'unserved',
  'deleteOwed',
  'deleteFailed',
  'deleteDone',
  'orphanDeleted',
  'outputsDropped',
] as const satisfies readonly (keyof TaskEvents)[];

export interface Timeline extends Harness {
  /**
   * What happened since the last look, in order: `<milliseconds> <event, or call of the plugin> <what it says>`. Tasks go by
   * the name of their attempt. Reads, whose pace is the schedule's, are left out.
   */
  told(): string[];
  /** The phases and reasons that watchers were shown since the last look, with their times. */
  seen(): string[];
}

/** A harness that notes every word of the daemon about its tasks and every call of the plugin, to the millisecond. */
export async function makeTimeline(given: HarnessOptions = {}): Promise<Timeline> {
  const told: string[] = [];
  const seen: string[] = [];
  let now = () => 0;
  const names = new Map<string, string>();
  const named = (text: string) => text.replace(/[0-9a-f]{32}/g, (key) => names.get(key) ?? key);
  const note = (list: string[], ...words: readonly unknown[]) =>
    void list.push(named([now(), ...words.map(textOf)].join(' ')));
  const events = Object.fromEntries(EVENTS.map((name) => [name, (...words: unknown[]) => note(told, name, ...words)]));
  const h = await makeHarness({
    ...given,
    events: { ...events, ...given.events },
    plugin(plugin: FakePlugin) {
      const call = plugin.call.bind(plugin);
      plugin.call = (method, args, options) => {
        const { idempotencyKey, meta, reason } = args as { idempotencyKey?: string; meta?: Buffer; reason?: string };
        if (method !== 'get')
          note(told, `-> ${method}`, ...[idempotencyKey, meta, reason].filter((word) => word !== undefined));
        return call(method, args, options);
      };
      given.plugin?.(plugin);
    },
  });
  const startMs = h.clock.now();
  now = () => h.clock.now() - startMs;
  const reader = h.tasks.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: false });
  void (async () => {
    for (let event = await reader.next(); event !== undefined; event = await reader.next()) {
      if (event.kind !== 'change') continue;
      const { task, deleted } = event.change;
      note(seen, task.id, task.state.phase, task.state.reason, ...(deleted ? ['(deleted)'] : []));
    }
  })();
  const spec: Harness['spec'] = (name, parts) => {
    names.set(attemptKeyOf({ name, executionId: '' }), name);
    return h.spec(name, parts);
  };
  return { ...h, spec, told: () => told.splice(0), seen: () => seen.splice(0) };
}

function textOf(word: unknown): string {
  if (Buffer.isBuffer(word)) return word.toString();
  if (Array.isArray(word)) return `[${word}]`;
  return typeof word === 'object' && word !== null ? (word as TaskRecord).id : String(word);
}
