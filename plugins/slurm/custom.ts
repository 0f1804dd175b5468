import { PermanentError, type TaskTemplate } from 'webapi-plugin-host';
import { z } from 'zod';
import { parseArray } from './array-spec.js';
import { environmentSchema, type SlurmSettings } from './settings.js';

const text = z.string().min(1);

/** What a task says in its template's `custom` field. Every key is optional; an unknown one is an error. */
export const customSchema = z
  .strictObject({
    cluster: text.optional(),
    /** The batch script, with or without a `#!` line. Never rendered: inputs are variables, `$INPUT_<name>`. */
    script: text
      .refine((value) => !value.includes('\0'), 'the script must not contain a NUL byte')
      .refine((value) => !value.includes('\r\n'), 'the script has CRLF line ends; Slurm nodes need LF')
      .optional(),
    /** Arguments of the script; `{{.inputs.x}}` is replaced. */
    args: z.array(z.string()).default([]),
    name: text.max(200).optional(),
    partition: text.optional(),
    account: text.optional(),
    qos: text.optional(),
    reservation: text.optional(),
    constraints: text.optional(),
    licenses: text.optional(),
    nodes: z.int().positive().optional(),
    tasks: z.int().positive().optional(),
    tasksPerNode: z.int().positive().optional(),
    cpusPerTask: z.int().positive().optional(),
    memoryMb: z.int().positive().optional(),
    memoryPerCpuMb: z.int().positive().optional(),
    /** A number, or with a type such as `a100:2`. */
    gpusPerNode: z.union([z.int().positive().transform(String), text]).optional(),
    timeLimitMinutes: z.int().positive().optional(),
    nice: z.int().optional(),
    exclusive: z.boolean().optional(),
    /** Slurm's array syntax, such as `0-9`, `1,3,5-11:2%4`. */
    array: text.optional(),
    /** `{{.inputs.x}}` is replaced in the values. */
    environment: environmentSchema.default({}),
    workingDirectory: z
      .string()
      .regex(/^\/[^\0\n]*$/, 'an absolute path')
      .optional(),
    /** Replaces the list of the plugin's settings. */
    permanentExitCodes: z.array(z.int().min(1).max(255)).max(32).optional(),
  })
  .refine((custom) => custom.memoryMb === undefined || custom.memoryPerCpuMb === undefined, {
    message: 'memoryMb and memoryPerCpuMb exclude each other',
    path: ['memoryPerCpuMb'],
  });

export type SlurmCustom = z.output<typeof customSchema>;

/** What is wrong with a value, with its path; keys of a map carry their own list of issues. */
function describeIssues(error: z.ZodError): string {
  return error.issues
    .slice(0, 8)
    .map((issue) => {
      const detail =
        issue.code === 'invalid_key' ? issue.issues.map((inner) => inner.message).join(', ') : issue.message;
      return `${issue.path.length === 0 ? '' : `${issue.path.join('.')}: `}${detail}`;
    })
    .join('; ');
}

/**
 * Reads and checks the `custom` field.
 * @throws PermanentError USER `InvalidTask`, with every wrong key
 */
export function parseCustom(template: TaskTemplate, settings: SlurmSettings): SlurmCustom {
  const parsed = customSchema.safeParse(template.custom);
  if (!parsed.success) throw invalid(`the task's custom field is not valid: ${describeIssues(parsed.error)}`);
  const { cluster, array } = parsed.data;
  if (cluster !== undefined && !Object.hasOwn(settings.clusters, cluster)) {
    throw invalid(`cluster '${cluster}' is not configured; known are ${Object.keys(settings.clusters).join(', ')}`);
  }
  if (array !== undefined) {
    const size = parseArray(array)?.length;
    if (size === undefined) throw invalid(`array '${array}' is not in Slurm's syntax, such as 0-9 or 1,3,5-11:2%4`);
    if (size > settings.maxArraySize) {
      throw invalid(`array '${array}' has ${size} elements, at most ${settings.maxArraySize} are allowed`);
    }
  }
  return parsed.data;
}

/** A task that cannot be run as it is written. */
export function invalid(message: string): PermanentError {
  return new PermanentError(message, { code: 'InvalidTask', faultKind: 'USER' });
}
