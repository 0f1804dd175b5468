import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';

/** Debian's libfaketime, which gives a process another wall clock. Fails where it is missing. */
export function libfaketime(): string {
  const folders = readdirSync('/usr/lib').map((name) => path.join('/usr/lib', name, 'faketime', 'libfaketime.so.1'));
  const found = folders.find((file) => existsSync(file));
  assert.ok(found, "Debian's package faketime is missing");
  return found;
}
