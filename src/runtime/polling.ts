import { hash } from 'node:crypto';
import type { TaskRecord } from '../model/task-record.js';
import type { PollHistory } from '../refresh/types.js';
import type { TaskStores } from '../store/joined-stores.js';
import type { PluginRuntime } from './runtime.js';

/** What is known of a plugin's tasks; a part of its runtime. */
type Polled = Pick<PluginRuntime, 'plugin' | 'gate' | 'refresher'>;

type LiveTasks = Pick<TaskStores, 'byId' | 'unfinishedOf'>;

/** Tasks whose batch keys are asked for at a time. */
const ASKED_TOGETHER = 100;

/**
 * Hands a live task to the poll schedule. The batch key, where the plugin has one, is asked for; until it is known the
 * task is read by itself, so that a batch never mixes keys. `last` is for a task that was read a moment ago.
 */
export function startPolling(
  { store }: { readonly store: LiveTasks },
  runtime: PluginRuntime,
  task: TaskRecord,
  last: Pick<PollHistory, 'lastReadAtMs'> = {},
): void {
  const keyed = hasBatchKeys(runtime.plugin);
  runtime.refresher.track(task, keyed ? { ...last, batchKey: alone(task) } : last);
  if (keyed) void regroup(runtime, store, task);
}

/** The same of many tasks, of which nothing was read here yet. */
export function startPollingAll(
  { store }: { readonly store: LiveTasks },
  runtime: PluginRuntime,
  tasks: readonly TaskRecord[],
): void {
  const keyed = hasBatchKeys(runtime.plugin);
  runtime.refresher.trackAll(tasks, keyed ? alone : undefined);
  if (keyed) void regroupAll(runtime, store, false);
}

export function hasBatchKeys(plugin: PluginRuntime['plugin']): boolean {
  return plugin.features.getMany?.batchKeys === true;
}

/**
 * Asks for all batch keys of a plugin's live tasks anew: a reload may have brought other ones, and while its process was
 * away none could be told. Where it had none before (`first`) tasks are read by themselves until then. Never rejects.
 */
export async function regroupAll(runtime: Polled, store: LiveTasks, first: boolean): Promise<void> {
  const live = store.unfinishedOf(runtime.plugin.id).filter(({ stage }) => stage === 'live');
  if (first) for (const task of live) runtime.refresher.regroup(task.id, alone(task));
  for (let at = 0; at < live.length; at += ASKED_TOGETHER) {
    await Promise.all(live.slice(at, at + ASKED_TOGETHER).map((task) => regroup(runtime, store, task)));
  }
}

function alone(task: Pick<TaskRecord, 'id'>): string {
  return `single:${task.id}`;
}

/** Without an answer the task stays where it is. Never rejects. */
async function regroup({ plugin, gate, refresher }: Polled, store: LiveTasks, task: TaskRecord): Promise<void> {
  if (!hasBatchKeys(plugin)) {
    refresher.regroup(task.id, '');
    return;
  }
  if (task.meta === undefined) return;
  const outcome = await gate.call('batchKeys', { metas: [task.meta] }, { admission: 'wait' });
  const key = outcome.ok ? outcome.value.keys[0] : undefined;
  if (key !== undefined && store.byId(task.id)?.stage === 'live') refresher.regroup(task.id, `key:${key}`);
}

/**
 * Takes the token of a task that was adopted and that a read has shown to run, past whoever waits (rule 10). Until then,
 * and where its quota has no room for what handles alone say, it goes on without.
 */
export function adoptToken(
  runtime: PluginRuntime,
  task: Pick<TaskRecord, 'id' | 'identity' | 'adopted' | 'meta'>,
): void {
  const { project, namespace, quotaNamespace } = task.identity;
  if (!task.adopted || quotaNamespace === '' || task.meta === undefined) return;
  runtime.quotas.adopt({ taskId: task.id, quotaNamespace, project, namespace }, jobOf(task.meta));
}

/** A meta of so many bytes names its job itself; a longer one, which may have 16 KiB, does by a digest. */
const SHORT_META = 128;

/**
 * Names the job of a resource meta, for the ledger: the bytes, or the text of one byte a character that a record keeps of them. Equal
 * ones are one job. A start asks for those of half a million tasks, whose texts it has already.
 */
export function jobOf(meta: Buffer | string): string {
  const bytes = typeof meta === 'string' && meta.length > SHORT_META ? Buffer.from(meta, 'latin1') : meta;
  if (typeof bytes === 'string') return bytes;
  if (bytes.length <= SHORT_META) return bytes.toString('latin1');
  // Of the digest, and not of its text: a slice of a text keeps the whole of it.
  return hash('sha256', bytes, 'buffer').toString('latin1', 0, 16);
}
