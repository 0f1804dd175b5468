// The main plugin of the interop tests: its own type, one of them in two versions, and what flytekit and flyte compile.
import { jobPlugin } from './job-plugin.mjs';

export default jobPlugin({
  id: 'interop',
  taskTypes: [
    'interop_job',
    { name: 'interop_versioned', versions: [2] },
    'python-task',
    'python',
    'container',
    'raw-container',
    'sql',
  ],
});
