import { parseArray } from './array-spec.js';

/**
 * What create leaves for every later call; some hundred bytes, plain JSON. No settings are repeated here except what
 * must not change for a job that already runs.
 */
export type SlurmMeta = {
  readonly cluster: string;
  /** Of the array, for an array job. */
  readonly jobId: number;
  /** The array specification; absent for a plain job. */
  readonly array?: string;
  /** Names of the declared outputs. */
  readonly outputs: string[];
  readonly permanentExitCodes: number[];
  /** Path of the job's own files beside its work directory, without ending: `.out` is the log, `.exit` the exit code. */
  readonly stem: string;
};

/** The element indexes of an array job, ascending; undefined for a plain one. */
export function indexesOf(meta: Pick<SlurmMeta, 'array'>): number[] | undefined {
  return meta.array === undefined ? undefined : (parseArray(meta.array) ?? []);
}

/** The file that a job, or an element of an array, leaves under `stem`. */
export function fileOf(stem: string, index: number | string | undefined, ending: 'out' | 'exit'): string {
  return index === undefined ? `${stem}.${ending}` : `${stem}-${index}.${ending}`;
}
