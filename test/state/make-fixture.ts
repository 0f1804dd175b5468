import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { systemClock } from '../../src/lib/clock.js';
import { EmbeddedEngine } from '../../src/state/index.js';
import { filesBelow } from '../support/files.js';
import { fromRoot } from '../support/paths.js';
import { encoded } from './sample-facts.js';

/**
 * Run as a command with a version: writes the state of this release, one fact of each kind, to
 * test/fixtures/state/VERSION.json. Done once for each release that changes what is written; never again for an old one.
 */
const [version = ''] = process.argv.slice(2);
if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error('expected the version of the release, such as 0.1.0');
const dir = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-fixture-'));
const engine = new EmbeddedEngine({ dir, clock: systemClock });
await engine.open();
await engine.commit(encoded(), []);
await engine.close();
const files = filesBelow(dir).filter((file) => !/(LOCK|LOG|LOG\.old|holder\.json)$/.test(file));
const content = Object.fromEntries(files.map((file) => [file, readFileSync(path.join(dir, file)).toString('base64')]));
writeFileSync(fromRoot('test', 'fixtures', 'state', `${version}.json`), `${JSON.stringify(content, null, 2)}\n`);
