// The container's health check: ends 0 when the daemon's admin port says that the daemon makes progress, else 1 with the
// reason. The port is PLUGIN_HOST_ADMIN_PORT, as for the daemon itself, or its default.
const port = process.env.PLUGIN_HOST_ADMIN_PORT || '9090';
try {
  const answer = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(2500) });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}: ${(await answer.text()).slice(0, 500)}`);
} catch (error) {
  console.error(`not healthy on port ${port}: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
}
