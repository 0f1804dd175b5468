import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { CertificateFiles } from '../../src/access/certificates.js';
import type { AccessEvents, AccessPort } from '../../src/model/events/access.js';
import type { Certificate } from '../support/certificates.js';

/** Notes what it was told, each as its name and what the tests look at. */
export function noteAccess(): AccessEvents & { readonly told: string[]; readonly details: string[] } {
  const told: string[] = [];
  const details: string[] = [];
  const note = (name: string, what: unknown) => void told.push(`${name} ${what}`);
  return {
    told,
    details,
    certificate: ({ names }: { port: AccessPort; names: readonly string[] }) => note('certificate', names[0]),
    certificateKept: ({ error }) => note('kept', error),
    certificateExpires: ({ daysLeft }) => note('expires', daysLeft),
    tokens: ({ names }) => note('tokens', names.join()),
    tokensKept: ({ error }) => note('tokensKept', error),
    refused: ({ port, reason, detail }) => {
      note('refused', `${port} ${reason}`);
      details.push(detail);
    },
  };
}

/**
 * A folder as Kubernetes keeps one: its files are links through `..data`, which is swapped as a whole.
 */
export class MountedFolder {
  readonly #dir: string;
  #version = 0;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
  }

  file(name: string): string {
    return path.join(this.#dir, name);
  }

  swap(files: Readonly<Record<string, string>>): void {
    this.#version += 1;
    const version = `..v${this.#version}`;
    mkdirSync(this.file(version));
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(this.#dir, version, name), text);
    symlinkSync(version, this.file('..data_tmp'));
    renameSync(this.file('..data_tmp'), this.file('..data'));
    if (this.#version > 1) return;
    for (const name of Object.keys(files)) symlinkSync(`..data/${name}`, this.file(name));
  }
}

/** A mounted certificate, with authorities for clients where `ca` is given. */
export class MountedIdentity {
  readonly #folder: MountedFolder;
  readonly files: CertificateFiles;
  readonly #ca: string | undefined;

  constructor(dir: string, first: Certificate, ca?: string) {
    this.#folder = new MountedFolder(dir);
    this.#ca = ca;
    this.swap(first);
    const caFile = ca === undefined ? undefined : this.#folder.file('ca.crt');
    this.files = { certFile: this.#folder.file('tls.crt'), keyFile: this.#folder.file('tls.key'), caFile };
  }

  swap({ cert, key }: Certificate): void {
    this.#folder.swap({ 'tls.crt': cert, 'tls.key': key, ...(this.#ca === undefined ? {} : { 'ca.crt': this.#ca }) });
  }
}
