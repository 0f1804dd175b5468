import forge from 'node-forge';

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
}

const DAY_MS = 86_400_000;
let serial = 0;

/** A certificate for `name`, 127.0.0.1 and localhost, for tests. */
export function makeCertificate({ name, by, authority = false, ...valid }: CertificateOptions): Certificate {
  const { fromDays = -1, untilDays = 30 } = valid;
  const keys = forge.pki.rsa.generateKeyPair({ bits: 2048 });
  const cert = forge.pki.createCertificate();
  serial += 1;
  cert.serialNumber = serial.toString(16).padStart(4, '0');
  cert.publicKey = keys.publicKey;
  cert.validity.notBefore = new Date(Date.now() + fromDays * DAY_MS);
  cert.validity.notAfter = new Date(Date.now() + untilDays * DAY_MS);
  const subject = [{ name: 'commonName', value: name }];
  cert.setSubject(subject);
  cert.setIssuer(by === undefined ? subject : forge.pki.certificateFromPem(by.cert).subject.attributes);
  cert.setExtensions([
    { name: 'basicConstraints', cA: authority },
    {
      name: 'subjectAltName',
      altNames: [
        { type: 2, value: 'localhost' },
        { type: 7, ip: '127.0.0.1' },
      ],
    },
  ]);
  cert.sign(by === undefined ? keys.privateKey : forge.pki.privateKeyFromPem(by.key), forge.md.sha256.create());
  return { cert: forge.pki.certificateToPem(cert), key: forge.pki.privateKeyToPem(keys.privateKey) };
}
