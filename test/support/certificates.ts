import { generateKeyPairSync } from 'node:crypto';
import forge from 'node-forge';
import { noteKey } from './suite-secrets.js';

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** What a certificate is made with; PEM texts throughout. */
export interface CertificateOptions {
  readonly name: string;
  /** Who signs it; itself where left out. */
  readonly by?: Certificate;
  readonly authority?: boolean;
  /** Days from now; negative ones have passed. Default -1 to 30. */
  readonly fromDays?: number;
  readonly untilDays?: number;
  /** Other names than 127.0.0.1 and localhost. */
  readonly altNames?: readonly object[];
}

const DAY_MS = 86_400_000;
const OWN_NAMES: readonly object[] = [
  { type: 2, value: 'localhost' },
  { type: 7, ip: '127.0.0.1' },
];
let serial = 0;

/** A certificate for `name`, 127.0.0.1 and localhost, for tests. */
export function makeCertificate({ name, by, authority = false, ...valid }: CertificateOptions): Certificate {
  const { fromDays = -1, untilDays = 30, altNames = OWN_NAMES } = valid;
  // Node makes a key ten times as fast.
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
  noteKey(pem);
  const own = forge.pki.privateKeyFromPem(pem);
  const cert = forge.pki.createCertificate();
  serial += 1;
  cert.serialNumber = serial.toString(16).padStart(4, '0');
  cert.publicKey = forge.pki.setRsaPublicKey(own.n, own.e);
  cert.validity.notBefore = new Date(Date.now() + fromDays * DAY_MS);
  cert.validity.notAfter = new Date(Date.now() + untilDays * DAY_MS);
  const subject = [{ name: 'commonName', value: name }];
  cert.setSubject(subject);
  cert.setIssuer(by === undefined ? subject : forge.pki.certificateFromPem(by.cert).subject.attributes);
  cert.setExtensions([
    { name: 'basicConstraints', cA: authority },
    { name: 'subjectAltName', altNames },
  ]);
  cert.sign(by === undefined ? own : forge.pki.privateKeyFromPem(by.key), forge.md.sha256.create());
  return { cert: forge.pki.certificateToPem(cert), key: pem };
}
