import { type MessageWriter, SelfWritten } from '../lib/self-written.js';
import type { ResourceArgs } from '../model/plugin-call.js';
import type { TaskRecord } from '../model/task-record.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import { freshConnection, idempotencyKeyOfTask, resourceArgs } from './runtime.js';

/**
 * The arguments of a task that is read with others: what `resourceArgs` says, made as it is asked for, and written from the task's
 * record without a copy of it.
 */
export class BatchItem extends SelfWritten implements ResourceArgs {
  readonly #task: TaskRecord;
  readonly #nowMs: number;

  constructor(task: TaskRecord, nowMs: number) {
    super();
    this.#task = task;
    this.#nowMs = nowMs;
  }

  get meta(): Buffer {
    return resourceArgs(this.#task, this.#nowMs).meta;
  }

  get outputPrefix(): string {
    return this.#task.outputPrefix;
  }

  get outputNames(): readonly string[] | undefined {
    return this.#task.scope.outputNames;
  }

  get idempotencyKey(): string {
    return idempotencyKeyOfTask(this.#task);
  }

  get connection(): ConnectionInfo | undefined {
    return freshConnection(this.#task, this.#nowMs);
  }

  write(writer: MessageWriter): string {
    const { outputPrefix, outputNames, idempotencyKey, connection } = this;
    const meta = writer.bytes(this.#task.metaText ?? '');
    const names = outputNames === undefined ? '' : `"outputNames":${writer.value(outputNames)},`;
    const secrets = connection === undefined ? '' : `,"connection":${writer.value(connection)}`;
    return `{"meta":${meta},"outputPrefix":${writer.text(outputPrefix)},${names}"idempotencyKey":${writer.text(idempotencyKey)}${secrets}}`;
  }
}
