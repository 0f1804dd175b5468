// Adds to package-lock.json the platform packages that npm left out because the registry it ran against does not carry
// them. `npm install` skips such optional packages silently and `npm ci` then refuses the lock file ("Missing: … from
// lock file"), also on machines that would never install them. The names and exact versions are those that the parent
// package itself asks for; platform fields come from the name, so that npm passes the entry over elsewhere.
// Usage: node scripts/complete-lock.mjs [--check]
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const file = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'package-lock.json');
const lock = JSON.parse(readFileSync(file, 'utf8'));
const packages = lock.packages;

const OS = { android: 'android', darwin: 'darwin', freebsd: 'freebsd', linux: 'linux', win32: 'win32' };
const CPU = { arm64: 'arm64', aarch64: 'arm64', armv7: 'arm', x64: 'x64', ia32: 'ia32' };

/** The os, cpu and libc fields that a platform package's name stands for; undefined when it names no platform. */
function platformOf(name) {
  const words = name.split(/[-/]/);
  const os = words.map((word) => OS[word]).find(Boolean);
  const cpu = words.map((word) => CPU[word]).find(Boolean);
  if (!os || !cpu) return undefined;
  return { os: [os], cpu: [cpu], ...(words.includes('musl') ? { libc: ['musl'] } : {}) };
}

const missing = [];
for (const [parent, entry] of Object.entries(packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (packages[`node_modules/${name}`] || packages[`${parent}/node_modules/${name}`]) continue;
    missing.push({ parent, name, version, dev: entry.dev === true });
  }
}

if (process.argv.includes('--check')) {
  for (const { parent, name, version } of missing)
    console.error(`package-lock.json: ${parent} asks for ${name}@${version}`);
  if (missing.length > 0) console.error('run: node scripts/complete-lock.mjs');
  process.exit(missing.length > 0 ? 1 : 0);
}

for (const { parent, name, version, dev } of missing) {
  const platform = platformOf(name);
  if (!platform || !/^\d+\.\d+\.\d+$/.test(version)) {
    console.error(`${parent} asks for ${name}@${version}: expected a platform in the name and an exact version`);
    process.exit(1);
  }
  const { os, cpu, libc } = platform;
  packages[`node_modules/${name}`] = {
    version,
    cpu,
    ...(dev ? { dev: true } : {}),
    ...(libc ? { libc } : {}),
    optional: true,
    os,
  };
}
const [root, ...rest] = Object.entries(packages);
rest.sort(([a], [b]) => a.localeCompare(b, 'en'));
lock.packages = Object.fromEntries([root, ...rest]);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`added ${missing.length} platform packages to package-lock.json`);
