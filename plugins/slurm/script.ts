import { createHash } from 'node:crypto';
import { fileOf } from './meta.js';

/** Shells whose scripts can be given a few lines in front; any other interpreter is started from a small sh script. */
const SHELLS: ReadonlySet<string> = new Set(['sh', 'bash', 'dash', 'ksh', 'mksh', 'zsh']);

export interface ScriptOptions {
  /** The task's own script; with or without a `#!` line. */
  readonly script: string;
  readonly args: readonly string[];
  readonly array: boolean;
  /** See SlurmMeta.stem. */
  readonly stem: string;
}

/** One word of a POSIX shell, whatever it contains. */
export function quote(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A script that runs one command line in place of itself. */
export function scriptOfCommand(words: readonly string[]): string {
  return `#!/bin/sh\n${words.map(quote).join(' ')}\n`;
}

function interpreterOf(script: string): { line: string; shell: boolean; rest: string } {
  if (!script.startsWith('#!')) return { line: '#!/bin/sh', shell: true, rest: script };
  const end = script.indexOf('\n');
  const line = end < 0 ? script : script.slice(0, end);
  const words = line.slice(2).trim().split(/\s+/);
  const program = words[0]?.split('/').pop() ?? '';
  const name =
    program === 'env' ? (words.slice(1).find((word) => !word.startsWith('-') && !word.includes('=')) ?? '') : program;
  return { line, shell: SHELLS.has(name.split('/').pop() ?? ''), rest: end < 0 ? '' : script.slice(end + 1) };
}

/**
 * What runs before the task's own lines: element directories of an array, a fresh exit code file, the output directory.
 * The exit code goes to a file because Slurm drops a job's record some minutes (MinJobAge) after its end.
 */
function preamble(options: ScriptOptions): string[] {
  const lines = [`__wph_exit=${quote(fileOf(options.stem, undefined, 'exit'))}`];
  if (options.array) {
    lines.push(
      `__wph_exit=${quote(options.stem)}-"$SLURM_ARRAY_TASK_ID".exit`,
      'if [ -n "$PLUGIN_HOST_OUTPUT_PREFIX" ]; then export PLUGIN_HOST_OUTPUT_PREFIX="$PLUGIN_HOST_OUTPUT_PREFIX/$SLURM_ARRAY_TASK_ID"; fi',
      'if [ -n "$PLUGIN_HOST_OUTPUT_DIR" ]; then export PLUGIN_HOST_OUTPUT_DIR="$PLUGIN_HOST_OUTPUT_DIR/$SLURM_ARRAY_TASK_ID"; fi',
    );
  }
  lines.push(
    'rm -f -- "$__wph_exit"',
    'if [ -n "$PLUGIN_HOST_OUTPUT_DIR" ]; then mkdir -p -- "$PLUGIN_HOST_OUTPUT_DIR" || exit 73; fi',
  );
  return lines;
}

const LEAVE_CODE = `printf '%s\\n' "$__wph_code" > "$__wph_exit.tmp" && mv -f -- "$__wph_exit.tmp" "$__wph_exit" || :`;

/**
 * The batch script handed to Slurm. A shell script stays one process: the preamble is put after its `#!` line and an
 * EXIT trap leaves the exit code (a script that sets its own EXIT trap, or replaces itself with exec, leaves none; then
 * only Slurm's record speaks for it). A script for another interpreter is written to a file on the node and run from there.
 */
export function buildScript(options: ScriptOptions): string {
  const { line, shell, rest } = interpreterOf(options.script);
  const args = options.args.map(quote).join(' ');
  if (shell) {
    const head = [
      line,
      '# put in by the plugin host: where outputs go, and the exit code for after Slurm has dropped the record',
      ...preamble(options),
      `trap '__wph_code=$?; ${LEAVE_CODE.replaceAll("'", "'\\''")}' EXIT`,
      ...(args === '' ? [] : [`set -- ${args}`]),
    ];
    return `${head.join('\n')}\n${rest.endsWith('\n') ? rest : `${rest}\n`}`;
  }
  const end = `__WPH_${createHash('sha256').update(options.script).digest('hex').slice(0, 16)}__`;
  return [
    '#!/bin/sh',
    '# made by the plugin host: runs the script below with its own interpreter and leaves its exit code',
    ...preamble(options),
    '__wph_script=$(mktemp) || exit 73',
    `cat > "$__wph_script" <<'${end}'`,
    options.script.endsWith('\n') ? options.script.slice(0, -1) : options.script,
    end,
    'chmod 700 "$__wph_script" || exit 73',
    `"$__wph_script"${args === '' ? '' : ` ${args}`}`,
    '__wph_code=$?',
    'rm -f -- "$__wph_script"',
    LEAVE_CODE,
    'exit "$__wph_code"',
    '',
  ].join('\n');
}
