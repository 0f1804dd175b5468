// What the project is made of, as `npm run supply` checks it: the list in CycloneDX (`npm run sbom`) has every package of the lock that
// runs and no other, each with its SHA-512 and its licence, and the registry knows of no weakness in them. A registry without that
// service (a mirror, mostly) is said, and is no failure. Closes with a line `N passed, N failed`.
import { npm, running } from './lib/lock.mjs';

const counts = { passed: 0, failed: 0 };

function check(title, flaws) {
  counts[flaws.length === 0 ? 'passed' : 'failed'] += 1;
  console.log(`${flaws.length === 0 ? 'ok    ' : 'FAILED'} ${title}`);
  for (const flaw of flaws) console.log(`       ${flaw}`);
}

function flawsOf({ components }) {
  const listed = new Map(components.map((one) => [`${one.name}@${one.version}`, one]));
  const runs = new Set(running().map(({ name, version }) => `${name}@${version}`));
  const flaws = [...listed.keys()].filter((name) => !runs.has(name)).map((name) => `${name} does not run`);
  for (const name of runs) {
    const found = listed.get(name);
    if (found === undefined) flaws.push(`${name} is not listed`);
    else {
      if (!found.hashes?.some(({ alg }) => alg === 'SHA-512')) flaws.push(`${name} has no SHA-512`);
      if (!found.licenses?.length) flaws.push(`${name} has no licence`);
    }
  }
  return flaws;
}

const sbom = JSON.parse(npm('run', '-s', 'sbom').stdout);
const listed = `${sbom.components.length} packages in ${sbom.bomFormat} ${sbom.specVersion}`;
check(`the list has what runs and nothing else, with hashes and licences: ${listed}`, flawsOf(sbom));

const audit = JSON.parse(npm('audit', '--omit', 'dev', '--json').stdout || '{}');
if (audit.vulnerabilities === undefined) {
  console.log(
    `-      the registry says nothing of weaknesses: ${audit.message ?? audit.error?.summary ?? 'no answer'}`,
  );
} else {
  const known = Object.values(audit.vulnerabilities).map(
    ({ name, severity, range }) => `${name} ${range}: ${severity}`,
  );
  check('the registry knows of no weakness of what runs', known);
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed === 0 ? 0 : 1;
