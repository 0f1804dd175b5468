import { z } from 'zod';

/** Names that Slurm and POSIX shells take without quoting: cluster, partition, account, variable values stay free. */
const ENVIRONMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Variables of a job's environment; values must not hold a NUL, which no environment can carry. */
export const environmentSchema = z.record(
  z.string().regex(ENVIRONMENT_NAME, 'a variable name is letters, digits and underscores, not starting with a digit'),
  z.string().refine((value) => !value.includes('\0'), 'a value must not contain a NUL byte'),
);

const absolutePath = z
  .string()
  .regex(/^\/[^\0\n%]*$/, "an absolute path without '%' (Slurm expands it in file names), NUL or line break");

/** Where the JWT comes from. It is read again before it expires and whenever Slurm refuses it, so it can be rotated. */
const tokenSchema = z.union([
  z.strictObject({ file: absolutePath }),
  z.strictObject({ secret: z.strictObject({ group: z.string(), key: z.string().min(1) }) }),
]);

const clusterSchema = z.strictObject({
  /** Root of slurmrestd, such as `http://slurm.example:6820`. */
  url: z
    .url({ protocol: /^https?$/ })
    .refine((value) => !URL.canParse(value) || new URL(value).username === '', 'no credentials in the URL; use `token`')
    .transform((value) => value.replace(/\/+$/, '')),
  /** The data-parser version in the paths of slurmrestd. */
  apiVersion: z
    .string()
    .regex(/^v0\.0\.(3[6-9]|4[0-9])$/, 'one of v0.0.36 to v0.0.49')
    .default('v0.0.38'),
  /** The user whose token it is; jobs run as this user. */
  user: z.string().min(1),
  token: tokenSchema,
  /** Where jobs that name none are sent; unset takes the cluster's default partition. */
  partition: z.string().min(1).optional(),
  account: z.string().min(1).optional(),
  qos: z.string().min(1).optional(),
  /**
   * An existing directory that the job user may write to, on every node. Jobs start here; their log and exit code are
   * left here. Log pages need it mounted at the same path beside the daemon.
   */
  workDir: absolutePath,
  /** Variables of every job, below those of the task. */
  environment: environmentSchema.default({ PATH: '/usr/local/bin:/usr/bin:/bin' }),
});

export type ClusterSettings = z.output<typeof clusterSchema>;

/** The operator's settings of this plugin; docs/plugins/slurm.md describes them. */
export const settingsSchema = z
  .strictObject({
    clusters: z
      .record(z.string().regex(/^[a-z][a-z0-9-]{0,39}$/, 'lower-case letters, digits and dashes'), clusterSchema)
      .refine((clusters) => Object.keys(clusters).length > 0, 'at least one cluster'),
    /** The cluster of tasks that name none; needed where there are several. */
    defaultCluster: z.string().optional(),
    /** Exit codes that another attempt would end with too. 126 and 127: the program cannot be run, is not there. */
    permanentExitCodes: z.array(z.int().min(1).max(255)).default([126, 127]),
    /**
     * Put in front of a container task's command, `{{image}}` replaced, such as
     * `["apptainer", "exec", "docker://{{image}}"]`. Empty runs the command on the node itself.
     */
    containerCommand: z.array(z.string().min(1)).default([]),
    /** How long after a job's end its outputs may take to show up (network file systems, object stores). */
    outputGraceSeconds: z.number().min(0).max(600).default(10),
    /** Largest answer taken from slurmrestd; the job list of a large cluster has some 4 KiB a job. */
    maxResponseBytes: z
      .int()
      .min(1 << 16)
      .max(1 << 30)
      .default(128 << 20),
    /** Most elements an array job may have. */
    maxArraySize: z.int().min(1).max(10_000).default(1_000),
    /** The web page of a job, `{{jobId}}` and `{{cluster}}` replaced; shown as its log link. */
    logUrlTemplate: z.string().min(1).optional(),
  })
  .superRefine((settings, ctx) => {
    const names = Object.keys(settings.clusters);
    if (settings.defaultCluster === undefined) {
      if (names.length > 1) {
        ctx.addIssue({
          code: 'custom',
          path: ['defaultCluster'],
          message: `needed with several clusters (${names.join(', ')})`,
        });
      }
    } else if (!names.includes(settings.defaultCluster)) {
      ctx.addIssue({
        code: 'custom',
        path: ['defaultCluster'],
        message: `'${settings.defaultCluster}' is none of ${names.join(', ')}`,
      });
    }
  });

export type SlurmSettings = z.output<typeof settingsSchema>;

/** The cluster of a task that names none. */
export function defaultClusterOf(settings: SlurmSettings): string {
  return settings.defaultCluster ?? Object.keys(settings.clusters)[0] ?? '';
}
