import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { COUNTS } from './judge.js';
import { bentOf, PLANTS, type Plant, plantOf } from './plants.js';

/** What real kills showed of one plant. */
export interface PlantRow {
  readonly name: string;
  readonly result: 'caught' | 'missed' | 'unseen' | 'broken';
  /** After so many kills; with what. In words where there was no run, or it broke. */
  readonly kills: number;
  readonly by: string;
}

export interface PlantsResult {
  readonly plants: number;
  readonly caught: number;
  /** Missed, or the run broke. */
  readonly missed: readonly string[];
  readonly kills: number;
  readonly seed: number;
  readonly rows: readonly PlantRow[];
  readonly table: string;
}

export interface PlantsOptions {
  /** Of one run, at most. */
  readonly kills: number;
  readonly seed: number;
  readonly only?: readonly string[] | undefined;
  readonly say: (line: string) => void;
}

/** One run after the other, each with one plant in a process of its own: one that breaks takes no other with it. */
export async function allPlants({ kills, seed, only, say }: PlantsOptions): Promise<PlantsResult> {
  const plants = only === undefined ? PLANTS : only.map(plantOf);
  const rows: PlantRow[] = [];
  for (const plant of plants) {
    const row = bentOf(plant) === undefined ? unseen(plant) : await runPlant(plant, kills, seed);
    rows.push(row);
    say(lineOf(row));
  }
  const of = (result: PlantRow['result']) => rows.filter((row) => row.result === result);
  return {
    plants: rows.length,
    caught: of('caught').length,
    missed: [...of('missed'), ...of('broken')].map(({ name }) => name),
    kills,
    seed,
    rows,
    table: rows.map(lineOf).join('\n'),
  };
}

function lineOf({ name, result, kills, by }: PlantRow): string {
  return `${name.padEnd(28)}${result.padEnd(8)}${String(kills).padStart(4)} kills  ${by}`;
}

function unseen({ name, chaos }: Plant): PlantRow {
  return { name, result: 'unseen', kills: 0, by: chaos !== undefined && 'unseen' in chaos ? chaos.unseen : '' };
}

async function runPlant({ name }: Plant, kills: number, seed: number): Promise<PlantRow> {
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const args = [main, '--plant', name, '--kills', String(kills), '--seed', String(seed), '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const told = resultOf(text);
  if (told === undefined || code === 2) {
    return { name, result: 'broken', kills: 0, by: String(told?.error ?? `ended with ${code} and no result`) };
  }
  const found = [...COUNTS, 'secrets']
    .filter((count) => Number(told[count]) > 0)
    .map((count) => `${count} ${told[count]}`);
  return { name, result: found.length > 0 ? 'caught' : 'missed', kills: Number(told.kills), by: found.join(', ') };
}

function resultOf(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
