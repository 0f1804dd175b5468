import module from 'node:module';
import os from 'node:os';
import v8 from 'node:v8';

/** What Node says of its permission model; absent where it is off, and unknown to the types of Node 20. */
interface Permission {
  has(scope: string): boolean;
}

const refused = (what: string) =>
  Object.assign(new Error(`${what} is refused: the plugin is held by Node’s permission model (sandbox.permissions)`), {
    code: 'ERR_ACCESS_DENIED',
  });

/**
 * Takes away what Node leaves to a process under its permission model and a plugin could harm the daemon with: signals to
 * other processes and their priorities, and V8's own files. To be called before any code of a plugin is loaded. Does nothing
 * where there is no permission model; where the plugin may start programs or threads, which can do it all, those are left.
 */
export function doLess(): void {
  const { permission } = process as { readonly permission?: Permission };
  if (permission === undefined) return;
  // V8 writes files wherever its flags say, and on Node 22 its heap.
  for (const name of ['setFlagsFromString', 'setHeapSnapshotNearHeapLimit'] as const) {
    v8[name] = () => {
      throw refused(`v8.${name}`);
    };
  }
  if (!permission.has('child') && !permission.has('worker')) keepToItself();
  module.syncBuiltinESMExports();
}

/** What process.kill is made of, and what sends SIGUSR1. */
interface RawSignals {
  _kill: (pid: number, signal: number) => number;
  _debugProcess: (pid: number) => void;
}

function keepToItself(): void {
  const raw = process as unknown as RawSignals;
  const { _kill, _debugProcess } = raw;
  const { setPriority } = os;
  const own = (pid: number) => pid === process.pid;
  raw._kill = (pid, signal) => {
    if (!own(pid)) throw refused(`a signal to process ${pid}`);
    return _kill(pid, signal);
  };
  raw._debugProcess = (pid) => {
    if (!own(pid)) throw refused(`a signal to process ${pid}`);
    _debugProcess(pid);
  };
  os.setPriority = ((...args: [number, number?]) => {
    // With one argument it is the priority of this process.
    if (args.length > 1 && args[0] !== 0 && !own(args[0])) throw refused(`the priority of process ${args[0]}`);
    return (setPriority as (...all: unknown[]) => void)(...args);
  }) as typeof os.setPriority;
}
