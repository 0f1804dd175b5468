import { HostError, messageOf } from '../errors/index.js';
import { decodePair, FACT_KINDS, type Fact, type FactKey, type FactKind, factKey } from './facts/facts.js';
import type { Inspection } from './inspection.js';

/** What is in a state, and what is wrong with it. */
export interface StateReport {
  readonly facts: Readonly<Record<FactKind, { readonly count: number; readonly bytes: number }>>;
  /** Undefined where commits are not numbered. */
  readonly lastCommit: number | undefined;
  readonly sizeBytes: number;
  /** What replicas promised for owners that were away, and the next owner takes in. */
  readonly waiting: number;
  /** Since when the state knows every end, epoch milliseconds; undefined where it does not say. */
  readonly completeSinceMs: number | undefined;
  /** In words; empty for a state that is whole. */
  readonly problems: readonly string[];
}

/** Problems that are told one by one. */
const MAX_PROBLEMS = 100;

/** Told each fact that can be read, in the order of the keys. */
export type FactVisitor = (key: FactKey, fact: Fact) => void | Promise<void>;

/** Reads a whole state and closes it. */
export async function inspectState(inspection: Inspection, visit: FactVisitor = () => {}): Promise<StateReport> {
  const facts = Object.fromEntries(FACT_KINDS.map((kind) => [kind, { count: 0, bytes: 0 }])) as Record<
    FactKind,
    { count: number; bytes: number }
  >;
  const problems = new Problems();
  if (inspection.problem !== undefined) problems.add(inspection.problem);
  const needs = new Needs();
  let completeSinceMs: number | undefined;
  try {
    for await (const [key, value] of inspection.pairs()) {
      const read = reading(key, value);
      if (typeof read === 'string') {
        problems.add(read);
        continue;
      }
      facts[read.kind].count += 1;
      facts[read.kind].bytes += value.length;
      needs.see(read);
      if (read.kind === 'birth') completeSinceMs = read.fact.completeSinceMs;
      await visit(key, read);
    }
  } catch (error) {
    problems.add(messageOf(error));
  } finally {
    await inspection.close();
  }
  for (const problem of needs.unmet()) problems.add(problem);
  const { lastCommit, sizeBytes, waiting } = inspection;
  return { facts, lastCommit, sizeBytes, waiting, completeSinceMs, problems: problems.told() };
}

function reading(key: FactKey, value: Buffer): Fact | string {
  try {
    return decodePair(key, value);
  } catch (error) {
    if (HostError.is(error)) return error.message;
    throw error;
  }
}

class Problems {
  readonly #first: string[] = [];
  #more = 0;

  add(problem: string): void {
    if (this.#first.length < MAX_PROBLEMS) this.#first.push(problem);
    else this.#more += 1;
  }

  told(): readonly string[] {
    return this.#more === 0 ? this.#first : [...this.#first, `and ${this.#more} more`];
  }
}

/** Facts that others cannot do without. */
class Needs {
  readonly #payloads = new Set<string>();
  readonly #outputs = new Set<string>();
  readonly #needPayload: string[] = [];
  readonly #needOutputs: string[] = [];

  see(fact: Fact): void {
    if (fact.kind === 'payload') this.#payloads.add(fact.name);
    else if (fact.kind === 'outputs') this.#outputs.add(fact.name);
    else if (fact.kind === 'task') {
      const { stage, state } = fact.fact;
      if (stage === 'accepted' || stage === 'creating') this.#needPayload.push(fact.name);
      if (state.outputs === 'inline') this.#needOutputs.push(fact.name);
    }
  }

  *unmet(): Iterable<string> {
    for (const id of this.#needPayload) {
      if (!this.#payloads.has(id))
        yield `${factKey('task', id)} waits to be created, and ${factKey('payload', id)} is missing`;
    }
    for (const id of this.#needOutputs) {
      if (!this.#outputs.has(id)) yield `${factKey('task', id)} has outputs, and ${factKey('outputs', id)} is missing`;
    }
  }
}
