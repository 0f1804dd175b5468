import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Bent } from './bent.js';

/**
 * A bug that is planted in a copy of the build, so that the tests of reliability and of security can be seen to fail. The text is that of
 * the compiled file; one that is not found there once is an error, so that a plant does not go stale unseen.
 */
export interface Plant {
  readonly name: string;
  /** What the bug breaks. */
  readonly what: string;
  /** Compiled, below `dist/src`. */
  readonly file: string;
  readonly find: string;
  readonly put: string;
  /** Tests, below `dist/test`, of which one at least must fail. */
  readonly tests: readonly string[];
  /** How real kills are brought to meet it; why they cannot. */
  readonly chaos?: Bent | { readonly unseen: string };
}

/** The quick one first: a run ends with the first failure. */
const CRASHES = ['tasks/durable.test.js', 'tasks/crashes.test.js'];

/** Kills in the very moment of an answer: what was told and is not safe is lost. */
const AS_IT_ANSWERS: Bent = { kills: { answer: 90, time: 10 }, most: 6 };
/** Many deletes, and kills while they are under way: none of these jobs ends by itself. */
const DELETES: Bent = {
  plans: { delete: 70, recreate: 10, plain: 20 },
  kills: { answer: 45, cancel: 35, time: 20 },
  most: 3,
};
/** Kills about a create that is on its way. */
const SUBMITS: Bent = { plans: { plain: 80, repeat: 20 }, kills: { submit: 45, submitted: 45, time: 10 }, most: 3 };

/** A door that is left open: the tests knock, real kills do not. */
const OPEN_DOOR = { unseen: 'in that run nobody comes whom the daemon must keep out' } as const;
const TLS = ['rpc/edge/tls.test.js'];
const GUARD = ['access/guard.test.js'];
const SECRETS = ['daemon/secrets.test.js'];

/** Several replicas. */
const ONE_DAEMON = { unseen: 'in that run there is one daemon' } as const;
const LEASES = ['cluster/lease.test.js', 'cluster/seat.test.js', 'cluster/seat-parts.test.js'];
const SENDS = ['sandbox/lease.test.js', 'plugin-api/http-lease.test.js', 'host/lease.test.js'];
const ROWS = ['postgres/members.e2e.js'];
const GUARDED_ROWS = ['postgres/guards.e2e.js'];
const INBOX_ROWS = ['postgres/inbox.e2e.js'];
const GUARDED = ['state/guarded-writer.test.js'];
const CONSUMED = ['state/consumed.test.js'];
const FORWARDS = ['cluster/forwarder.test.js'];
const GRANTS = ['limits/grants/grants.test.js', 'limits/grants/lane-grants.test.js'];
const QUOTAS = ['limits/grants/quota-grants.test.js'];
const MOVES = ['daemon/part-moves.test.js'];
const SPREAD = ['daemon/spread-limits.test.js'];
const NEEDS = ['cluster/assignment.test.js', 'cluster/remote-reach.test.js', 'daemon/part-needs.test.js'];
/** `--parts` with `--replicas` spreads them; runs of plants have one daemon. */
const NOT_SPREAD = { unseen: 'in that run tasks are not spread' } as const;
const STAND_IN = ['tasks/stand-in.test.js', 'tasks/stand-in-properties.test.js'];
/** Runs of plants have one daemon. */
const NO_INBOX = { unseen: 'in that run no replica stands in for another' } as const;
/** Grants that nobody draws yet. */
const NOT_DRAWN = { unseen: 'in that run one daemon has the limits' } as const;

export const PLANTS: readonly Plant[] = [
  {
    name: 'create-told-early',
    what: 'Create answers before what it promises is safe',
    file: 'tasks/accept/create.js',
    find: "await assertSafe(this.#deps, store.safe(), scope, 'the task');",
    put: 'await Promise.resolve();',
    tests: CRASHES,
    chaos: AS_IT_ANSWERS,
  },
  {
    name: 'delete-told-early',
    what: 'Delete answers before its order is safe',
    file: 'tasks/end/delete-list.js',
    find: 'const safe = store.safe();',
    put: 'const safe = Promise.resolve();',
    tests: CRASHES,
    chaos: { ...DELETES, kills: { answer: 100 } },
  },
  {
    name: 'intent-not-written',
    what: 'the order of a delete is never written',
    file: 'store/facts.js',
    find: 'owed: (id) => owedFactOf(store, id),',
    put: 'owed: (id) => void id,',
    tests: CRASHES,
    chaos: DELETES,
  },
  {
    name: 'sending-not-marked',
    what: 'no mark says that a create may have been sent',
    file: 'tasks/accept/creator.js',
    find: 'store.sending(this.#task, boundMs);',
    put: 'void boundMs;',
    tests: CRASHES,
    chaos: SUBMITS,
  },
  {
    name: 'sending-not-awaited',
    what: 'a create leaves before its mark is safe',
    file: 'tasks/accept/creator.js',
    find: '        return store.safe();',
    put: '        return Promise.resolve();',
    tests: CRASHES,
    chaos: SUBMITS,
  },
  {
    name: 'bound-not-awaited',
    what: 'a create that may be under way is repeated at once',
    file: 'tasks/accept/creator.js',
    find: 'if (leftMs <= 0)',
    put: 'if (leftMs < Number.POSITIVE_INFINITY)',
    tests: CRASHES,
    chaos: SUBMITS,
  },
  {
    name: 'token-freed-twice',
    what: 'a token that is given back counts twice',
    file: 'limits/quota-ledger.js',
    find: 'this.#usage.subtract(grant);',
    put: 'this.#usage.subtract(grant), this.#usage.subtract(grant);',
    tests: ['limits/quota-ledger.test.js', ...CRASHES],
    chaos: { plans: { plain: 100 }, kills: { time: 100 } },
  },
  {
    name: 'tokens-forgotten',
    what: 'a start gives the tokens of those who hold them to others',
    file: 'tasks/recovery.js',
    find: 'quotas.hold(token);',
    put: 'void token;',
    tests: CRASHES,
    chaos: { plans: { plain: 50, delete: 50 }, kills: { time: 80, submitted: 20 } },
  },
  {
    name: 'full-bucket',
    what: 'a bucket is full after a crash',
    file: 'limits/token-bucket.js',
    find: 'this.#level = 0;',
    put: 'this.#level = options.config.burst;',
    tests: ['limits/token-bucket.test.js', ...CRASHES],
    chaos: {
      plans: { plain: 100 },
      kills: { submitted: 100 },
      most: 8,
      fleet: { keyed: { write: { qps: 0.2, burst: 8 }, quota: 60, projectQuota: 60 } },
    },
  },
  {
    name: 'phase-back',
    what: 'a start tells a task that runs as queued',
    file: 'store/restore.js',
    find: 'return state && entryOf(fact, state, undefined, this.nowMs);',
    put: "return state && entryOf(fact, phaseState('QUEUED', { reason: 'taken up' }), undefined, this.nowMs);",
    tests: CRASHES,
  },
  {
    name: 'versions-not-leapt',
    what: 'a start goes on from the version that was safe, and others had been told',
    file: 'store/restore.js',
    find: 'phaseVersion + MAX_UNSAFE_VERSIONS + 1',
    put: 'phaseVersion',
    tests: CRASHES,
  },
  {
    name: 'leap-not-kept',
    what: 'two starts in a row leap to the same version',
    file: 'store/restore.js',
    find: 'entry.unsafeVersions = MAX_UNSAFE_VERSIONS;',
    put: 'entry.unsafeVersions = 0;',
    tests: CRASHES,
  },
  {
    name: 'delete-forgotten',
    what: 'a start forgets the deletes that are owed',
    file: 'store/restore.js',
    find: '        restoreOwed(store, id, owed);',
    put: '        void owed, void id;',
    tests: CRASHES,
    chaos: DELETES,
  },
  {
    name: 'end-mark-forgotten',
    what: 'a start forgets which incarnations were deleted',
    file: 'store/restore.js',
    find: '        restoreMark(store, key, mark);',
    put: '        void mark, void key;',
    tests: CRASHES,
    chaos: { plans: { recreate: 80, plain: 20 }, kills: { answer: 50, time: 50 }, most: 12 },
  },
  {
    name: 'payload-dropped-early',
    what: 'inputs are dropped when their create is sent, not when it is answered',
    file: 'store/facts.js',
    find: 'return store.entry(id)?.payload;',
    put: 'return store.entry(id)?.sentBoundMs === undefined ? store.entry(id)?.payload : undefined;',
    tests: CRASHES,
  },
  {
    name: 'end-told-early',
    what: 'a rise of the phase is told before it is safe',
    file: 'store/task-store.js',
    find: 'const rises = phaseRank(known.phase) > phaseRank(entry.state.phase);',
    put: 'const rises = false;',
    tests: CRASHES,
    chaos: { kills: { time: 100 } },
  },
  {
    name: 'outputs-forgotten',
    what: 'the outputs of an end are not written',
    file: 'store/facts.js',
    find: 'outputs: (id) => outputsOf(store.entry(id)),',
    put: 'outputs: (id) => void id,',
    tests: CRASHES,
  },
  {
    name: 'owed-delete-dropped',
    what: 'a delete that failed once is done',
    file: 'tasks/end/delete-list.js',
    find: 'return this.#retryIn(work, failure.code, failure.message, failure.retryAfterMs);',
    put: 'return this.#finish(work);',
    tests: CRASHES,
    chaos: { ...DELETES, kills: { time: 100 } },
  },
  {
    name: 'recovery-in-another-order',
    what: 'what waits is taken up the last come first',
    file: 'store/restore.js',
    find: 'return laidOut.filter((entry) => entry !== undefined);',
    put: 'return laidOut.filter((entry) => entry !== undefined).reverse();',
    tests: CRASHES,
    chaos: {
      unseen:
        'no book of a remote says in which order tasks were accepted, and a limited remote gets them in another order anyway',
    },
  },
  {
    name: 'do-told-early',
    what: 'the end of a Do is told before it is safe',
    file: 'tasks/accept/do.js',
    find: 'await this.#deps.replays.set(key, state);',
    put: 'void this.#deps.replays.set(key, state);',
    tests: CRASHES,
    chaos: { plans: { do: 90, plain: 10 }, kills: { answer: 100 } },
  },
  {
    name: 'names-not-checked',
    what: 'a client comes in whose certificate is for a name that the list has not',
    file: 'access/tls-entrance.js',
    find: 'if (clientNames.length === 0 || allowsName(clientNames, names))',
    put: 'if (clientNames.length >= 0 || allowsName(clientNames, names))',
    tests: TLS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'any-authority-taken',
    what: 'a client comes in whose certificate nobody of ours has signed',
    file: 'access/tls-entrance.js',
    find: 'if (!socket.authorized) {',
    put: "if (String(socket.authorizationError).startsWith('CERT_')) {",
    tests: TLS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'expired-taken',
    what: 'a client comes in whose certificate has expired',
    file: 'access/tls-entrance.js',
    find: 'if (!socket.authorized) {',
    put: "if (!socket.authorized && socket.authorizationError !== 'CERT_HAS_EXPIRED') {",
    tests: TLS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'not-yet-valid-taken',
    what: 'a client comes in whose certificate is not valid yet',
    file: 'access/tls-entrance.js',
    find: 'if (!socket.authorized) {',
    put: "if (!socket.authorized && socket.authorizationError !== 'CERT_NOT_YET_VALID') {",
    tests: TLS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'old-tls-spoken',
    what: 'TLS older than 1.2 is spoken',
    file: 'access/tls-entrance.js',
    find: "minVersion: 'TLSv1.2',",
    put: "minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0',",
    tests: TLS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'renegotiation-taken',
    what: 'a connection may renegotiate, at the cost of a handshake each time',
    file: 'access/tls-entrance.js',
    find: 'secureOptions: constants.SSL_OP_NO_RENEGOTIATION,',
    put: 'secureOptions: constants.SSL_OP_NO_COMPRESSION,',
    tests: ['admin/tls.test.js'],
    chaos: OPEN_DOOR,
  },
  {
    name: 'certificate-not-exchanged',
    what: 'a new certificate is not given out',
    file: 'access/tls-entrance.js',
    find: 'watch.onChange((next) => this.#server.setSecureContext(contextOf(next)));',
    put: 'void watch;',
    tests: TLS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'own-expired-served',
    what: 'a certificate of the daemon that has expired is served',
    file: 'access/certificates.js',
    find: 'if (nowMs > Date.parse(certificate.validTo)) {',
    put: 'if (nowMs > Number.MAX_VALUE) {',
    tests: ['access/certificates.test.js'],
    chaos: OPEN_DOOR,
  },
  {
    name: 'plaintext-from-anywhere',
    what: 'plain text is taken from another machine',
    file: 'access/entrance.js',
    find: "const trusted = from === 'anywhere' || isLoopback(address);",
    put: "const trusted = from === 'anywhere' || address.length > 0;",
    tests: TLS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'name-by-its-beginning',
    what: 'a name is allowed that begins as one of the list',
    file: 'access/names.js',
    find: 'return names.some((name) => known.has(folded(name)));',
    put: 'return names.some((name) => [...known].some((one) => folded(name).startsWith(one)));',
    tests: ['access/names.test.js'],
    chaos: OPEN_DOOR,
  },
  {
    name: 'token-by-its-beginning',
    what: 'a token is right whose beginning is',
    file: 'access/tokens.js',
    find: "createHash('sha256').update(token).digest()",
    put: "createHash('sha256').update(token.slice(0, 12)).digest()",
    tests: GUARD,
    chaos: OPEN_DOOR,
  },
  {
    name: 'right-not-checked',
    what: 'any token may do everything',
    file: 'access/guard.js',
    find: 'if (caller.may.includes(right))',
    put: 'if (caller.may.length > 0)',
    tests: GUARD,
    chaos: OPEN_DOOR,
  },
  {
    name: 'guesses-without-end',
    what: 'an address may guess tokens as fast as it likes',
    file: 'access/guard.js',
    find: 'if (waitMs > 0) {',
    put: 'if (waitMs > Number.MAX_VALUE) {',
    tests: GUARD,
    chaos: OPEN_DOOR,
  },
  {
    name: 'old-token-still-good',
    what: 'a token that was taken out of its file stays good',
    file: 'access/token-watch.js',
    find: 'this.#held.set(name, found);',
    put: 'this.#held.set(name, [...(this.#held.get(name) ?? []), ...found]);',
    tests: GUARD,
    chaos: OPEN_DOOR,
  },
  {
    name: 'signature-not-checked',
    what: 'a handle is taken for ours whatever its signature',
    file: 'model/handle-keys.js',
    find: 'timingSafeEqual(macOf(bytes, signer), mac)',
    put: 'timingSafeEqual(macOf(bytes, signer), mac) || mac.length > 0',
    tests: ['model/handle-keys.test.js', 'tasks/handle-trust.test.js'],
    chaos: OPEN_DOOR,
  },
  {
    name: 'signature-of-the-head',
    what: 'the signature of a handle covers its head alone',
    file: 'model/handle.js',
    find: 'return signer.mac(bytes.subarray(CHECKED, HEAD), bytes.subarray(SIGNED_HEAD));',
    put: 'return signer.mac(bytes.subarray(CHECKED, HEAD));',
    tests: ['model/handle-keys.test.js', 'tasks/handle-trust.test.js'],
    chaos: OPEN_DOOR,
  },
  {
    name: 'audit-of-the-socket',
    what: 'who did something is told by a socket, which knows nothing of a client that has gone',
    file: 'admin/server.js',
    find: "const remote = known?.peer.address ?? request.socket.remoteAddress ?? '';",
    put: "const remote = request.socket.remoteAddress ?? '';",
    tests: ['admin/server.test.js'],
    chaos: OPEN_DOOR,
  },
  {
    name: 'audit-of-this-end',
    what: 'who deleted something is told with the address of this end',
    file: 'rpc/edge/connections.js',
    find: "this.address = socket.remoteAddress ?? '';",
    put: "this.address = socket.localAddress ?? '';",
    tests: ['rpc/access.test.js'],
    chaos: OPEN_DOOR,
  },
  {
    name: 'reason-not-masked',
    what: 'the reason of a phase is shown, and kept, with the secrets that a plugin put there',
    file: 'model/masked.js',
    find: 'reason: mask(state.reason),',
    put: 'reason: state.reason,',
    tests: ['model/masked.test.js', ...SECRETS],
    chaos: OPEN_DOOR,
  },
  {
    name: 'secrets-of-calls-not-masked',
    what: 'secrets that came with a call are shown where a plugin prints them',
    file: 'host/process/plugin-process.js',
    find: 'for (const secret of Object.values(connection.secrets))',
    put: 'for (const secret of [])',
    tests: SECRETS,
  },
  {
    name: 'secret-in-the-log',
    what: 'the log shows the secrets in lines that a plugin prints',
    file: 'host/process/output-lines.js',
    find: "const line = this.#options.mask(raw.endsWith('\\r') ? raw.slice(0, -1) : raw);",
    put: 'const line = raw;',
    tests: SECRETS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'secret-in-a-metric',
    what: 'a metric is named by a secret',
    file: 'host/process/plugin-process.js',
    find: 'if (this.#masks.reveals(message.name))',
    put: 'if (message.name.length === 0)',
    tests: SECRETS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'secret-in-the-state',
    what: 'the state holds secrets that came with calls',
    file: 'store/facts.js',
    find: 'outputPrefix: entry.outputPrefix,',
    put: 'outputPrefix: entry.outputPrefix + JSON.stringify(entry.connection?.secrets ?? {}),',
    tests: SECRETS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'key-not-masked',
    what: 'the private key of a certificate is shown where a plugin prints it',
    file: 'access/certificate-watch.js',
    find: 'mask?.(identity.key);',
    put: 'void mask;',
    tests: SECRETS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'secret-in-a-listing',
    what: 'the configuration is listed with its secrets',
    file: 'config/print.js',
    find: 'leaf.sensitive ? MASK : maskInside(showValue(leaf, value))',
    put: 'showValue(leaf, value)',
    tests: SECRETS,
    chaos: OPEN_DOOR,
  },
  {
    name: 'lease-from-answer',
    what: 'a replica counts its lease from the answer to a renewal',
    file: 'cluster/lease.js',
    find: 'this.#untilMs = Math.max(this.#untilMs, askedAtMs + this.#heldMs);',
    put: 'this.#untilMs = Math.max(this.#untilMs, this.#bootMs() + this.#heldMs);',
    tests: LEASES,
    chaos: ONE_DAEMON,
  },
  {
    name: 'lease-not-asked',
    what: 'a replica works on after its lease',
    file: 'cluster/seat.js',
    find: ' && this.#lease.leftMs > 0;',
    put: ';',
    tests: LEASES,
    chaos: ONE_DAEMON,
  },
  {
    name: 'lease-by-wall-clock',
    what: 'a replica counts its lease on the clock that people set',
    file: 'cluster/lease.js',
    find: 'return Math.max(0, this.#untilMs - this.#bootMs());',
    put: 'return Math.max(0, this.#untilMs - Date.now());',
    tests: LEASES,
    chaos: ONE_DAEMON,
  },
  {
    name: 'sent-past-lease',
    what: 'a plugin’s process that was frozen sends, when it wakes, what another replica has taken over',
    file: 'sandbox/lease.js',
    find: 'return this.#bootMs() >= this.#untilMs;',
    put: 'return false;',
    tests: SENDS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'lease-asked-before-the-connection',
    what: 'a request that waited for its connection leaves without another look at the lease',
    file: 'plugin-api/http/transport.js',
    find: 'if (lease.maySend())',
    put: 'if (!signal.aborted)',
    tests: SENDS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'watched-by-half',
    what: 'a replica is taken for dead after half a lease',
    file: 'cluster/lease.js',
    find: 'this.#leaseMs = leaseMs + BOOT_GRAIN_MS;',
    put: 'this.#leaseMs = leaseMs / 2;',
    tests: LEASES,
    chaos: ONE_DAEMON,
  },
  {
    name: 'silence-unseen',
    what: 'the silence of an owner is counted over a time in which nobody could look',
    file: 'cluster/lease.js',
    find: 'before.closelyMs + Math.min(this.#closeMs, gapMs)',
    put: 'before.closelyMs + gapMs',
    tests: LEASES,
    chaos: ONE_DAEMON,
  },
  {
    name: 'given-while-worked-on',
    what: 'a part is another’s before the work on it has ended',
    file: 'cluster/held-parts.js',
    find: "held.state = 'giving';",
    put: "held.state = 'given';",
    tests: LEASES,
    chaos: ONE_DAEMON,
  },
  {
    name: 'row-gone-lives',
    what: 'a replica whose row was taken away is waited for once more',
    file: 'cluster/lease.js',
    find: 'counter !== undefined && before.counter !== counter',
    put: 'before.counter !== counter',
    tests: LEASES,
    chaos: ONE_DAEMON,
  },
  {
    name: 'counter-not-compared',
    what: 'a replica that renews its lease is replaced all the same',
    file: 'state/postgres/members.js',
    find: 'AND counter = $3::bigint RETURNING 1),',
    put: 'AND $3::bigint IS NOT NULL RETURNING 1),',
    tests: ROWS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'epoch-not-compared',
    what: 'a commit is taken from whoever sends it',
    file: 'state/postgres/statements.js',
    find: 'AND tenure = $10 AND epoch = $1`',
    put: 'AND tenure = $10 AND $1::text IS NOT NULL`',
    tests: ROWS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'tenure-not-compared',
    what: 'a commit counts that was asked for before the part was given up and taken again',
    file: 'state/postgres/statements.js',
    find: 'AND o.tenure = w.tenure AND',
    put: 'AND',
    tests: ROWS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'part-of-another',
    what: 'a commit of several parts writes those of others, where one of them is its own',
    file: 'state/postgres/statements.js',
    find: "mine: 'part = ANY(parts)',",
    put: "mine: 'cardinality(parts) > 0',",
    tests: ROWS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'fence-without-lock',
    what: 'a takeover does not wait for the commit that is under way',
    file: 'state/postgres/statements.js',
    find: ' FOR SHARE OF o)',
    put: ')',
    tests: ROWS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'guard-compared-before',
    what: 'who takes the part of a guard does not wait for the commit that compared it',
    file: 'state/postgres/statements.js',
    find: 'ORDER BY o.part FOR SHARE OF o\n',
    put: 'ORDER BY o.part\n',
    tests: GUARDED_ROWS,
    chaos: NOT_SPREAD,
  },
  {
    name: 'guard-told-and-written',
    what: 'a part whose guard is not met is written all the same',
    file: 'state/postgres/statements.js',
    find: 'FROM own WHERE part NOT IN (SELECT part FROM unmet)',
    put: 'FROM own',
    tests: GUARDED_ROWS,
    chaos: NOT_SPREAD,
  },
  {
    name: 'guard-by-owner-alone',
    what: 'a guard is met whoever took its part meanwhile',
    file: 'state/postgres/statements.js',
    find: 'WHERE f.part = g.guard AND f.tenure = g.tenure)',
    put: 'WHERE f.part = g.guard)',
    tests: GUARDED_ROWS,
    chaos: NOT_SPREAD,
  },
  {
    name: 'guards-ignored',
    what: 'what a tenancy of limits granted is written whether it counts or not',
    file: 'state/writer.js',
    find: 'drops, guardsOf(group), consumed)',
    put: 'drops, [], consumed)',
    tests: GUARDED,
    chaos: NOT_SPREAD,
  },
  {
    name: 'guards-dropped-at-a-repeat',
    what: 'a commit that failed is repeated without its guards',
    file: 'state/writer.js',
    find: 'drops, guardsOf(group), consumed)',
    put: 'drops, this.#failures > 0 ? [] : guardsOf(group), consumed)',
    tests: GUARDED,
    chaos: NOT_SPREAD,
  },
  {
    name: 'guards-left-behind',
    what: 'what joins a commit that failed is written without its guards',
    file: 'state/writer.js',
    find: 'group.guarded.push(...later.guarded);',
    put: 'for (const { met } of later.guarded) void group.safe.promise.then(() => met.resolve(true));',
    tests: GUARDED,
    chaos: NOT_SPREAD,
  },
  {
    name: 'token-written-before-it-lapses',
    what: 'the group of a guard that is not met is written before the token was given up',
    file: 'state/writer.js',
    find: 'await new Promise((resolve) => void this.#options.clock.setTimer(0, resolve));',
    put: '',
    tests: GUARDED,
    chaos: NOT_SPREAD,
  },
  {
    name: 'token-without-guard',
    what: 'the state has no guards for what a tenancy of limits granted',
    file: 'daemon/state.js',
    find: 'kept?.hasGuards === true',
    put: 'kept?.hasGuards === null',
    tests: ['daemon/state-guards.test.js'],
    chaos: NOT_SPREAD,
  },
  {
    name: 'inbox-consumed-apart',
    what: 'rows of the inbox end in a commit before the one that writes what follows from them',
    file: 'state/writer.js',
    find: 'const { puts, drops, whole } = this.#encode(group.keys);',
    put: `if (group.consumed.length > 0) await engine.commit(new Map(), [], group.consumed.splice(0));
            const { puts, drops, whole } = this.#encode(group.keys);`,
    tests: CONSUMED,
    chaos: NO_INBOX,
  },
  {
    name: 'inbox-rows-left-behind',
    what: 'rows of the inbox stay, whose effect joined a commit that failed',
    file: 'state/writer.js',
    find: 'group.consumed.push(...later.consumed);',
    put: '',
    tests: CONSUMED,
    chaos: NO_INBOX,
  },
  {
    name: 'inbox-consumed-by-who-lost-the-part',
    what: 'rows of the inbox end in the commit of who has the part no more, of which nothing is written',
    file: 'state/postgres/statements.js',
    find: 'USING held WHERE d.part = ANY(parts) AND d.id',
    put: 'USING held WHERE d.id',
    tests: INBOX_ROWS,
    chaos: NO_INBOX,
  },
  {
    name: 'inbox-put-under-an-old-tenure',
    what: 'what was decided before a part was taken is promised after it',
    file: 'state/postgres/inbox-statements.js',
    find: 'ON f.part = g.part AND f.tenure = g.tenure',
    put: 'ON f.part = g.part',
    tests: INBOX_ROWS,
    chaos: NO_INBOX,
  },
  {
    name: 'inbox-put-without-a-lock',
    what: 'a put compares the tenure, and the part is taken and read before what it puts is seen',
    file: 'state/postgres/inbox-statements.js',
    find: 'ORDER BY o.part FOR SHARE OF o SKIP LOCKED',
    put: 'ORDER BY o.part',
    tests: INBOX_ROWS,
    chaos: NO_INBOX,
  },
  {
    name: 'inbox-owner-contradicted',
    what: 'an owner that may be alive is taken for gone, and told over',
    file: 'tasks/stand-in.js',
    find: 'return owner === undefined || this.#options.isGone(owner);',
    put: 'return owner !== null;',
    tests: STAND_IN,
    chaos: NO_INBOX,
  },
  {
    name: 'inbox-owner-asked-early',
    what: 'an owner that is back once its task was read is told over',
    file: 'tasks/stand-in.js',
    find: 'this.#assertGone(of.kept);',
    put: 'void of.kept;',
    tests: STAND_IN,
    chaos: NO_INBOX,
  },
  {
    name: 'forward-without-deadline',
    what: 'a call that is passed on has no deadline',
    file: 'cluster/owner-call.js',
    find: "...(Number.isFinite(leftMs) && { 'grpc-timeout': timeoutHeader(leftMs) }),",
    put: '',
    tests: FORWARDS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'second-hop',
    what: 'a call that was passed on is passed on again',
    file: 'cluster/forwarder.js',
    find: 'if (by === undefined)',
    put: 'if (by !== null)',
    tests: FORWARDS,
    chaos: ONE_DAEMON,
  },
  {
    name: 'grant-used-past-its-end',
    what: 'a replica goes on with what it was granted after its owner died',
    file: 'limits/grants/grant-drawer.js',
    find: 'if (endsAtMs > now)',
    put: 'if (endsAtMs > 0)',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'grant-from-answer',
    what: 'a grant’s life is counted from its coming',
    file: 'limits/grants/grant-drawer.js',
    find: 'endsAtMs: askedAtMs + this.#heldMs',
    put: 'endsAtMs: this.#options.bootMs() + this.#heldMs',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'grant-of-another-owner',
    what: 'a grant is taken from whoever sends it',
    file: 'limits/grants/grant-drawer.js',
    find: 'epoch !== this.#epoch || number <= this.#seen',
    put: 'number <= this.#seen',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'grant-counted-twice',
    what: 'a grant that comes twice counts twice',
    file: 'limits/grants/grant-drawer.js',
    find: 'number <= this.#seen',
    put: 'number < this.#seen',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'draw-for-another-owner',
    what: 'an owner believes what was said to the one before',
    file: 'limits/grants/grant-owner.js',
    find: 'if (epoch !== this.#options.epoch)',
    put: 'if (epoch === undefined)',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'grants-given-back',
    what: 'what was granted and not reported in time is given back to the bucket',
    file: 'limits/grants/grant-owner.js',
    find: 'drawer.grants = drawer.grants.filter(({ calls, endsAtMs }) => calls > 0 && endsAtMs > now);',
    put: `for (const { calls, endsAtMs } of drawer.grants) {
    if (endsAtMs > now) continue;
    const snapshot = { level: this.#bucket.level() + calls, atMs: now };
    this.#bucket = new TokenBucket({ config: this.#bounds.rate, clock: this.#options.clock, snapshot });
}
drawer.grants = drawer.grants.filter(({ calls, endsAtMs }) => calls > 0 && endsAtMs > now);`,
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'new-owner-full',
    what: 'a new owner begins with a full bucket',
    file: 'limits/grants/grant-owner.js',
    find: 'this.#bucket = new TokenBucket({ config: bounds.rate, clock });',
    put: `const snapshot = { level: bounds.rate.burst, atMs: clock.now() };
this.#bucket = new TokenBucket({ config: bounds.rate, clock, snapshot });`,
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'new-owner-at-once',
    what: 'a new owner grants while grants of the one before may be used',
    file: 'limits/grants/grant-owner.js',
    find: 'this.#bucket.pause(clock.now() + this.#lifeMs);',
    put: 'void clock;',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'burst-not-reduced',
    what: 'what is granted and not used yet leaves the burst as it is',
    file: 'limits/grants/grant-owner.js',
    find: 'Math.max(0, burst - this.#sum(outstandingOf))',
    put: 'burst',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'granted-past-lease',
    what: 'an owner whose lease is over grants on',
    file: 'limits/grants/grant-owner.js',
    find: 'this.#options.mayGrant() ?',
    put: 'this.#number >= 0 ?',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'calls-under-way-not-counted',
    what: 'calls under way leave their places to others',
    file: 'limits/grants/grant-owner.js',
    find: ' - this.#sum(({ busy }) => busy)',
    put: '',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'throttle-not-told',
    what: 'a throttle rests the replica alone that met it',
    file: 'limits/grants/grant-owner.js',
    find: 'if (throttledMs !== undefined)',
    put: 'if (throttledMs === null)',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'quota-of-another-owner',
    what: 'a token is taken as granted by whoever says so',
    file: 'limits/grants/quota-drawer.js',
    find: 'message.epoch !== this.#epoch || ',
    put: '',
    tests: QUOTAS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'quota-of-another-wish',
    what: 'a token that was granted for a wish that was given up counts for the next one',
    file: 'limits/grants/quota-drawer.js',
    find: 'waiter === undefined || waiter.ask !== said.ask',
    put: 'waiter === undefined',
    tests: QUOTAS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'quotas-not-rebuilt',
    what: 'a new owner knows nothing of the tokens that tasks hold',
    file: 'limits/grants/quota-owner.js',
    find: 'of held)',
    put: 'of [])',
    tests: QUOTAS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'tokens-never-doubted',
    what: 'what the facts say is held, and nobody tells of, is held for as long as the limits have that owner',
    file: 'limits/grants/quota-owner.js',
    find: 'this.#doubt(this.#speakers);',
    put: '',
    tests: QUOTAS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'doubted-tokens-free',
    what: 'a token that nobody tells of is free, whatever the facts say',
    file: 'limits/grants/quota-owner.js',
    find: '|| held.has(taskId))',
    put: ')',
    tests: QUOTAS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'away-not-told',
    what: 'the token of a task that is handed away is spoken for by nobody where the next replica finds it over',
    file: 'limits/grants/quota-drawer.js',
    find: "this.#say({ kind: 'away', taskId });",
    put: ';',
    tests: QUOTAS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'facts-against-their-way',
    what: 'a token is missed whose task goes from one kind of fact to the next while they are read',
    file: 'daemon/held-tokens.js',
    find: "['task', 'unclear', 'owed']",
    put: "['owed', 'unclear', 'task']",
    tests: ['daemon/held-tokens.test.js'],
    chaos: NOT_DRAWN,
  },
  {
    name: 'early-deletes-hold-nothing',
    what: 'the token of a task that was deleted as it was created is free for the next owner of the limits',
    file: 'daemon/held-tokens.js',
    find: 'if (fact.cancelling !== undefined)',
    put: 'if (false)',
    tests: ['daemon/held-tokens.test.js'],
    chaos: NOT_DRAWN,
  },
  {
    name: 'quota-of-an-earlier-turn',
    what: 'who had a task before it moved speaks for it still, and gives back the token of who has it',
    file: 'limits/grants/quota-owner.js',
    find: '?? turn) > turn',
    put: '?? turn) > Number.MAX_VALUE',
    tests: QUOTAS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'calls-of-the-silent-free',
    what: 'calls of a replica that is not heard any more leave their places to others at once',
    file: 'limits/grants/grant-owner.js',
    find: 'if (silentMs >= this.#overMs)',
    put: 'if (silentMs >= 0)',
    tests: GRANTS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'quota-items-twice',
    what: 'what comes twice about tokens counts twice',
    file: 'limits/grants/ordered-link.js',
    find: 'items.slice(this.#came + 1 - from)',
    put: 'items.slice()',
    tests: QUOTAS,
    chaos: NOT_DRAWN,
  },
  {
    name: 'limits-always-first',
    what: 'a new owner of limits does not wait for the life of a grant',
    file: 'daemon/spread-limits.js',
    find: 'first: tenure === 1',
    put: 'first: true',
    tests: SPREAD,
    chaos: NOT_SPREAD,
  },
  {
    name: 'turn-of-nothing',
    what: 'whoever had a task before speaks for its token like the one that has it',
    file: 'daemon/spread-limits.js',
    find: 'this.#options.seat.turnOf(part);',
    put: '9;',
    tests: SPREAD,
    chaos: NOT_SPREAD,
  },
  {
    name: 'limits-granted-past-lease',
    what: 'limits are granted from while the lease is over',
    file: 'daemon/spread-limits.js',
    find: 'mayGrant: () => seat.mayWork(),',
    put: 'mayGrant: () => true,',
    tests: SPREAD,
    chaos: NOT_SPREAD,
  },
  {
    name: 'limits-without-tenure',
    what: 'an owner of limits that comes to own them again goes on as if it always had',
    file: 'daemon/spread-limits.js',
    find: 'const tenure = Number(holder.tenure);',
    put: 'const tenure = 1;',
    tests: SPREAD,
    chaos: NOT_SPREAD,
  },
  {
    name: 'token-given-back-with-part',
    what: 'the tokens of a part that is given up are free, while its tasks go on elsewhere',
    file: 'daemon/parts.js',
    find: 'quotas.handAway(id, isWritten);',
    put: 'quotas.release(id);',
    tests: MOVES,
    chaos: NOT_SPREAD,
  },
  {
    name: 'part-free-before-written',
    what: 'a part is free for others before all of it is written',
    file: 'daemon/parts.js',
    find: 'await part.state.close();\n            isWritten = true;\n        }\n        finally',
    put: 'void part.state.close().catch(() => undefined);\n            isWritten = true;\n        }\n        finally',
    tests: MOVES,
    chaos: NOT_SPREAD,
  },
  {
    name: 'taken-from-the-living',
    what: 'a part is taken from one that lives',
    file: 'cluster/seat.js',
    find: 'if (owner !== undefined && !this.#watch.isDead(owner))',
    put: 'if (owner !== undefined && this.#watch.isDead("nobody"))',
    tests: LEASES,
    chaos: NOT_SPREAD,
  },
  {
    name: 'unfit-to-unfit',
    what: 'a part goes to and fro between replicas of which none can work on it',
    file: 'cluster/assignment.js',
    find: 'best.some((taker) => this.#canWork(taker, part))',
    put: 'best.length > 0',
    tests: NEEDS,
    chaos: NOT_SPREAD,
  },
  {
    name: 'given-to-who-refuses',
    what: 'a part is given again to who could not load it',
    file: 'cluster/assignment.js',
    find: '.filter((taker) => !refuses(taker, part))',
    put: '',
    tests: NEEDS,
    chaos: NOT_SPREAD,
  },
  {
    name: 'reached-unasked',
    what: 'a remote counts as reached by who has no task of it any more',
    file: 'cluster/remote-reach.js',
    find: 'this.#recovers(plugin, known, answeredAtMs >= known.failedAtMs, nowMs);',
    put: 'this.#recovers(plugin, known, true, nowMs);',
    tests: NEEDS,
    chaos: NOT_SPREAD,
  },
  {
    name: 'doubted-gets-all',
    what: 'who doubts a remote is given all parts that need it at once',
    file: 'cluster/assignment.js',
    find: 'this.#has(epoch, plugin)',
    put: 'false',
    tests: NEEDS,
    chaos: NOT_SPREAD,
  },
  {
    name: 'plugin-of-before',
    what: 'a part goes to an older version of a plugin than worked on it, where there is one as new',
    file: 'cluster/assignment.js',
    find: "(versions?.get(plugin) ?? '', least) < 0",
    put: "(versions?.get(plugin) ?? '', least) < -1",
    tests: NEEDS,
    chaos: NOT_SPREAD,
  },
  {
    name: 'owed-needs-nothing',
    what: 'a part with deletes that are owed goes to one without their plugin',
    file: 'store/task-store.js',
    find: 'new Set(this.owed.plugins)',
    put: 'new Set()',
    tests: ['store/indexes.test.js'],
    chaos: NOT_SPREAD,
  },
];

export function plantOf(name: string): Plant {
  const plant = PLANTS.find((each) => each.name === name);
  if (plant !== undefined) return plant;
  throw new Error(`no plant ${name}; there are: ${PLANTS.map((each) => each.name).join(', ')}`);
}

/** How a run is bent to meet it; undefined where real kills cannot show it. */
export function bentOf({ chaos = {} }: Plant): Bent | undefined {
  return 'unseen' in chaos ? undefined : chaos;
}

/** Throws where a plant does not find its place once in the code of its file. */
export function assertPlantable({ name, file, find }: Plant, code: string): void {
  const times = code.split(find).length - 1;
  if (times !== 1) throw new Error(`the plant ${name} finds its place ${times} times in ${file}; expected once`);
}

/** A copy of a build in a temporary folder, for bugs to be planted in. */
export class Garden {
  readonly root = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-plants-'));

  constructor(build: string) {
    for (const entry of readdirSync(build)) {
      if (entry === 'dist') cpSync(path.join(build, entry), path.join(this.root, entry), { recursive: true });
      else if (entry !== '.git') symlinkSync(path.join(build, entry), path.join(this.root, entry));
    }
  }

  /** Answers how to pull it out again. Throws where the text is not there once. */
  plant(plant: Plant): () => void {
    const { file, find, put } = plant;
    const target = path.join(this.root, 'dist', 'src', file);
    const code = readFileSync(target, 'utf8');
    assertPlantable(plant, code);
    // Not in place: the copy may share its file with others.
    rmSync(target);
    writeFileSync(
      target,
      code.replace(find, () => put),
    );
    return () => writeFileSync(target, code);
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true, maxRetries: 3 });
  }
}
