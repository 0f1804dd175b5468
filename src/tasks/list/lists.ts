import { randomBytes } from 'node:crypto';
import type { Listed } from '../../lib/roll.js';
import type { Page, PageQuery, TaskQuery } from '../../model/page.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { Runtimes } from '../../runtime/runtime.js';
import type { TaskStores } from '../../store/joined-stores.js';
import type { OwedDelete } from '../../store/owed-deletes.js';
import type { UnclearCreate } from '../../store/unclear-creates.js';
import { Pages } from './page.js';
import { deleteRow, taskRow, unclearRow } from './rows.js';

/** What lists are made of. */
export interface ListParts {
  readonly store: Pick<TaskStores, 'listed' | 'owed' | 'unclear'>;
  readonly runtimes: Runtimes;
}

/** The operator's lists: what the daemon holds, in the order it came, a page at a time and from memory. */
export class TaskLists {
  readonly #parts: ListParts;
  readonly #pages = new Pages(randomBytes(4).toString('hex'));

  constructor(parts: ListParts) {
    this.#parts = parts;
  }

  tasks({ plugin, phase, stage, project, id, ...page }: TaskQuery): Page {
    return this.#tasks(page, (task) => {
      const { identity, state } = task;
      return (
        (plugin === undefined || plugin === identity.plugin) &&
        (phase === undefined || phase === state.phase) &&
        (stage === undefined || stage === task.stage) &&
        (project === undefined || project === identity.project) &&
        (id === undefined || task.id.startsWith(id))
      );
    });
  }

  /** What was answered, and never asked for or visibly lost. */
  orphans(page: PageQuery): Page {
    return this.#tasks(page, (task) => !task.confirmed && task.stage !== 'over');
  }

  deletes(page: PageQuery): Page {
    const { owed } = this.#parts.store;
    return this.#pages.of<OwedDelete & Listed>({ after: (place) => owed.listed(place), show: deleteRow }, page);
  }

  unclearCreates(page: PageQuery): Page {
    const { unclear } = this.#parts.store;
    return this.#pages.of<UnclearCreate & Listed>({ after: (place) => unclear.listed(place), show: unclearRow }, page);
  }

  #tasks(page: PageQuery, wanted: (task: TaskRecord) => boolean): Page {
    const { store, runtimes } = this.#parts;
    const show = (task: TaskRecord) => taskRow(task, runtimes.get(task.scope.plugin));
    return this.#pages.of<TaskRecord & Listed>({ after: (place) => store.listed(place), wanted, show }, page);
  }
}
