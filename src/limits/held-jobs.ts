import type { TaskId } from '../model/attempt-key.js';

/**
 * The jobs that tokens stand for, so that a handle of one of them takes no second token (rule 10). Most daemons adopt nothing and
 * never need it: so it is made when somebody looks, and looks through the tokens that are out step by step, since there may be half a
 * million.
 */
export class HeldJobs {
  readonly #tasks = new Map<string, TaskId>();
  readonly #jobs = new Map<TaskId, string>();
  readonly #unseen: Iterator<TaskId>;
  readonly #jobOf: (taskId: TaskId) => string | undefined;

  /** `held` tells of a task that is added while it is gone through, and of none that is taken out. */
  constructor(held: Iterator<TaskId>, jobOf: (taskId: TaskId) => string | undefined) {
    this.#unseen = held;
    this.#jobOf = jobOf;
  }

  /** Looks at so many more tokens; whether all were seen. Those that are taken after that are named by whoever takes them. */
  see(atMost: number): boolean {
    for (let seen = 0; seen < atMost; seen++) {
      const { done, value } = this.#unseen.next();
      if (done === true) return true;
      const job = this.#jobOf(value);
      if (job !== undefined) this.name(value, job);
    }
    return false;
  }

  has(job: string): boolean {
    return this.#tasks.has(job);
  }

  of(taskId: TaskId): string | undefined {
    return this.#jobs.get(taskId);
  }

  /** Of several tasks of one job the first has it. */
  name(taskId: TaskId, job: string): void {
    if (this.#tasks.has(job) || this.#jobs.has(taskId)) return;
    this.#tasks.set(job, taskId);
    this.#jobs.set(taskId, job);
  }

  drop(taskId: TaskId): void {
    const job = this.#jobs.get(taskId);
    if (job === undefined) return;
    this.#jobs.delete(taskId);
    this.#tasks.delete(job);
  }
}
