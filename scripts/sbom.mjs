// Writes what runs, in CycloneDX, to standard output: what `npm sbom` says of the whole lock, without the packages that the lock marks as
// development's. (`npm sbom --omit dev` leaves out what development needs as well, half of what runs.)
import { fail, npm, running } from './lib/lock.mjs';

const { status, stdout, stderr } = npm('sbom', '--sbom-format', 'cyclonedx', '--package-lock-only');
if (status !== 0) fail(`npm sbom ended with ${status}: ${stderr}`);
const whole = JSON.parse(stdout);
const runs = new Set(running().map(({ name, version }) => `${name}@${version}`));
const components = whole.components.filter(({ name, version }) => runs.has(`${name}@${version}`));
const known = new Set([whole.metadata.component['bom-ref'], ...components.map((one) => one['bom-ref'])]);
const dependencies = whole.dependencies
  .filter(({ ref }) => known.has(ref))
  .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((other) => known.has(other)) }));
console.log(JSON.stringify({ ...whole, components, dependencies }, null, 2));
