import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Debian's packages that make up the cluster; `slurm-wlm-jwt-plugin` holds the auth/jwt plugin that slurmrestd needs. */
const PACKAGES = [
  'munge',
  'slurm-client',
  'slurm-wlm-basic-plugins',
  'slurm-wlm-jwt-plugin',
  'slurmctld',
  'slurmd',
  'slurmrestd',
] as const;

const BINARIES = ['/usr/sbin/munged', '/usr/sbin/slurmctld', '/usr/sbin/slurmd', '/usr/sbin/slurmrestd'] as const;

/** Owns the jobs. slurmrestd runs as a second one, as it refuses to run as root or as the user whose tokens it sees. */
export const JOB_USER = 'wph-slurm-job';
export const REST_USER = 'wph-slurm-rest';

function run(command: string, args: readonly string[]): void {
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (result.status !== 0) {
    const output = `${result.stdout ?? ''}${result.stderr ?? ''}`.split('\n').slice(-15).join('\n');
    throw new Error(`${command} ${args.join(' ')} failed (${result.status ?? result.error?.message}):\n${output}`);
  }
}

function installed(name: string): boolean {
  const result = spawnSync('dpkg', ['-s', name], { encoding: 'utf8' });
  return result.status === 0 && result.stdout.includes('Status: install ok installed');
}

function userExists(name: string): boolean {
  return spawnSync('id', ['-u', name]).status === 0;
}

/**
 * Installs what is missing of Slurm and creates the two system users; does nothing on a machine where it ran before.
 * @throws Error when not run as root on a Debian-like system, or when the packages cannot be installed
 */
export function ensureSlurmInstalled(log: (line: string) => void): void {
  if (process.getuid?.() !== 0) {
    throw new Error('a real Slurm needs root (slurmd starts jobs as other users, munged has a user of its own)');
  }
  if (!existsSync('/usr/bin/apt-get'))
    throw new Error('apt-get not found: the harness takes Slurm from Debian packages');
  const missing = PACKAGES.filter((name) => !installed(name));
  if (missing.length > 0) {
    log(`installing ${missing.join(', ')}`);
    run('apt-get', ['-o', 'DPkg::Lock::Timeout=300', '-qq', 'update']);
    run('apt-get', ['-o', 'DPkg::Lock::Timeout=300', '-y', '-qq', '--no-install-recommends', 'install', ...missing]);
  }
  for (const binary of BINARIES) {
    if (!existsSync(binary)) throw new Error(`${binary} is missing although its package is installed`);
  }
  for (const user of [JOB_USER, REST_USER]) {
    if (!userExists(user)) run('useradd', ['--system', '--no-create-home', '--shell', '/bin/sh', user]);
  }
}
