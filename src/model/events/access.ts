/** The ports that somebody can be kept out of. */
export type AccessPort = 'grpc' | 'admin';

/**
 * Why somebody was not let in.
 *
 * - of a connection: `not_tls` (it does not begin as TLS does, or not as one record), `handshake` (it came to no end),
 *   `no_certificate`, `certificate` (none of our authorities has signed it, or it is not valid now);
 * - of a call: `plaintext` (from elsewhere, without TLS),  `name` (its certificate is for somebody else), `no_token`,
 *   `wrong_token`, `may_not` (its token is not good for this), `guesses` (too many wrong tokens came from its address).
 */
export type AccessRefusal =
  | 'not_tls'
  | 'handshake'
  | 'no_certificate'
  | 'certificate'
  | 'plaintext'
  | 'name'
  | 'no_token'
  | 'wrong_token'
  | 'may_not'
  | 'guesses';

/** Told of who comes in, and with what. */
export interface AccessEvents {
  /** A port has a certificate, new or its first. */
  certificate(event: {
    readonly port: AccessPort;
    readonly names: readonly string[];
    readonly notAfterMs: number;
  }): void;
  /** The files cannot be used; the certificate from before goes on. */
  certificateKept(event: { readonly port: AccessPort; readonly error: string; readonly daysLeft: number }): void;
  /** The certificate in use has few days left; none where it has expired. */
  certificateExpires(event: { readonly port: AccessPort; readonly daysLeft: number }): void;
  /** Tokens of these names are in use, new or changed. */
  tokens(event: { readonly names: readonly string[] }): void;
  /** Files of tokens cannot be used; what they held before is in use. */
  tokensKept(event: { readonly error: string }): void;
  refused(event: {
    readonly port: AccessPort;
    readonly reason: AccessRefusal;
    readonly remote: string;
    readonly detail: string;
  }): void;
}
