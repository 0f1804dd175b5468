/** Entry of a plugin's process, or of its worker thread; program.ts is what runs there. */

// Before anything else is loaded: without a taker Node opens its debugger on loopback. A thread gets no signals.
process.on('SIGUSR1', () => {});
// A plugin process ends with its channel. Whoever signals all processes at once, as systemd does at a stop, means the daemon,
// which ends this one when the calls in flight are done; a process that does not see its channel end is killed.
for (const signal of ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR2'] as const) process.on(signal, () => {});

const { loadAtOnce } = await import('../lib/load-at-once.js');
await loadAtOnce(import.meta.url, './program.js', () => import('./program.js'));

// Makes this file a module.
export {};
